"""What a synthetic shop is like: its size, its users' habits, and what goes wrong on the way."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from headway.errors import UsageError
from headway.generate.zipf import ZipfPicker

__all__ = ["COMPRESSIONS", "ShopOptions"]

COMPRESSIONS: Final = ("none", "gzip", "zstd")
"""How the partition files may be compressed."""

SESSIONS_MAX: Final = 5_000_000
"""Sessions under way at a time: each takes about 0.5 kB of memory."""

YEAR_MS: Final = 366 * 86_400_000

USER_RATE_MAX: Final = 500.0
"""Events per second of one user: times of a user are distinct milliseconds, and half of them stay free."""

LAST_START_MS: Final = 2**42
"""The latest start: in the year 2109, so that times stay well inside what calendars can write."""


def _option(default: object, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class ShopOptions:
    """Everything that a synthetic shop stream depends on: equal options give equal bytes.

    The help text of a field is in its metadata: `fields(ShopOptions)[0].metadata["help"]`. All shares are
    numbers from 0 to 1; all `_ms` are milliseconds of event time. Raises `UsageError` for a value that
    cannot be used.

    >>> ShopOptions(events=1_000, late=0.01).partitions
    4
    >>> ShopOptions(late=2)
    Traceback (most recent call last):
    headway.errors.UsageError: late = 2 cannot be used: expected a share from 0 to 0.9
    """

    events: int = _option(100_000, "Number of well-formed, distinct events. Duplicates and corrupt lines come on top.")
    users: int = _option(10_000, "Number of users who may come to the shop.")
    skew: float = _option(0.0, "How unevenly users come: Zipf exponent, 0 = all alike, 1 = strongly uneven.")
    hot: float = _option(0.0, "Share of all events that come from one single user, u000000.")
    rate: float = _option(20.0, "Events per second of event time, over all users.")
    start_ms: int = _option(1_767_225_600_000, "Time of the start in epoch milliseconds (2026-01-01T00:00:00Z).")
    session_events: int = _option(10, "Mean number of events in a session; lengths are uniform from 1 to twice that.")
    pause_ms: int = _option(20_000, "Mean pause between two events of a session, in milliseconds.")
    comebacks: float = _option(
        0.02, "Share of sessions with one pause of `after` or longer while something is in the cart."
    )
    abandoned: float = _option(0.3, "Share of sessions in which the user leaves with something in the cart.")
    looking: float = _option(0.2, "Share of sessions in which the user only looks around.")
    after_ms: int = _option(
        1_800_000, "Silence after the last add or remove that makes a cart abandoned, in milliseconds."
    )
    disorder_ms: int = _option(
        2_000,
        "Events stand behind others of their partition by less than this many milliseconds; 0 = in order.",
    )
    late: float = _option(0.0, "Share of events that come later than the disorder allows.")
    duplicates: float = _option(0.0, "Share of events whose line is written twice, at once or within the disorder.")
    corrupt: float = _option(0.0, "Corrupt lines, as a share of the events; they come on top.")
    partitions: int = _option(4, "Number of files; all events of a user are in one of them.")
    compress: str = _option("none", "Compression of the partition files: none, gzip or zstd.")
    seed: int = _option(0, "Number that everything random is drawn from.")

    def __post_init__(self) -> None:
        for option in fields(self):
            self._check_type(option.name, str(option.type))
        self._check_sizes()
        self._check_shares()
        self._check_user_rate()

    def _check_type(self, name: str, type_name: str) -> None:
        value = getattr(self, name)
        accepted: tuple[type, ...] = {"int": (int,), "float": (int, float), "str": (str,)}[type_name]
        if isinstance(value, bool) or not isinstance(value, accepted):
            self._refuse(name, {"int": "a whole number", "float": "a number", "str": "text"}[type_name])

    def _check_sizes(self) -> None:
        for name in ("events", "users", "session_events", "pause_ms", "after_ms", "partitions"):
            if getattr(self, name) < 1:
                self._refuse(name, "a whole number from 1")
        for name in ("disorder_ms", "seed"):
            if getattr(self, name) < 0:
                self._refuse(name, "a whole number from 0")
        for name in ("pause_ms", "after_ms", "disorder_ms"):
            if getattr(self, name) > YEAR_MS:
                self._refuse(name, f"at most {YEAR_MS} ms, a year")
        if self.partitions > 10_000:
            self._refuse("partitions", "at most 10000 (names are shop-0000 to shop-9999)")
        if not 0 <= self.start_ms <= LAST_START_MS:
            self._refuse("start_ms", f"epoch milliseconds from 0 to {LAST_START_MS}")
        if not 0.001 <= self.rate <= 1_000_000:
            self._refuse("rate", "events per second from 0.001 to 1000000")
        if self.rate * self.pause_ms / 1_000 > SESSIONS_MAX:
            expected = f"that rate * pause keeps at most {SESSIONS_MAX} sessions under way: lower one of them"
            self._refuse("pause_ms", expected)
        if not 0 <= self.skew <= 5:
            self._refuse("skew", "a Zipf exponent from 0 to 5")
        if self.compress not in COMPRESSIONS:
            self._refuse("compress", "one of " + ", ".join(COMPRESSIONS))

    def _check_shares(self) -> None:
        for name in ("comebacks", "abandoned", "looking", "duplicates", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                self._refuse(name, "a share from 0 to 1")
        for name in ("late", "hot"):
            if not 0 <= getattr(self, name) <= 0.9:
                self._refuse(name, "a share from 0 to 0.9")
        if self.late + self.duplicates + self.corrupt > 1:
            others = f"late = {self.late!r}, duplicates = {self.duplicates!r}"
            self._refuse("corrupt", f"a share that makes at most 1 together with {others}")
        if self.abandoned + self.looking > 1:
            others = f"abandoned = {self.abandoned!r}"
            self._refuse("looking", f"a share that makes at most 1 together with {others}")
        if self.hot and self.users < 2:
            self._refuse("users", f"at least 2 with hot = {self.hot!r}: the hot user and another one")

    def _check_user_rate(self) -> None:
        others = ZipfPicker(self.users - 1 if self.hot else self.users, self.skew)
        busiest = self.rate * max(self.hot, (1 - self.hot) * others.top_share)
        if busiest > USER_RATE_MAX:
            expected = (
                f"at most {USER_RATE_MAX:.0f} events per second of one user, and the busiest one would make "
                f"{busiest:.0f}: lower rate, skew or hot, or have more users"
            )
            self._refuse("rate", expected)

    def _refuse(self, name: str, expected: str) -> None:
        msg = f"{name} = {getattr(self, name)!r} cannot be used: expected {expected}"
        raise UsageError(msg)
