"""Looking at NATS: the streams of JetStream, and how many messages are in them."""

from __future__ import annotations

import asyncio
from typing import Any

from headway.basics.needed import needed
from headway.connectors.base import Input
from headway.connectors.nats import nats
from headway.connectors.nats_servers import NatsServers
from headway.errors import InputError
from headway.probing.base import NAMES_SHOWN, Look, Named, Probe

__all__ = ["NatsProbe"]


class NatsProbe(Probe):
    """One server, or several behind commas."""

    unit = "stream"
    extra = "nats"

    def __init__(self, url: str) -> None:
        self._urls = url.split(",")
        self._servers = NatsServers("headway connect check", self._urls)
        self.shown = ",".join(map(_without_access, self._urls))

    def look(self) -> Look:
        """The server, and its streams."""
        needed("nats", "nats", "headway connect check nats://...")
        import nats.errors

        try:
            return asyncio.run(self._look())
        except (nats.errors.Error, OSError, asyncio.TimeoutError) as error:
            msg = f"{self.shown}: {self._servers.words(error)}"
            raise InputError(msg) from error

    async def _look(self) -> Look:
        import nats.js.errors

        link = await self._servers.connect_to_read(self.shown)
        try:
            version = link.client.connected_server_version
            server = f"NATS {version.major}.{version.minor}.{version.patch}"
            try:
                found = await link.ask(link.client.jetstream().streams_info())
            except nats.js.errors.ServiceUnavailableError:
                return Look(f"{server}, without JetStream: start it with -js", [])
        finally:
            await link.close()
        streams = sorted(found, key=_name_of)
        shown = [Named(_name_of(info), _size_of(info)) for info in streams[:NAMES_SHOWN]]
        return Look(server, shown, len(streams) - len(shown))

    def input(self, name: str) -> Input:
        """The stream from its start, as one partition."""
        return nats(self._urls, name)

    def source(self, name: str) -> str:
        """With the servers; what is secret is left to be filled in."""
        access = self._urls[0].partition("://")[2].rpartition("@")[0]
        user, _, password = access.partition(":")
        given = f', user="{user}", password="env:..."' if password else ', token="env:..."' if access else ""
        urls = ", ".join(f'"{url}"' for url in self.shown.split(","))
        servers = urls if len(self._urls) == 1 else f"[{urls}]"
        return f'hw.nats({servers}, "{name}"{given})'


def _without_access(url: str) -> str:
    """A URL without user, password and token.

    >>> _without_access("tls://ann:swordfish@broker:4222")
    'tls://broker:4222'
    """
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def _name_of(info: Any) -> str:
    return str(info.config.name)


def _size_of(info: Any) -> str:
    subjects = ", ".join(info.config.subjects or ())
    return f"{info.state.messages:,} messages of {subjects or 'other streams'}"
