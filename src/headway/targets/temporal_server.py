"""The server of Temporal that a flow connects to, and how it is let in."""

from __future__ import annotations

from typing import Any, Final, Optional

from headway.basics.needed import needed
from headway.basics.secret import Secret, hide
from headway.errors import UsageError
from headway.targets.tls import TlsFiles
from headway.targets.urls import host_and_port

__all__ = ["TemporalServer"]

_CONNECT_S: Final = 5.0


class TemporalServer:
    """An address and access to it. One connection, made at the first call and kept; it connects again by itself.

    Files and the API key are read again when they change: a new key goes with the next call, new certificates with a
    new connection. Raises `UsageError` for what is no address.

    >>> TemporalServer("localhost:7233", tls=None, files=TlsFiles(ca=None, cert=None, key=None), api_key="swordfish")
    <Temporal at localhost:7233>
    """

    def __init__(self, address: str, *, tls: Optional[bool], files: TlsFiles, api_key: Optional[str]) -> None:
        if tls is False and files.is_given:
            msg = "tls=False, and ca, cert or key is given: leave one of them out"
            raise UsageError(msg)
        self.address = host_and_port(address, "to_temporal", "localhost:7233")
        self._is_tls = files.is_given or api_key is not None if tls is None else tls
        self._files = files
        self._api_key = None if api_key is None else Secret(api_key, "Temporal API key")
        self._client: Any = None
        self._made_with: Any = None
        self._key_sent: Optional[str] = None

    def check(self) -> None:
        """Raise `UsageError` where the library, a file or the key is not there."""
        needed("temporalio", "temporal", "hw.to_temporal(...)")
        if self._files.is_given:
            self._files.pem()
        if self._api_key is not None:
            self._api_key.one()

    async def service(self) -> Any:
        """The client's `WorkflowService`. Raises `UsageError` for files that cannot be read now."""
        from datetime import timedelta

        from temporalio.service import ConnectConfig, ServiceClient

        pem = self._files.pem() if self._files.is_given else None
        key = None if self._api_key is None else self._api_key.one()
        if self._client is None or pem is not self._made_with:
            self._client = await ServiceClient.connect(
                ConnectConfig(
                    self.address,
                    api_key=key,
                    tls=self._tls(),
                    identity="headway",
                    lazy=True,
                    connect_timeout=timedelta(seconds=_CONNECT_S),
                )
            )
            self._made_with = pem
        elif key != self._key_sent:
            self._client.update_api_key(key)
        self._key_sent = key
        return self._client.workflow_service

    def close(self) -> None:
        """Let go of the connection; the library ends it."""
        self._client = None

    def words(self, error: BaseException) -> str:
        """What is wrong, without what is secret."""
        secrets = [] if self._api_key is None else self._api_key.known()
        return hide(" ".join(str(error).split()) or type(error).__name__, secrets)

    def _tls(self) -> Any:
        from temporalio.service import TLSConfig

        if not self._is_tls or not self._files.is_given:
            return self._is_tls
        pem = self._files.pem()
        return TLSConfig(server_root_ca_cert=pem.ca, client_cert=pem.cert, client_private_key=pem.key)

    def __repr__(self) -> str:
        return f"<Temporal at {self.address}>"
