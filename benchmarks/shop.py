"""The shop stream that several cases read, the runs over it, and whether they found the right carts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Optional

import orjson

from benchmarks.cache import cached, code, scratch
from benchmarks.case import Sizes, run_engine
from benchmarks.engine import EngineSpec
from benchmarks.processes import BenchmarkError, Run, measure
from headway.basics.times import parse_time
from headway.generate.shop import ShopOptions, generate_shop

__all__ = ["AFTER_MS", "FLOW", "check_found", "check_triggers", "run_bare", "run_bytewax", "run_carts", "shop_stream"]

FLOW: Final = "headway.flows.abandoned_carts"
UNFILTERED: Final = "benchmarks.flows_unfiltered"
AFTER_MS: Final = 1_800_000

_Cart = tuple[int, str, str, float]


def shop_stream(sizes: Sizes, files: int) -> Path:
    """The directory of a stream in the order of time, generated when it is not there yet."""
    options = ShopOptions(
        events=sizes.events, users=sizes.users, partitions=files, disorder_ms=0, after_ms=AFTER_MS, seed=1
    )

    def build(directory: Path) -> None:
        generate_shop(options, directory)

    return cached(f"shop-{sizes.name}-{files}", (options, code("src/headway/generate")), build)


def run_carts(stream: Path, *, workers: int, epoch_ms: int = 1_000, concerns: Optional[str] = None) -> Run:
    """Run the shipped flow over a stream, and check what it found.

    With `concerns` it is the flow without a filter, whose operator says (`"yes"`) or does not (`"no"`) which events
    concern it.
    """
    with scratch() as directory:
        out = directory / "triggers.jsonl"
        parameters = {"input": f"{stream}/shop-*.jsonl", "output": str(out)}
        parameters |= {"out_of_order": "0s"} if concerns is None else {"concerns": concerns}
        spec = EngineSpec(
            flow=FLOW if concerns is None else UNFILTERED,
            parameters=parameters,
            state_dir=str(directory / "state"),
            workers=workers,
            epoch_ms=epoch_ms,
        )
        run = run_engine(spec)
        check_triggers(stream, out)
        if run.answer["restarts"]:
            msg = f"the workers were restarted {run.answer['restarts']} times: nothing of this run can be compared"
            raise BenchmarkError(msg)
        return run


def run_bare(stream: Path) -> Run:
    """Run the bare loop over a stream of one file, and check what it found."""
    with scratch() as directory:
        out = directory / "carts.jsonl"
        run = measure(["benchmarks.bare", str(stream / "shop-0000.jsonl"), str(out), str(AFTER_MS)])
        _check(stream, map(_bare_cart, _records(out)), _until_ms(stream))
        return run


def run_bytewax(stream: Path, module: str) -> Run:
    """Run the same job on bytewax over a stream of one file, and check what it found.

    At the end of input it tells all carts that are there; those that are not due by then are not looked at.
    """
    with scratch() as directory:
        out = directory / "carts.jsonl"
        arguments = [str(stream / "shop-0000.jsonl"), str(out), str(AFTER_MS), str(directory / "recovery"), module]
        run = measure(["benchmarks.bytewax_carts", *arguments])
        check_found(stream, out)
        return run


def check_found(stream: Path, carts: Path, until_ms: Optional[int] = None) -> None:
    """As `check_triggers`, for a loop, which tells also of some carts that are due later."""
    last_ms = _until_ms(stream) if until_ms is None else until_ms
    _check(stream, (cart for cart in map(_bare_cart, _records(carts)) if cart[0] <= last_ms), last_ms)


def check_found_again(stream: Path, carts: Path) -> None:
    """As `check_found`, for a loop without timers, which tells a cart when its user comes again: some are missing."""
    expected = Counter(map(_expected_cart, _records(stream / "expected.jsonl")))
    found = Counter(map(_bare_cart, _records(carts)))
    wrong = sorted((found - expected), key=repr)
    if wrong or not found:
        msg = f"{len(wrong)} of {found.total()} carts are wrong: {wrong[:1]}"
        raise BenchmarkError(msg)


def check_triggers(stream: Path, triggers: Path, until_ms: Optional[int] = None) -> None:
    """Raise `BenchmarkError` unless the flow has found what there is in the stream, and nothing else.

    `until_ms` is the last watermark; by default that of the files of the stream, each by itself.
    """
    _check(stream, map(_engine_cart, _records(triggers)), _until_ms(stream) if until_ms is None else until_ms)


def _check(stream: Path, found: Iterator[_Cart], until_ms: int) -> None:
    """Raise `BenchmarkError` unless the carts are those that are abandoned by the end of the stream.

    Nothing may be said yet of carts that are due at the time of the last event, or later.
    """
    carts = map(_expected_cart, _records(stream / "expected.jsonl"))
    expected = Counter(cart for cart in carts if cart[0] <= until_ms)
    if not expected:
        msg = f"{stream} holds no cart that is abandoned before its end: it proves nothing; make it longer"
        raise BenchmarkError(msg)
    difference = Counter(found)
    difference.subtract(expected)
    wrong = sorted((cart for cart, count in difference.items() if count), key=repr)
    if wrong:
        msg = f"{len(wrong)} of {expected.total()} carts are missing or surplus, the first one {wrong[0]}"
        raise BenchmarkError(msg)


def _until_ms(stream: Path) -> int:
    """The last watermark of the stream."""
    return int(min(orjson.loads((stream / "summary.json").read_bytes())["watermarks"].values()))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        yield from map(orjson.loads, lines)


def _cart(due_ms: int, user: str, data: dict[str, Any]) -> _Cart:
    return due_ms, user, repr(sorted(data["items"].items())), data["total"]


def _expected_cart(record: dict[str, Any]) -> _Cart:
    return _cart(record["due_ms"], record["subject"], record["data"])


def _engine_cart(record: dict[str, Any]) -> _Cart:
    return _cart(parse_time(record["time"]), record["subject"], record["data"])


def _bare_cart(record: dict[str, Any]) -> _Cart:
    return _cart(record["due"], record["user"], record)
