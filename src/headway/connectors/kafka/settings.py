"""How a flow connects to Kafka: settings of its clients, of which some are secret and some are ours to choose."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, Optional

from headway.basics.needed import needed
from headway.basics.secret import Secret, hide
from headway.errors import UsageError

__all__ = ["KafkaSettings"]

_OURS: Final = {
    "bootstrap.servers": "it is the first argument",
    "group.id": "use group=",
    "enable.auto.commit": "positions are kept with the state",
    "enable.auto.offset.store": "positions are kept with the state",
    "auto.offset.reset": "use start= and expired=",
    "isolation.level": "use isolation=",
    "enable.partition.eof": "Headway needs it",
    "transactional.id": "Headway chooses it, so that two runs at once are noticed",
    "enable.idempotence": "it is always on",
    "acks": "it is always all",
}
_SILENT: Final[dict[str, Any]] = {"log_level": 0, "logger": logging.Logger("librdkafka", level=logging.CRITICAL + 1)}
"""The library writes what is fatal to standard error at any level, unless it has a logger: what is wrong, we say."""
_SECRETS: Final = ("password", "secret", "sasl.jaas", "ssl.key.pem", "sasl.username")


class KafkaSettings:
    """The servers, and the settings of the client library by their own names.

    Values are texts or numbers; `env:NAME` and `file:/path` are read when a client is made. Raises `UsageError` for
    settings that are ours to choose, and says by what they are chosen.

    >>> KafkaSettings("broker:9092", {"sasl.password": "swordfish", "security.protocol": "SASL_SSL"})
    <Kafka at broker:9092, sasl.password ***, security.protocol SASL_SSL>
    """

    def __init__(self, servers: str, options: Optional[Mapping[str, Any]]) -> None:
        if not isinstance(servers, str) or not servers.strip():
            msg = f"kafka({servers!r}): expected the addresses of brokers, such as 'localhost:9092'"
            raise UsageError(msg)
        self.servers = servers
        self._options: dict[str, Any] = {}
        self._tried: dict[str, Any] = {}
        """What the client library has taken; secrets of files may change."""
        for name, value in (options or {}).items():
            if name in _OURS:
                msg = f"kafka(options={{{name!r}: ...}}): {_OURS[name]}"
                raise UsageError(msg)
            is_read = isinstance(value, str) and value.startswith(("env:", "file:"))
            is_secret = any(part in name for part in _SECRETS)
            self._options[name] = Secret(str(value), name) if is_read or is_secret else value

    def config(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a client, with ours on top. Raises `UsageError` for a secret that is not there.

        So it does for what the client library does not take, such as a name that it does not know.
        """
        needed("confluent_kafka", "kafka", "hw.kafka(...)")
        given = {name: value.one() if isinstance(value, Secret) else value for name, value in self._options.items()}
        if given != self._tried:
            self._try(given)
            self._tried = given
        return {"bootstrap.servers": self.servers, **_SILENT, **given, **ours}

    def _try(self, given: dict[str, Any]) -> None:
        """Make a client that knows no broker: some 0.5 ms, and nothing else tells what the library takes."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            AdminClient({**_SILENT, **given})
        except KafkaException as error:
            said = self.without_secrets(error.args[0].str()).removeprefix("Failed to create admin client: ")
            names = ", ".join(map(repr, given))
            msg = (
                f"kafka(options=...) with {names}: {said}; names and values are those of librdkafka's CONFIGURATION.md"
            )
            raise UsageError(msg) from error

    def without_secrets(self, text: str) -> str:
        """A text of the client's without what is secret. Never raises."""
        secrets: list[str] = []
        for value in self._options.values():
            if isinstance(value, Secret):
                secrets += value.known()
        return hide(text, secrets)

    def __repr__(self) -> str:
        shown = "".join(
            f", {name} {'***' if isinstance(value, Secret) else value}" for name, value in self._options.items()
        )
        return f"<Kafka at {self.servers}{shown}>"
