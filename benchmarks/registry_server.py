"""Apicurio: a schema registry with the interface of Confluent's, on a port and in a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final, Optional

from benchmarks.places import SERVICES, fetched, is_ok
from benchmarks.small_servers import SmallServer

__all__ = ["REGISTRY_VERSION", "RegistryServer", "install_registry", "registry_program"]

REGISTRY_VERSION: Final = "3.0.9"
"""The last one that runs on Java 17."""
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy"
"""A later one also wants the parents of the artifact, which nothing here needs."""
_INTERFACE: Final = "/apis/ccompat/v7"


def registry_program() -> Optional[Path]:
    """The jar of the registry; None where it is not installed."""
    folder = SERVICES / f"apicurio-{REGISTRY_VERSION}"
    return next(folder.glob("*-runner.jar"), None) if (folder / "complete").exists() else None


def install_registry() -> Path:
    """Fetch the registry from Maven, 109 MB, unless it is there. Raises `LookupError` where that fails."""
    if (found := registry_program()) is not None:
        return found
    for program, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            msg = f"there is no {program}: apt-get install {package}"
            raise LookupError(msg)
    folder = SERVICES / f"apicurio-{REGISTRY_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    artifact = f"io.apicurio:apicurio-registry-app:{REGISTRY_VERSION}:tar.gz:all"
    if (
        said := fetched(["mvn", "-q", "-B", _COPY, f"-Dartifact={artifact}", "-DoutputDirectory=."], folder)
    ) is not None:
        msg = f"maven cannot fetch it: {said}"
        raise LookupError(msg)
    archive = folder / f"apicurio-registry-app-{REGISTRY_VERSION}-all.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()
    (folder / "complete").touch()
    found = registry_program()
    assert found is not None, f"{archive} has no program"
    return found


class RegistryServer(SmallServer):
    """A registry that keeps its schemas in a file."""

    name = "registry"
    ready_s = 240.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{_INTERFACE}"

    def command(self) -> list[str]:
        program = registry_program()
        assert program is not None, "install_registry() comes first"
        settings = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": str(self.port),
            "quarkus.log.level": "WARN",
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:file:{self.directory / 'data'};WRITE_DELAY=0",
        }
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", *options, *(f"-D{name}={value}" for name, value in settings.items()), "-jar", str(program)]

    def environment(self) -> dict[str, str]:
        """Without settings that are meant for others."""
        return {name: value for name, value in os.environ.items() if not name.startswith(("QUARKUS_", "APICURIO_"))}

    def is_ready(self) -> bool:
        """Whether it answers."""
        return super().is_ready() and is_ok(self.port, f"{_INTERFACE}/subjects")

    def ask(self, method: str, path: str, given: Optional[dict[str, Any]] = None) -> tuple[int, Any]:
        """The code of an answer, and what it says."""
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        data = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def register(self, subject: str, schema: str, kind: str = "AVRO", **more: Any) -> int:
        """Register a version of a schema; its number."""
        code, said = self.ask("POST", f"/subjects/{subject}/versions", {"schema": schema, "schemaType": kind, **more})
        assert code == 200, said
        return int(said["id"])
