"""The Nexmark queries against SQL on small streams full of ties: equal prices, equal times, times at the borders."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from tests.nexmark_sql import SQL, database
from tests.nexmark_tables import table
from tests.operator_harness import values

import headway as hw
from headway.flows.nexmark_queries import QUERIES, declare
from headway.testing import run_oracle

PERSON = {"event_type": 0, "extra": "x", "name": "n", "emailAddress": "e", "creditCard": "c", "city": "y"}
AUCTION = {"event_type": 1, "extra": "x", "itemName": "i", "description": "d", "initialBid": 1, "reserve": 2}
BID = {"event_type": 2, "url": "u"}
PRICES = [100, 149, 150, 151, 200, 201, 9_999, 10_000, 999_999, 1_000_000]


def draw_events(random: Random) -> list[dict[str, Any]]:
    """Some persons, auctions and bids, at times on a grid that is drawn too."""
    step_ms, prices = random.choice([1, 500, 1_000, 2_500]), random.sample(PRICES, random.randint(2, 6))

    def at() -> int:
        return 60_000 + random.randint(0, 8) * step_ms + random.choice([0, 0, 0, 1, -1, 9_999, 10_000])

    persons = [{"id": n, "state": random.choice(["OR", "AZ"]), "dateTime": at()} for n in range(random.randint(0, 3))]
    auctions = []
    for number in range(random.randint(0, 3)):
        opened, length = at(), random.choice([1, step_ms, 3 * step_ms, 10_000])
        seller, category = random.randint(0, 3), random.randint(10, 11)
        times = {"dateTime": opened, "expires": opened + length}
        auctions.append({"id": number, **times, "seller": seller, "category": category})
    bids = [
        {
            "auction": random.randint(0, 2),
            "bidder": random.randint(0, 1),
            "price": random.choice(prices),
            "channel": random.choice(["Apple", "Baidu"]),
            "dateTime": at(),
            "extra": f"bid {number}",
        }
        for number in range(random.randint(5, 60))
    ]
    kinds = ((PERSON, persons), (AUCTION, auctions), (BID, bids))
    events = [{**kind, **event} for kind, drawn in kinds for event in drawn]
    random.shuffle(events)
    return events


def found(query: str, partitions: dict[str, list[bytes]]) -> list[tuple[Any, ...]]:
    flow = hw.Flow("nexmark")
    declare(flow, query, hw.items([]), hw.to_list([]), out_of_order="1m")
    return table(query, values(run_oracle(flow, {"events": partitions}, drain=True), "result"))


@pytest.mark.parametrize("seed", range(20))
def test_ties_are_decided_as_sql_does(seed: int) -> None:
    random = Random(seed)
    lines = [msgspec.json.encode(event) for event in draw_events(random)]
    cut = random.randint(0, len(lines))
    partitions = {"0": lines[:cut], "1": lines[cut:]}
    tables = database(partitions)
    for query in QUERIES:
        if query != "q12":
            expected = sorted(tables.execute(SQL[query]).fetchall())
            assert found(query, partitions) == expected, query
