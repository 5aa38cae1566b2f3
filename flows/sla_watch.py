"""Service levels of a help desk: tickets that nobody takes in time, that are not solved in time, that come back.

    headway run flows/sla_watch.py --drain
    headway run flows/sla_watch.py --set input=helpdesk.jsonl.gz --set response=8h --set resolution=14d --drain

Each line is one event of a ticket: `{"time": epoch ms, "case": "Case 3608", "activity": "Assign seriousness"}`.
Without `input` the flow reads synthetic tickets; `headway generate tickets DIR` makes others.

A ticket that goes on after a breach, or after it was solved, is watched anew from then on.
"""

import headway as hw
from headway.generate.stories import story_events
from headway.results import DeadlineResult, Match


class TicketEvent(hw.Event):
    """Something is done about a ticket."""

    time: hw.Time
    case: str
    activity: str
    resource: str = ""


class Breach(hw.Event):
    """The trigger's data: since when the ticket waited, and until when it should have."""

    since: str
    due: str


class Reopened(hw.Event):
    """The trigger's data: when it was solved, and when it came back."""

    resolved: str
    reopened: str


def as_breach(result: DeadlineResult[TicketEvent]) -> Breach:
    """A deadline that was missed."""
    return Breach(since=hw.format_time(result.since), due=hw.format_time(result.due))


def as_reopened(match: Match[TicketEvent]) -> Reopened:
    """A ticket that was taken in charge again after it was solved."""
    return Reopened(resolved=hw.format_time(match.start), reopened=hw.format_time(match.end))


OPENED = hw.where(activity=("Assign seriousness", "Insert ticket"))
TAKEN = hw.where(activity="Take in charge ticket")
WORK = hw.where(activity=("Assign seriousness", "Insert ticket", "Take in charge ticket"))
RESOLVED = hw.where(activity=("Resolve ticket", "Closed"))

flow = hw.Flow("sla-watch")
path = flow.param("input", "", help="file of ticket events, JSON lines, plain or compressed; generated if empty")
output = flow.param("output", "sla", help="what the names of the files begin with: sla-reopened.jsonl and so on")
response = flow.param("response", "4h", help="how long a ticket may wait until somebody takes it")
resolution = flow.param("resolution", "7d", help="how long it may take until it is solved, when new or reopened")
again = flow.param("again", "30d", help="for how long a solved ticket can be reopened")
out_of_order = flow.param("out_of_order", "2s", help="how far behind the latest event of its file an event may come")

source = hw.files(path) if path else story_events("tickets")
tickets = flow.source("tickets", TicketEvent, source, time="time", out_of_order=out_of_order, idle_after="1m")
by_ticket = tickets.key_by("case")

slow = by_ticket.deadline(
    "response", start=OPENED, ends={"taken": TAKEN, "resolved": RESOLVED}, within=response, emit="missed"
)
stuck = by_ticket.deadline("resolution", start=WORK, ends={"resolved": RESOLVED}, within=resolution, emit="missed")
back = by_ticket.match(
    "reopened", hw.once(RESOLVED).followed_by(TAKEN).within(again), after=hw.skip_past_last(), select=as_reopened
)

slow.map(as_breach).trigger("sla.response_breached", hw.to_jsonl(f"{output}-response_breached.jsonl"))
stuck.map(as_breach).trigger("sla.resolution_breached", hw.to_jsonl(f"{output}-resolution_breached.jsonl"))
back.trigger("ticket.reopened", hw.to_jsonl(f"{output}-reopened.jsonl"))
