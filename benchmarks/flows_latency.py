"""The flow of the case `latency`: of every tenth event of a key it tells when the event was written."""

import headway as hw


class Ping(hw.Event):
    """Something that was written at `sent_us`, on the clock of the machine."""

    user: str
    sent_us: int


class Counted(hw.State):
    """How many events there were."""

    count: int = 0


class Pong(hw.Event):
    """When the event was written."""

    sent_us: int


class EveryTenth(hw.Operator[Ping, Counted, Pong]):
    """Tells of every tenth event."""

    def on_event(self, counted: Counted, event: Ping, ctx: hw.Context[Pong]) -> None:
        """Count, and tell."""
        counted.count += 1
        if not counted.count % 10:
            ctx.emit(Pong(event.sent_us))


flow = hw.Flow("pings")
path = flow.param("input", "pings.jsonl", help="the file that is followed")
output = flow.param("output", "pongs.jsonl", help="file for what is told")

pings = flow.source("pings", Ping, hw.files(path), time=hw.INGESTION_TIME).key_by("user")
pings.process("tenth", EveryTenth()).trigger("user.tenth", hw.to_jsonl(output))
