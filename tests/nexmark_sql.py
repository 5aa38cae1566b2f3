"""The Nexmark queries as DuckDB SQL: what their flows are compared with.

Where the published query leaves a tie to chance, `seq` decides: the order of (time, partition, position), in
which Headway sees events. Where a flow bounds what it keeps, the SQL has the same bound.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence

import duckdb

__all__ = ["SQL", "database"]

COLUMNS = {
    "person": (0, "id name emailAddress creditCard city state dateTime extra"),
    "auction": (1, "id itemName description initialBid reserve dateTime expires seller category extra"),
    "bid": (2, "auction bidder price channel url dateTime extra"),
}
TEXTS = "name emailAddress creditCard city state extra itemName description channel url".split()  # noqa: SIM905

STATISTICS = """
    count(*) AS total_bids,
    count(*) FILTER (price < 10000) AS rank1_bids,
    count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
    count(*) FILTER (price >= 1000000) AS rank3_bids"""


def distinct(column: str, name: str) -> str:
    return f"""
    count(DISTINCT {column}) AS total_{name},
    count(DISTINCT {column}) FILTER (price < 10000) AS rank1_{name},
    count(DISTINCT {column}) FILTER (price >= 10000 AND price < 1000000) AS rank2_{name},
    count(DISTINCT {column}) FILTER (price >= 1000000) AS rank3_{name}"""


DAY = "strftime(make_timestamp(dateTime * 1000), '%Y-%m-%d')"
MINUTE = "strftime(make_timestamp(dateTime * 1000), '%H:%M')"
KEEP_MS = 3_600_000

SQL: dict[str, str] = {
    "q0": "SELECT auction, bidder, price, channel, url, dateTime, extra FROM bid",
    "q1": "SELECT auction, bidder, (price * 908)::DOUBLE / 1000, dateTime, extra FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    "q3": f"""
        SELECT p.name, p.city, p.state, a.id
        FROM auction a JOIN person p ON a.seller = p.id
        WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA') AND abs(a.dateTime - p.dateTime) <= {KEEP_MS}""",
    "q4": """
        SELECT category, sum(final) // count(*)
        FROM (
            SELECT max(b.price) AS final, a.category
            FROM auction a JOIN bid b ON a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires
            GROUP BY a.id, a.category
        )
        GROUP BY category""",
    "q5": """
        WITH counted AS (
            SELECT auction, start, count(*) AS num
            FROM (
                SELECT auction, (dateTime // 2000 - unnest(range(5))) * 2000 AS start FROM bid
            )
            GROUP BY auction, start
        )
        SELECT auction, num, start, start + 10000
        FROM counted QUALIFY num = max(num) OVER (PARTITION BY start)""",
    "q6": """
        SELECT seller, sum(final)::BIGINT // count(*)
        FROM (
            SELECT a.seller, max(b.price) AS final,
                row_number() OVER (PARTITION BY a.seller ORDER BY a.expires DESC, a.id::VARCHAR DESC) AS back
            FROM auction a JOIN bid b ON a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires
            GROUP BY a.id, a.seller, a.expires
        )
        WHERE back <= 10
        GROUP BY seller""",
    "q7": """
        SELECT auction, bidder, price, dateTime, extra
        FROM bid QUALIFY price = max(price) OVER (PARTITION BY dateTime // 10000)""",
    "q8": """
        SELECT DISTINCT p.id, p.name, p.dateTime // 10000 * 10000
        FROM person p JOIN auction a ON p.id = a.seller AND p.dateTime // 10000 = a.dateTime // 10000""",
    "q9": """
        SELECT a.id, itemName, description, initialBid, reserve, a.dateTime, expires, seller, category, a.extra,
            b.auction, b.bidder, b.price, b.dateTime, b.extra
        FROM auction a JOIN bid b ON a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires
        QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.dateTime, b.seq) = 1""",
    "q11": """
        WITH begun AS (
            SELECT *, dateTime - lag(dateTime) OVER w >= 10000 IS NOT FALSE AS begins
            FROM bid WINDOW w AS (PARTITION BY bidder ORDER BY seq)
        ), numbered AS (
            SELECT *, sum(begins::INT) OVER (PARTITION BY bidder ORDER BY seq) AS session FROM begun
        )
        SELECT bidder, count(*), min(dateTime), max(dateTime) + 10000 FROM numbered GROUP BY bidder, session""",
    "q12": """
        SELECT bidder, count(*), dateTime // 10000 * 10000, dateTime // 10000 * 10000 + 10000
        FROM bid GROUP BY bidder, dateTime // 10000""",
    "q15": f"""
        SELECT {DAY} AS day, {STATISTICS}, {distinct("bidder", "bidders")}, {distinct("auction", "auctions")}
        FROM bid GROUP BY day""",
    "q16": f"""
        SELECT channel, {DAY} AS day, max({MINUTE}), {STATISTICS},
            {distinct("bidder", "bidders")}, {distinct("auction", "auctions")}
        FROM bid GROUP BY channel, day""",
    "q17": f"""
        SELECT auction, {DAY} AS day, {STATISTICS},
            min(price), max(price), avg(price), sum(price)::BIGINT
        FROM bid GROUP BY auction, day""",
    "q18": """
        SELECT auction, bidder, price, channel, url, dateTime, extra
        FROM bid QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC, seq DESC) = 1""",
    "q19": """
        SELECT auction, bidder, price, channel, url, dateTime, extra,
            row_number() OVER (PARTITION BY auction ORDER BY price DESC, dateTime, seq) AS rank_number
        FROM bid QUALIFY rank_number <= 10""",
    "q20": f"""
        SELECT auction, bidder, price, channel, url, b.dateTime, b.extra,
            itemName, description, initialBid, reserve, a.dateTime, expires, seller, category, a.extra
        FROM bid b JOIN auction a ON b.auction = a.id
        WHERE a.category = 10 AND b.dateTime BETWEEN a.dateTime - 60000 AND a.dateTime + {KEEP_MS}""",
    # Longest falling runs of at least two prices, each followed by a higher price. A run that a higher price ends
    # cannot begin before that price, so skipping to it loses nothing.
    "fall-and-rise": """
        WITH stepped AS (
            SELECT *, price < lag(price) OVER w IS TRUE AS falls
            FROM bid WINDOW w AS (PARTITION BY auction, bidder ORDER BY seq)
        ), numbered AS (
            SELECT *, sum((NOT falls)::INT) OVER w AS run,
                lead(price) OVER w AS next_price, lead(dateTime) OVER w AS end_time
            FROM stepped WINDOW w AS (PARTITION BY auction, bidder ORDER BY seq)
        ), runs AS (
            SELECT auction, bidder, first(dateTime ORDER BY seq) AS start_time,
                last(dateTime ORDER BY seq) AS bottom_time, last(end_time ORDER BY seq) AS end_time,
                last(next_price ORDER BY seq) > last(price ORDER BY seq) AS rises, count(*) AS length
            FROM numbered GROUP BY auction, bidder, run
        )
        SELECT auction, bidder, start_time, bottom_time, end_time FROM runs WHERE rises AND length >= 2""",
    # For each bid the first one that is not above its price - 50: the end of a match when it is below and in time.
    # Then from left to right, each match beginning after the end of the one before.
    "price-drop": """
        WITH RECURSIVE numbered AS (
            SELECT *, row_number() OVER (PARTITION BY auction, bidder ORDER BY seq) AS n FROM bid
        ), ends AS (
            SELECT a.auction, a.bidder, a.n, a.dateTime, a.price, min(c.n) AS c
            FROM numbered a JOIN numbered c
                ON a.auction = c.auction AND a.bidder = c.bidder AND c.n > a.n AND c.price <= a.price - 50
            GROUP BY ALL
        ), candidates AS (
            SELECT a.auction, a.bidder, a.n, a.c, c.dateTime AS drop_time, a.price - c.price AS drop_diff
            FROM ends a JOIN numbered c ON a.auction = c.auction AND a.bidder = c.bidder AND a.c = c.n
            WHERE c.price < a.price - 50 AND c.dateTime - a.dateTime < 5000
        ), found AS (
            SELECT * FROM candidates QUALIFY row_number() OVER (PARTITION BY auction, bidder ORDER BY n) = 1
            UNION ALL
            SELECT k.* FROM found f JOIN candidates k ON k.auction = f.auction AND k.bidder = f.bidder AND k.n > f.c
            QUALIFY row_number() OVER (PARTITION BY k.auction, k.bidder ORDER BY k.n) = 1
        )
        SELECT auction, bidder, drop_time, drop_diff FROM found""",
}
"""For each query the SQL whose rows its final table must hold."""


def database(partitions: Mapping[str, Sequence[bytes]]) -> duckdb.DuckDBPyConnection:
    """The events of some partitions as tables person, auction and bid, each with a column `seq`."""
    events = [
        (event["dateTime"], partition, position, event)
        for partition, lines in sorted(partitions.items())
        for position, event in enumerate(map(json.loads, lines))
    ]
    events.sort(key=lambda event: event[:3])
    types = {"seq": "BIGINT", "event_type": "BIGINT"}
    types |= {name: _type_of(name) for _, columns in COLUMNS.values() for name in columns.split()}
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.writelines(json.dumps({"seq": seq, **event}) + "\n" for seq, (*_, event) in enumerate(events))
        file.flush()
        for table, (kind, columns) in COLUMNS.items():
            connection.execute(
                f"CREATE TABLE {table} AS SELECT seq, {', '.join(columns.split())} FROM read_json($file, "
                f"format = 'newline_delimited', columns = {types}) WHERE event_type = {kind}",
                {"file": file.name},
            )
    return connection


def _type_of(column: str) -> str:
    return "VARCHAR" if column in TEXTS else "BIGINT"
