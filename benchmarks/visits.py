"""Streams of visits for the flow of `benchmarks.flows`, and what it must tell about them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import BinaryIO, Final

import orjson

from benchmarks.processes import BenchmarkError
from headway.basics.times import parse_time

__all__ = ["Told", "append_checks", "check_told", "checks_told", "user_name", "write_joins", "write_steps"]

START_MS: Final = 1_767_225_600_000
_CHUNK: Final = 50_000

Told = tuple[int, str, int, bool]
"""Time in epoch milliseconds, user, visits, and whether the user had joined."""


def user_name(number: int) -> str:
    """The key of a user."""
    return f"p{number:07d}"


def write_joins(path: Path, users: int) -> None:
    """Everybody joins, a thousand users each second."""
    with path.open("wb") as out:
        _write(out, (f'{{"user":"p{number:07d}","kind":"join","at":{START_MS + number}}}\n' for number in range(users)))


def append_checks(path: Path, joined: Path, users: int, checks: int) -> None:
    """The log `joined`, going on with `checks` events that ask for users at random; a last one lets time go on."""
    shutil.copyfile(joined, path)
    with path.open("ab") as out:
        _write(out, (_line(user, "seen", at_ms) for at_ms, user in _checks(users, checks)))
        out.write(_line("p", "step", START_MS + users + checks).encode())


def checks_told(users: int, checks: int) -> Iterator[Told]:
    """What the flow must tell about the checks."""
    visits: Counter[str] = Counter()
    for at_ms, user in _checks(users, checks):
        visits[user] += 1
        yield at_ms, user, 1 + visits[user], True


def write_steps(path: Path, users: int, events: int) -> None:
    """Users come in turn, ten events each millisecond; in the end the first one is asked for."""
    names = [user_name(number) for number in range(users)]
    with path.open("wb") as out:
        _write(out, (_line(names[number % users], "step", START_MS + number // 10) for number in range(events - 2)))
        end_ms = START_MS + events // 10
        out.write((_line(names[0], "seen", end_ms) + _line("p", "step", end_ms + 1)).encode())


def check_told(path: Path, expected: Iterable[Told]) -> None:
    """Raise `BenchmarkError` unless the output holds each of `expected` exactly once, in the order of time."""
    with path.open("rb") as lines:
        found = [_told(line) for line in lines]
    wanted = list(expected)
    if found != wanted:
        places = (index for index, (one, other) in enumerate(zip(found, wanted)) if one != other)
        place = next(places, min(len(found), len(wanted)))
        msg = (
            f"the output differs from line {place + 1} on: it has {len(found)} lines, expected {len(wanted)}; "
            f"found {found[place : place + 1]}, expected {wanted[place : place + 1]}"
        )
        raise BenchmarkError(msg)


def _told(line: bytes) -> Told:
    record = orjson.loads(line)
    data = record["data"]
    return parse_time(record["time"]), record["subject"], data["visits"], data["joined"]


def _checks(users: int, checks: int) -> Iterator[tuple[int, str]]:
    pick = Random(1).random
    for number in range(checks):
        yield START_MS + users + number, user_name(int(pick() * users))


def _line(user: str, kind: str, at_ms: int) -> str:
    return f'{{"user":"{user}","kind":"{kind}","at":{at_ms}}}\n'


def _write(out: BinaryIO, lines: Iterator[str]) -> None:
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == _CHUNK:
            out.write("".join(chunk).encode())
            chunk.clear()
    out.write("".join(chunk).encode())
