"""Which probe a URL means."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from headway.basics.secret import Secret
from headway.errors import UsageError
from headway.probing.base import Probe

__all__ = ["is_url", "probe_of"]

_PROBES: Final = {
    "kafka": "kafka:KafkaProbe",
    "nats": "nats:NatsProbe",
    "tls": "nats:NatsProbe",
    "redis": "redis:RedisProbe",
    "rediss": "redis:RedisProbe",
    "postgresql": "postgres:PostgresProbe",
    "postgres": "postgres:PostgresProbe",
    "mysql": "mysql:MysqlProbe",
    "mariadb": "mysql:MysqlProbe",
    "http": "http:HttpProbe",
    "https": "http:HttpProbe",
}


def is_url(text: str) -> bool:
    """Whether a text is a URL, or says where one stands; else it is a flow."""
    return "://" in text or text.startswith(("env:", "file:"))


def probe_of(text: str, options: Mapping[str, str]) -> Probe:
    """What looks at the server of a URL. Raises `UsageError` for a URL, or an option, that is not known."""
    secret = Secret(text, "URL")
    url = secret.one()
    scheme = url.partition("://")[0]
    place = _PROBES.get(scheme)
    if place is None:
        known = ", ".join(f"{one}://" for one in _PROBES)
        msg = f"{scheme}://... is not known: expected {known}"
        raise UsageError(msg)
    if options and scheme != "kafka":
        msg = f"--option is for settings of Kafka's client: {scheme}:// has none"
        raise UsageError(msg)
    module, _, name = place.partition(":")
    kind = getattr(import_module(f"headway.probing.{module}"), name)
    found: Probe = kind(url, options) if scheme == "kafka" else kind(url)
    found.reference = secret.reference
    return found
