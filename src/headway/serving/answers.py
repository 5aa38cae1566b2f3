"""What is answered: bodies as JSON, versions of them, and how fresh they are.

The body of a key holds only what is stored of it, so that its ETag, a hash of the body, is the same on each server of a
flow and after restarts; how fresh it is stands in headers. An answer about several keys says so in its body.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final, NamedTuple, Optional

import msgspec

from headway.serving.catalog import Found, Presence
from headway.state.snapshots import Snapshot
from headway.web.problems import PROBLEM_TYPE, body_of

__all__ = ["JSON", "Freshness", "KeyAnswer", "encode", "key_answer", "matches", "record"]

JSON: Final = b"application/json"
_STATUS: Final = {Presence.PRESENT: 200, Presence.ABSENT: 404, Presence.FORGOTTEN: 410}

encode: Final = msgspec.json.Encoder().encode


class Freshness(NamedTuple):
    """Of which epoch an answer is, and how long ago that was the newest."""

    epoch: int
    watermark: Optional[int]
    age_ms: int

    @classmethod
    def of(cls, snapshot: Snapshot, task: int, wall_ms: int) -> Freshness:
        """That of a view, by the number of its task."""
        cut = snapshot.cut
        return cls(cut.epoch, cut.watermarks[task], max(0, wall_ms - cut.at_ms))

    def headers(self) -> dict[str, str]:
        """As the headers of an answer."""
        found = {"headway-epoch": str(self.epoch), "headway-age-ms": str(self.age_ms)}
        if self.watermark is not None:
            found["headway-watermark-ms"] = str(self.watermark)
        return found


class KeyAnswer(NamedTuple):
    """The answer about one key, as long as nothing of it changes."""

    status: int
    etag: str
    body: bytes
    content_type: bytes
    time_ms: int

    @property
    def event(self) -> str:
        """What it is called in a stream of events."""
        return {200: "value", 404: "absent"}.get(self.status, "forgotten")


def key_answer(view: str, found: Found) -> KeyAnswer:
    """The answer about a key, with the hash of its body: some 5 µs, and 1 ms for each megabyte."""
    if found.presence is Presence.PRESENT:
        body = encode(record(found))
    elif found.presence is Presence.ABSENT:
        body = body_of(404, "absent", f"the view {view!r} has nothing for this key", {"reason": "absent"})
    else:
        more = {"reason": "forgotten", "forgotten_ms": found.time_ms}
        body = body_of(410, "forgotten", f"the view {view!r} has forgotten this key: nothing had come for long", more)
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    is_present = found.presence is Presence.PRESENT
    return KeyAnswer(_STATUS[found.presence], etag, body, JSON if is_present else PROBLEM_TYPE, found.time_ms)


def record(found: Found) -> dict[str, Any]:
    """What an answer holds of a key that is there."""
    shown: dict[str, Any] = {"key": found.key, "value": msgspec.Raw(found.value)}
    if found.timers is not None:
        shown["timers"] = dict(sorted(found.timers.items()))
    return shown


def matches(if_none_match: bytes, etag: str) -> bool:
    """Whether one of the tags in `If-None-Match` is this one.

    >>> matches(b'"a", W/"b"', '"b"'), matches(b"*", '"b"'), matches(b"", '"b"')
    (True, True, False)
    """
    if not if_none_match:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.decode("latin-1").split(",")]
    return "*" in tags or etag in tags
