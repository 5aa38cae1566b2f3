"""The reference: abandoned carts as a bare loop over the lines of a file, in one process, with nothing durable.

`python -m benchmarks.bare INPUT OUTPUT AFTER_MS` tells how long it took as one line of JSON. It is as fast as
orjson, a dict and a heap make it: a timer that is put off stays where it is in the heap, and is looked at again
when it comes up.
"""

from __future__ import annotations

import json
import sys
import time
from heapq import heappop, heappush
from typing import Any, BinaryIO

import orjson

from benchmarks.procfs import memory_of

__all__ = ["find_abandoned"]

ITEMS, CENTS, DUE, INDEXED = range(4)
_NEVER = 2**62


def find_abandoned(lines: BinaryIO, out: BinaryIO, after_ms: int) -> tuple[int, int]:
    """Read events in the order of time and write the carts that are abandoned before the last of them.

    Returns how many events there were and how many carts were written.
    """
    carts: dict[str, list[Any]] = {}
    heap: list[tuple[int, str]] = [(_NEVER, "")]
    loads, dumps, write = orjson.loads, orjson.dumps, out.write
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
    return events, written


def main() -> None:
    """Entry point of the process."""
    started, started_cpu = time.perf_counter(), time.process_time()
    with open(sys.argv[1], "rb") as lines, open(sys.argv[2], "wb") as out:
        events, written = find_abandoned(lines, out, int(sys.argv[3]))
    report = {
        "running_s": time.perf_counter() - started,
        "running_cpu_s": time.process_time() - started_cpu,
        "events": events,
        "triggers": written,
        "peak_bytes": memory_of().peak,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
