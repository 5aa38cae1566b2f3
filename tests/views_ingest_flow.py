"""What was posted last, by key: from a post to a decision."""

import headway as hw


class Order(hw.Event):
    user: str
    cents: int


class Spent(hw.State):
    orders: int = 0
    cents: int = 0


class Spend(hw.Operator[Order, Spent]):
    def on_event(self, state: Spent, event: Order, ctx: hw.Context[hw.Json]) -> None:
        state.orders += 1
        state.cents += event.cents


flow = hw.Flow("orders")
orders = flow.source("orders", Order, hw.http_source("/orders", partitions=3), time=hw.INGESTION_TIME)
flow.serve("spent", hw.state_of(orders.key_by("user").process("spend", Spend())), index="cents")
