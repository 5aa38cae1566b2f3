"""What a request asks for, read from its raw path and query."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from typing import Any, Final, NamedTuple, Optional
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from headway.basics.receipts import Receipt
from headway.basics.times import duration_ms
from headway.errors import UsageError
from headway.web.problems import ProblemError, Scope

__all__ = ["Cursor", "Query", "Target", "allow", "keys_of", "parse_target", "parts_of_path", "wait_of"]

WAIT_MAX_S: Final = 60.0
_ROOT: Final = b"/v1/views"


class Target(NamedTuple):
    """What a path names."""

    view: Optional[str]
    """None for the list of all views."""
    key: Optional[str] = None
    action: Optional[str] = None
    """What follows the view's name behind a colon, such as `batch`."""


def parse_target(scope: Scope) -> Optional[Target]:
    """What the path of a request names; None where it is none of views.

    The key is what follows the view's name and a slash: `%2F` and a slash mean the same in it. Raises `ProblemError`
    for bytes that are no text.
    """
    path: bytes = scope["raw_path"]
    if path in (_ROOT, _ROOT + b"/"):
        return Target(None)
    if not path.startswith(_ROOT + b"/"):
        return None
    view, slash, key = path[len(_ROOT) + 1 :].partition(b"/")
    if slash:
        return Target(_text(view), _text(key))
    name, colon, action = _text(view).partition(":")
    return Target(name, action=action if colon else None)


def parts_of_path(scope: Scope, root: bytes) -> Optional[list[str]]:
    """The parts of a path behind a root, each unquoted by itself, so that one may hold a slash; None for another path.

    >>> parts_of_path({"raw_path": b"/v1/functions/ship/o%2F7"}, b"/v1/functions")
    ['ship', 'o/7']
    """
    path: bytes = scope["raw_path"]
    if path.rstrip(b"/") == root:
        return []
    if not path.startswith(root + b"/"):
        return None
    return [_text(part) for part in path[len(root) + 1 :].split(b"/")]


def allow(method: str, *allowed: str) -> None:
    """Raise `ProblemError` for a method that is none of those allowed; HEAD goes with GET."""
    known = [*allowed, "HEAD"] if "GET" in allowed else list(allowed)
    if method not in known:
        methods = ", ".join(known)
        raise ProblemError(405, f"{method:.20} is not taken here: {methods}", headers={"allow": methods})


def _text(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise ProblemError(400, "the path is not UTF-8: encode keys as UTF-8, then percent-encode them") from None


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page begins, and the epoch that all pages are of."""

    view: str
    prefix: str
    epoch: int
    start: str

    def token(self) -> str:
        """The text that stands for it."""
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")

    @classmethod
    def of(cls, token: str) -> Cursor:
        """What a token stands for."""
        try:
            data = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True)
            return msgspec.msgpack.decode(data, type=cls)
        except (ValueError, binascii.Error, msgspec.DecodeError):
            raise ProblemError(400, "cursor: this is none: give `next` of the page before as it was") from None


class Query:
    """The parameters of a request. Raises `ProblemError` that names the parameter and what it takes."""

    def __init__(self, scope: Scope, known: Collection[str]) -> None:
        raw: bytes = scope["query_string"]
        self._given: dict[str, str] = {}
        self._all: list[tuple[str, str]] = []
        if not raw:
            return
        try:
            pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
        except ValueError:
            raise ProblemError(400, "the query is not percent-encoded UTF-8 of at most 20 parameters") from None
        for name, value in pairs:
            if name not in known:
                raise ProblemError(400, f"{name!r:.80} is no parameter here: known are {', '.join(known) or 'none'}")
            self._given[name] = value
        self._all = pairs

    def text(self, name: str, default: str = "") -> str:
        """A parameter as it is."""
        return self._given.get(name, default)

    def texts(self, name: str) -> list[str]:
        """All values of a parameter that may be given several times."""
        return [value for given, value in self._all if given == name]

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""
        given = self._given.get(name)
        if given is None:
            return default
        if not (given.isascii() and given.isdigit() and len(given) < 20 and least <= int(given) <= most):
            raise ProblemError(400, f"{name}={given!r:.80}: expected a whole number from {least} to {most}")
        return int(given)

    def wait_s(self) -> float:
        """How long an answer may be held back, in seconds; 60 at most."""
        given = self._given.get("wait")
        return 0.0 if given is None else _seconds(given)

    def receipt(self) -> Optional[Receipt]:
        """The event that an answer must include."""
        given = self._given.get("at_least")
        if given is None:
            return None
        try:
            return Receipt.of(given)
        except ValueError as error:
            raise ProblemError(400, f"at_least: {error}") from None


def wait_of(scope: Scope) -> float:
    """How long the answer to a request may be held back, whatever else it asks for; 0 where it does not say."""
    given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return _seconds(dict(given)["wait"]) if any(name == "wait" for name, _ in given) else 0.0


def _seconds(given: str) -> float:
    try:
        return min(duration_ms(given, what="wait") / 1000, WAIT_MAX_S)
    except UsageError as error:
        raise ProblemError(400, f"{error}") from None


def keys_of(body: bytes, most: int) -> list[str]:
    """The keys that a batch asks for."""
    try:
        keys: Any = msgspec.json.decode(body, type=_Batch).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(400, f'the body is not {{"keys": [...]}} with texts: {error}') from None
    if len(keys) > most:
        raise ProblemError(413, f"{len(keys):,} keys are asked for, {most:,} may be: ask in parts", limit=most)
    found: list[str] = keys
    return found


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[str]
