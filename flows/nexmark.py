"""Nexmark: an auction house, and the queries that streaming systems are compared with.

    headway generate nexmark auctions --events 1000000
    headway run flows/nexmark.py --set query=q5 --set input='auctions/nexmark-*.jsonl' --drain

Without `input` the flow reads a Nexmark stream of 100,000 events, made at its first start. The queries are in
`nexmark_queries.py`, their events in `nexmark_events.py`; docs/nexmark.md says what each of them emits.
"""

import headway as hw
from headway.flows.nexmark_queries import QUERIES, declare
from headway.generate.demo import nexmark_events

# Each query is a flow of its own, with a state directory of its own: so the choice comes before the flow.
query = hw.Flow("nexmark").param("query", "q0")

flow = hw.Flow(f"nexmark-{query}")
flow.param("query", "q0", help=f"which query: {', '.join(QUERIES)}")
events = flow.param(
    "input", "", help="files of events, such as 'auctions/nexmark-*.jsonl'; a generated stream if empty"
)
output = flow.param("output", f"nexmark-{query}.jsonl", help="file for the results, JSON objects one a line")
out_of_order = flow.param("out_of_order", "4s", help="how far behind the latest event of its file an event may come")

source = hw.files(events) if events else nexmark_events()
declare(flow, query, source, hw.to_jsonl(output), out_of_order=out_of_order)
