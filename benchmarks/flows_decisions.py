"""The flow of the case `decisions`: what each user of the shop did last, served as a view."""

import headway as hw


class Shopping(hw.Event):
    """An event of the shop, as far as it matters here."""

    at: int
    user: str
    kind: str


class Visit(hw.State):
    """What is known of a user."""

    events: int = 0
    at: int = 0
    kind: str = ""


class Follow(hw.Operator[Shopping, Visit]):
    """Changes the row of a key with each event."""

    def on_event(self, visit: Visit, event: Shopping, ctx: hw.Context[hw.Json]) -> None:
        """Count, and remember."""
        visit.events += 1
        visit.at, visit.kind = event.at, event.kind


flow = hw.Flow("decisions")
path = flow.param("input", "shop-*.jsonl", help="files of the shop")
shop = flow.source("shop", Shopping, hw.files(path), time="at", out_of_order="5s")
flow.serve("visits", hw.state_of(shop.key_by("user").process("follow", Follow())))
