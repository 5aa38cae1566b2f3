"""The reference: abandoned carts as a bare loop over the lines of a file, in one process, with nothing durable.

`python -m benchmarks.bare INPUT OUTPUT AFTER_MS` tells how long it took as one line of JSON. It is as fast as
orjson, a dict and a heap make it: a timer that is put off stays where it is in the heap, and is looked at again
when it comes up.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any, BinaryIO

import orjson

from benchmarks.procfs import memory_of

__all__ = ["Carts"]

ITEMS, CENTS, DUE, INDEXED = range(4)
_NEVER = 2**62


class Carts:
    """The carts of one log in the order of time, whose lines come in some pieces."""

    def __init__(self, out: BinaryIO, after_ms: int) -> None:
        self.events = self.written = 0
        self._write = out.write
        self._after_ms = after_ms
        self._carts: dict[str, list[Any]] = {}
        self._heap: list[tuple[int, str]] = [(_NEVER, "")]

    def take(self, lines: Iterable[bytes]) -> None:
        """Read events, and write the carts that are abandoned before the last of them."""
        carts, heap, after_ms = self._carts, self._heap, self._after_ms
        loads, dumps, write = orjson.loads, orjson.dumps, self._write
        events = written = 0
        for line in lines:
            event = loads(line)
            events += 1
            now_ms = event["at"]
            while heap[0][0] < now_ms:
                due_ms, user = heappop(heap)
                cart = carts.get(user)
                if cart is None or cart[INDEXED] != due_ms:
                    continue
                if cart[DUE] > due_ms:
                    cart[INDEXED] = cart[DUE]
                    heappush(heap, (cart[DUE], user))
                    continue
                del carts[user]
                written += 1
                write(dumps({"user": user, "due": due_ms, "items": cart[ITEMS], "total": cart[CENTS] / 100}) + b"\n")
            kind = event["kind"]
            if kind == "view":
                continue
            user = event["user"]
            if kind == "checkout":
                carts.pop(user, None)
                continue
            cart = carts.get(user)
            sku = event["sku"]
            if kind == "add":
                if cart is None:
                    due_ms = now_ms + after_ms
                    carts[user] = [{sku: 1}, round(event["price"] * 100), due_ms, due_ms]
                    heappush(heap, (due_ms, user))
                    continue
                items = cart[ITEMS]
                items[sku] = items.get(sku, 0) + 1
                cart[CENTS] += round(event["price"] * 100)
            else:
                if cart is None or sku not in cart[ITEMS]:
                    continue
                items = cart[ITEMS]
                items[sku] -= 1
                cart[CENTS] -= round(event["price"] * 100)
                if not items[sku]:
                    del items[sku]
                    if not items:
                        del carts[user]
                        continue
            cart[DUE] = now_ms + after_ms
        self.events += events
        self.written += written


def main() -> None:
    """Entry point of the process."""
    started, started_cpu = time.perf_counter(), time.process_time()
    with open(sys.argv[1], "rb") as lines, open(sys.argv[2], "wb") as out:
        carts = Carts(out, int(sys.argv[3]))
        carts.take(lines)
    report = {
        "running_s": time.perf_counter() - started,
        "running_cpu_s": time.process_time() - started_cpu,
        "events": carts.events,
        "triggers": carts.written,
        "peak_bytes": memory_of().peak,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
