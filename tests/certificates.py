"""Certificates for tests, made with the command openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


class Authority:
    """Signs certificates; its own is `ca`."""

    def __init__(self, directory: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no command openssl to make certificates with")
        self._directory, self._name = directory, name
        self.ca = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
        self._openssl("req", "-x509", *new, "-days", "2", "-keyout", str(self._key), "-out", str(self.ca))

    def _openssl(self, *arguments: str) -> None:
        ran = subprocess.run(["openssl", *arguments], capture_output=True, check=False, timeout=30)
        assert ran.returncode == 0, ran.stderr.decode()

    def signed(self, name: str, *, host: str = "IP:127.0.0.1", days: int = 1) -> tuple[Path, Path]:
        """A certificate for a host, and its key. With `days` below 0 it has expired."""
        paths = {kind: self._directory / f"{self._name}-{name}.{kind}" for kind in ("key", "csr", "ext", "pem")}
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
        self._openssl("req", "-new", *new, "-keyout", str(paths["key"]), "-out", str(paths["csr"]))
        paths["ext"].write_text(f"subjectAltName={host}\n")
        signing = ["-CA", str(self.ca), "-CAkey", str(self._key), "-CAcreateserial", "-extfile", str(paths["ext"])]
        self._openssl("x509", "-req", "-in", str(paths["csr"]), *signing, "-days", str(days), "-out", str(paths["pem"]))
        return paths["pem"], paths["key"]

    def server(self, certificate: tuple[Path, Path], *, asks: bool = False) -> ssl.SSLContext:
        """What a server needs. With `asks` it takes only clients with a certificate of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context
