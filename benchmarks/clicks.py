"""Streams of clicks: what the jobs of `benchmarks.flows_clicks` and their bare loops read, and what they must give.

    {"user":"c0000123","kind":"search","at":1767225600123,"item":"i042","cents":1234}

One event each millisecond. The last line is of the kind `end` and lets time go on; no job takes it for an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Final

import orjson

from benchmarks.bare_clicks import JOBS
from benchmarks.cache import cached, code, scratch
from benchmarks.case import run_engine
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run, measure

__all__ = ["FLOW", "WHOLE", "Clicks", "Digest", "run_bare", "run_job", "write_each"]

START_MS: Final = 1_767_225_600_000
FLOW: Final = "benchmarks.flows_clicks"
WHOLE: Final = "clicks.jsonl"
_KINDS: Final = ("search",) * 5 + ("view",) * 3 + ("buy",) * 2
_END: Final = "end"

_FIELDS: Final = {
    "filter": ("user", "kind", "at", "item", "cents"),
    "aggregate": ("user", "events", "buys", "cents", "dearest"),
    "exchange": ("item", "start", "end", "events", "visits"),
    "tumbling": ("user", "start", "end", "events", "cents"),
    "sliding": ("user", "start", "end", "events", "cents"),
    "steps": ("user", "searched", "viewed", "bought"),
    "join": ("user", "searched", "bought"),
}
"""What is compared of the lines that a job writes."""

Digest = tuple[int, int]
"""How many lines there are, and a number made of them all, in whatever order they are."""


@dataclass(frozen=True)
class Clicks:
    """A stream, made when it is first asked for."""

    name: str
    events: int
    users: int

    @property
    def directory(self) -> Path:
        """Where it is: whole in one file; dealt to four by user; and two files by kind."""
        return cached(f"clicks-{self.name}", (self, code("benchmarks/clicks.py")), self._build)

    @property
    def log(self) -> Path:
        """The file that holds it whole."""
        return self.directory / WHOLE

    @property
    def joined(self) -> int:
        """How many events the two sides of a join have."""
        return sum((self.directory / side).read_bytes().count(b"\n") for side in ("left.jsonl", "right.jsonl"))

    def expected(self, job: str) -> Digest:
        """What the job must give, computed by its bare loop."""
        recipe = (self, code("benchmarks/clicks.py", "benchmarks/bare_clicks.py"))

        def build(directory: Path) -> None:
            with self.log.open("rb") as lines, (directory / "lines.jsonl").open("wb") as out:
                JOBS[job](lines, out)
            digest = _digest(job, directory / "lines.jsonl")
            (directory / "lines.jsonl").unlink()
            (directory / "digest.json").write_bytes(orjson.dumps(digest))

        count, number = orjson.loads((cached(f"clicks-{self.name}-{job}", recipe, build) / "digest.json").read_bytes())
        if not count:
            msg = f"{job} finds nothing in {self}: it proves nothing"
            raise BenchmarkError(msg)
        return count, number

    def _build(self, directory: Path) -> None:
        names = [WHOLE, *(f"part-{number}.jsonl" for number in range(4)), "left.jsonl", "right.jsonl"]
        with ExitStack() as stack:
            whole, *parts, left, right = [stack.enter_context((directory / name).open("w")) for name in names]
            for user, kind, line in self._lines():
                whole.write(line)
                if kind == _END:
                    for file in (*parts, left, right):
                        file.write(line)
                    continue
                parts[user % 4].write(line)
                if kind != "view":
                    (left if kind == "search" else right).write(line)

    def _lines(self) -> Iterator[tuple[int, str, str]]:
        random = Random(1).random
        for number in range(self.events):
            user = int(random() * self.users)
            kind = _KINDS[int(random() * 10)]
            yield user, kind, _line(user, kind, START_MS + number, int(random() * 1000), 1 + int(random() * 9999))
        yield 0, _END, _line(0, _END, START_MS + self.events, 0, 0)


def run_job(clicks: Clicks, job: str, *, expected: str = "", workers: int = 1, source: str = WHOLE) -> Run:
    """Run a job of `benchmarks.flows_clicks`, and check what it wrote; `expected` is the bare job that tells it."""
    path = clicks.directory
    wanted = clicks.expected(expected or job)
    with scratch() as directory:
        out = directory / "lines.jsonl"
        parameters = {"job": job, "input": str(path / source), "right": str(path / "right.jsonl"), "output": str(out)}
        spec = EngineSpec(flow=FLOW, parameters=parameters, state_dir=str(directory / "state"), workers=workers)
        run = run_engine(spec)
        _check(expected or job, out, wanted)
        return run


def run_bare(clicks: Clicks, job: str) -> Run:
    """Run the bare loop of a job, and check what it wrote: that is what it wrote before."""
    with scratch() as directory:
        out = directory / "lines.jsonl"
        run = measure(["benchmarks.bare_clicks", job, str(clicks.log), str(out)])
        _check(job, out, clicks.expected(job))
        return run


def write_each(path: Path, users: int) -> None:
    """One event of each user, in turn."""
    with path.open("w") as out:
        out.writelines(_line(user, "search", START_MS + user, 0, 1) for user in range(users))
        out.write(_line(0, _END, START_MS + users, 0, 0))


def _line(user: int, kind: str, at_ms: int, item: int, cents: int) -> str:
    return f'{{"user":"c{user:07d}","kind":"{kind}","at":{at_ms},"item":"i{item:03d}","cents":{cents}}}\n'


def _check(job: str, path: Path, wanted: Digest) -> None:
    found = _digest(job, path)
    if found != wanted:
        msg = f"{job} wrote {found[0]} lines, expected {wanted[0]}"
        raise BenchmarkError(f"{msg}; their contents differ" if found[0] == wanted[0] else msg)


def _digest(job: str, path: Path) -> Digest:
    with path.open("rb") as lines:
        return _sum([record[name] for name in _FIELDS[job]] for record in map(orjson.loads, lines))


def _sum(rows: Iterable[list[object]]) -> Digest:
    count = number = 0
    for row in rows:
        count += 1
        number += int.from_bytes(blake2b(orjson.dumps(row), digest_size=7).digest(), "big")
    return count, number % 2**53
