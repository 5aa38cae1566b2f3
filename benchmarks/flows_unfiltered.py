"""Abandoned carts where no step filters the views out before the key: `--set concerns=yes` lets the operator say it."""

import headway as hw
from headway.flows.abandoned_carts import Abandonment, Shop


class Concerned(Abandonment):
    """The operator of the flow that ships, which says which events it does something with."""

    concerns = hw.where(kind=("add", "remove", "checkout"))


flow = hw.Flow("carts-unfiltered")
concerns = flow.param("concerns", "yes", help="whether the operator says which events concern it: yes or no")
events = flow.param("input", "shop-*.jsonl", help="files of shop events")
output = flow.param("output", "triggers.jsonl", help="file for the triggers")
after = flow.param("after", "30m", help="how long nothing may happen to a cart")

operator = (Concerned if concerns == "yes" else Abandonment)(hw.duration_ms(after))
carts = flow.source("shop", Shop, hw.files(events), time="at").key_by("user").process("abandonment", operator)
carts.trigger("cart.abandoned", hw.to_jsonl(output))
