"""Stalled loans: applications that wait for something, and nothing happens for a week.

    headway run flows/stalled_loans.py --set input=loans.jsonl.gz

Each line of the input is one event of an application: `{"time": epoch ms, "case": "173688", "activity":
"A_SUBMITTED", "lifecycle": "complete", "resource": "112", "amount": 20000}`.
"""

from typing import Optional, Union

import headway as hw

FINAL = frozenset({"A_DECLINED", "A_CANCELLED", "A_REGISTERED", "A_APPROVED", "A_ACTIVATED"})
"""After these activities an application waits for nothing."""


class LoanEvent(hw.Event):
    """One event of a loan application."""

    time: hw.Time
    case: str
    activity: str
    lifecycle: str = ""
    resource: Optional[str] = None
    amount: Union[int, float, None] = None


class Application(hw.State):
    """What an application waits in."""

    activity: str = ""
    amount: Union[int, float, None] = None
    since: hw.Time = 0


class StalledLoan(hw.Event):
    """The trigger's data."""

    case: str
    activity: str
    amount: Union[int, float, None]
    since: str


class Stall(hw.Operator[LoanEvent, Application, StalledLoan]):
    """Waits `after_ms` from each event for the next one."""

    def __init__(self, after_ms: int) -> None:
        self.after_ms = after_ms

    def on_event(self, application: Application, event: LoanEvent, ctx: hw.Context[StalledLoan]) -> None:
        """Start the wait anew, or end it for good."""
        if event.activity in FINAL:
            ctx.forget()
            return
        application.activity = event.activity
        application.amount = event.amount
        application.since = event.time
        ctx.timer("stalled", after=self.after_ms)

    def on_timer(self, application: Application, timer: hw.Timer, ctx: hw.Context[StalledLoan]) -> None:
        """A week without news."""
        since = hw.format_time(application.since)
        ctx.emit(StalledLoan(case=ctx.key, activity=application.activity, amount=application.amount, since=since))
        ctx.forget()


flow = hw.Flow("stalled-loans")
path = flow.param("input", "loans.jsonl.gz", help="file of loan events, JSON lines, plain or compressed")
output = flow.param("output", "stalled-loans.jsonl", help="file for the triggers, CloudEvents one a line")
after = flow.param("after", "7d", help="how long an application may wait without any event")
out_of_order = flow.param("out_of_order", "0s", help="how far behind the latest event an event may come")

loans = flow.source("loans", LoanEvent, hw.files(path), time="time", out_of_order=out_of_order)
stalled = loans.key_by("case").process("stall", Stall(hw.duration_ms(after)))
stalled.trigger("loan.stalled", hw.to_jsonl(output))
