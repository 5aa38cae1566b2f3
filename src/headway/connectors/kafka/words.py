"""What is wrong with Kafka, in words: what the client says, and what to do next."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["SILENT_MS", "is_final", "told"]

SILENT_MS: Final = 15_000
"""After so long without an answer the client makes another connection; by its own default after a minute."""

_SAID: Final = {
    "_AUTHENTICATION": "it refuses to let us in: check security.protocol, sasl.mechanism, user and password",
    "SASL_AUTHENTICATION_FAILED": "it refuses to let us in: check user and password",
    "TOPIC_AUTHORIZATION_FAILED": "this user may not use the topic: ask for the right to read and describe it",
    "GROUP_AUTHORIZATION_FAILED": "this user may not use the group: choose another group=, or leave it out",
    "_SSL": "TLS fails: check the port, security.protocol=SSL, and ssl.ca.location for a certificate of your own",
    "_RESOLVE": "the name of the broker is not known: check the address",
    "_TRANSPORT": "the connection fails: check address and port, and whether the broker runs",
    "_ALL_BROKERS_DOWN": "no broker can be reached: check address and port, and whether they run",
    "UNKNOWN_TOPIC_OR_PART": "there is no such topic: make it, or check its name",
    "_UNKNOWN_TOPIC": "there is no such topic: make it, or check its name",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "this user may not use transactions: ask for that right",
    "_FENCED": "another run writes under the same name: only one may live",
    "INVALID_PRODUCER_EPOCH": "another run writes under the same name: only one may live",
    "PRODUCER_FENCED": "another run writes under the same name: only one may live",
    "MSG_SIZE_TOO_LARGE": "it is larger than the topic takes: raise max.message.bytes of the topic",
    "_TIMED_OUT": "no answer in time: check whether the broker runs",
}
_FINAL: Final = (
    *("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"),
    *("_SSL", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE"),
)


def told(error: Any) -> str:
    """An error of the client in words, with its name and its own text behind them."""
    known = _SAID.get(error.name())
    own = " ".join(error.str().split())
    return f"{known} ({error.name()}: {own})" if known else f"{own} ({error.name()})"


def is_final(error: Any) -> bool:
    """Whether waiting does not help."""
    return error.fatal() or error.name() in _FINAL
