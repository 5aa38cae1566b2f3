"""The flow of the case about patterns at their bound: each event of the one key doubles the partial matches."""

import headway as hw
from headway.results import Match


class Step(hw.Event):
    """Something of the one key."""

    key: str
    kind: str
    at: hw.Time


class Seen(hw.Event):
    """A match: how many events it has."""

    events: int


def seen(match: Match[Step]) -> Seen:
    """What is told of a match."""
    return Seen(events=sum(map(len, match.matched.values())))


flow = hw.Flow("bounds")
_input = flow.param("input", "steps.jsonl")
_output = flow.param("output", "seen.jsonl")
_bound = flow.param("bound", 1_000)

_steps = flow.source("steps", Step, hw.files(_input), time="at").key_by("key")
_looked_for = hw.pattern("a", kind="a").one_or_more().allow_combinations().followed_by("end", kind="end")
_found = _steps.match("found", _looked_for, max_partial_matches=_bound, select=seen)
_found.to("seen", hw.to_jsonl(_output))
