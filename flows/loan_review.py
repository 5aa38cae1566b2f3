"""Loan applications that stall are reviewed: a pattern in a stream of events starts a durable function for each.

    headway run flows/loan_review.py --follow --set patience=5s
    headway run flows/loan_review.py --follow --set input=loans.jsonl.gz
    headway functions ls flows/loan_review.py --status running
    headway functions signal flows/loan_review.py review_loan/L-5-1704542400000 decided '"declined"'

An application that waits for something, and hears nothing for a week, is reviewed: somebody is reminded, and has a week
to decide; then a team lead is. Without `input` the flow reads a month of made-up applications. A line of the input is
one event: `{"time": epoch ms, "case": "173688", "activity": "A_SUBMITTED", "amount": 20000}`.

The stream has the time of its events, and the review that of the clock: of old events all stalls are found at once, and
their reviews have a week from now.
"""

from typing import Any, Literal, Optional, Union
from zlib import crc32

import headway as hw
from headway import durable_workflow
from headway.results import Silent

FINAL = frozenset({"A_DECLINED", "A_CANCELLED", "A_REGISTERED", "A_APPROVED", "A_ACTIVATED"})
"""After these activities an application waits for nothing."""
STARTED_MS = 1_704_067_200_000
HOUR_MS = 3_600_000

Decision = Literal["approved", "declined"]


class LoanEvent(hw.Event):
    """One event of a loan application."""

    time: hw.Time
    case: str
    activity: str
    amount: Union[int, float, None] = None


class Review(hw.Event):
    """What is to be reviewed, and how long whoever is asked has."""

    case: str
    activity: str
    amount: Union[int, float, None]
    patience: str


@durable_workflow(retention="90d")
async def review_loan(context: Any, review: Review) -> str:
    """Remind, wait a week, escalate; whoever decides says so by the signal `decided`."""
    context.state["asked"] = officer = await context.call("remind", review.case, review.activity)
    decision = await decided(context, review.patience)
    if decision is None:
        context.state["asked"] = officer = await context.call("escalate", review.case, officer)
        decision = await decided(context, review.patience)
    if decision is None:
        await context.call("close", review.case)
        return "closed"
    return f"{decision} by {officer}"


async def decided(context: Any, patience: str) -> Optional[Decision]:
    """The decision; None if there is none in time."""
    try:
        decision: Decision = await context.wait("decided", timeout=patience, returns=Decision)
    except TimeoutError:
        return None
    return decision


def made_up(applications: int) -> list[dict[str, Any]]:
    """A month of applications, one every few hours, of which a third gets stuck somewhere."""
    events = []
    for number in range(applications):
        case, at = f"L-{number}", STARTED_MS + number * 720 * HOUR_MS // max(applications, 1)
        steps = ["A_SUBMITTED", "A_PREACCEPTED", "A_ACCEPTED", "A_APPROVED"]
        chance = crc32(case.encode())
        for step in steps[: 1 + chance // 3 % 3 if chance % 3 == 0 else 4]:
            events.append({"time": at, "case": case, "activity": step, "amount": 1_000 * (1 + chance % 40)})
            at += 12 * HOUR_MS
    # Somebody looks up an application much later: by then the last ones have stalled, too.
    events.append({"time": STARTED_MS + 60 * 24 * HOUR_MS, "case": "L-0", "activity": "A_CANCELLED"})
    return sorted(events, key=lambda event: event["time"])


flow = hw.Functions("loan-review", [review_loan])
path = flow.param("input", "", help="file of loan events, JSON lines, plain or compressed; made-up ones if empty")
count = flow.param("applications", 30, help="how many applications are made up")
after = flow.param("after", "7d", help="how long an application may wait without any event, in event time")
patience = flow.param("patience", "7d", help="how long whoever is asked has to decide")
output = flow.param("output", "", help="a file for the reviews that have ended, in place of the terminal")


@flow.step
async def remind(case: str, activity: str) -> str:
    """Remind whoever has the application; gives who that is."""
    return f"officer-{crc32(case.encode()) % 10}"


@flow.step
async def escalate(case: str, officer: str) -> str:
    """Tell the lead of that officer's team; gives who that is."""
    return f"lead-of-{officer}"


@flow.step
async def close(case: str) -> None:
    """Nobody wants it."""


def review_of(stall: Silent[LoanEvent]) -> tuple[Review]:
    """The one argument of the function."""
    last = stall.last
    return (Review(case=last.case, activity=last.activity, amount=last.amount, patience=patience),)


loans = flow.source("loans", LoanEvent, hw.files(path) if path else hw.items(made_up(count)), time="time")
stalled = loans.key_by("case").silence("stall", after).filter(lambda stall: stall.last.activity not in FINAL)
stalled.start(review_loan, id=lambda stall: f"{stall.last.case}-{stall.since}", args=review_of)
flow.ended.to("ended", hw.to_jsonl(output) if output else hw.to_stdout())
