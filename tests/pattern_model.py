"""What a pattern matches, by definition: every way to choose events for its steps is tried and checked.

**What a match is.** A pattern is a tree: a sequence of steps, each an event or a group, and a group a choice of
sequences. To *spell a pattern out* is to say of each step how often it occurs, and of each occurrence of a group which
of its sequences it is. What is left is a row of leaves, each of them to be taken by one event. A match is a way to
spell the pattern out, with an event for each leaf, in the order of the events, so that

1. each event meets the conditions of its step, given the events before it in the match;
2. between two events of the match stands what their *contiguity* allows: nothing; nothing that meets the conditions of
   the second one's step; or anything. Contiguity is said by the outermost step that begins with the second event: how
   it follows the step before it or, where it occurs again, how its occurrences follow each other. If steps at the
   beginning of a group were left out, it is said by the step in the group that did come;
3. *what must not come* does not come. Such a step stands directly behind another. From the end of each occurrence of
   that one up to the next event of the match, and that event included, nothing meets its conditions (`not_next`: the
   one event after an occurrence with which the other step may be over does not meet them);
4. *greedy* loops leave nothing: between the last event of such a loop (or where it would have stood, if it did not
   occur) and the next event of the match, and that event included, nothing meets its conditions. The loop is released
   from that by an event that meets its `until`;
5. no event from the first one of a loop to its last meets its `until`, whether the match takes it or not;
6. it takes less time than `within`, and each event of a step with a time of its own, or the first event of each
   occurrence of such a group, comes earlier than that after the event before it.

Where a pattern ends with what must not come, "the next event of the match" is the end of time: of `within`, or of the
step's own time, whichever is first. A match is complete then or, if it is only about the event directly next, with
that. All others are complete with their last event.

So all rules but the last are about the gap between two events of the match, and the events in it: `Gap` (in
`pattern_spelling`) says what holds there, read off from where its two ends stand in the tree. There are no states here,
and nothing is gone through event by event. The price is exponential: it is good for streams of some seven events.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple, Optional

from tests.pattern_harness import Event, StubContext, operate
from tests.pattern_spelling import NEVER, Gap, Leaf, gap, spelled

from headway.operators.conditions import Where
from headway.operators.patterns.match import MatchPattern
from headway.operators.patterns.pattern import Contiguity, Either, Pattern, Step
from headway.operators.patterns.skip import AfterMatch, no_skip

Matched = dict[str, list[Event]]


class Found(NamedTuple):
    """A match, as the model and the operator tell it."""

    events: tuple[tuple[str, tuple[int, ...]], ...]
    """Names with the numbers (`n`) of their events."""
    start: int
    end: int


def told(ctx: StubContext, side: str = "main") -> list[Found]:
    return [
        Found(tuple((name, tuple(e["n"] for e in events)) for name, events in v.matched.items()), v.start, v.end)
        for port, _, v in ctx.out
        if port == side
    ]


def find(pattern: Pattern, events: Sequence[Event], after: Optional[AfterMatch] = None) -> list[Found]:
    return told(operate(MatchPattern(pattern, after=after).bind(dict), events))


# -- Conditions -------------------------------------------------------------------------------------------


def meets(condition: Any, event: Event, matched: Matched) -> bool:
    """Whether an event meets a step's conditions, or one condition, given what matched before."""
    if isinstance(condition, Step):
        return all(meets(part, event, matched) for part in condition.conditions)
    if isinstance(condition, Either):
        return any(all(meets(part, event, matched) for part in side) for side in (condition.left, condition.right))
    if isinstance(condition, Where):
        return all(
            event.get(name) in (value if isinstance(value, tuple) else (value,))
            for name, value in condition.fields.items()
        )
    if _arguments(condition) == 2:
        return bool(condition(event, matched))
    return bool(condition(event))


@lru_cache(maxsize=1000)
def _arguments(condition: Any) -> int:
    return len(inspect.signature(condition).parameters)


def _named(pattern: Pattern, numbers: Iterator[int]) -> Pattern:
    """The pattern with names for all its steps; those without one are numbered."""
    steps = []
    for step in pattern.steps:
        if step.group:
            steps.append(replace(step, group=tuple(_named(option, numbers) for option in step.group)))
        else:
            number = next(numbers)
            steps.append(replace(step, name=step.name or f"step{number}"))
    return replace(pattern, steps=tuple(steps))


def _names(pattern: Pattern) -> Iterator[str]:
    for step in pattern.steps:
        if step.group:
            for option in step.group:
                yield from _names(option)
        else:
            yield str(step.name)


# -- Matches ----------------------------------------------------------------------------------------------


@dataclass
class Model:
    """All matches of a pattern in a stream."""

    pattern: Pattern
    events: Sequence[Event]
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pattern = _named(self.pattern, count(1))
        self.names = list(_names(self.pattern))
        self.ends_negated = self.pattern.steps[-1].negated

    def matches(self, after: Optional[AfterMatch] = None) -> list[Found]:
        """The matches in the order in which those that began earlier, and were complete earlier, come first."""
        found = []
        for leaves in spelled(self.pattern.steps, len(self.events)):
            for chosen in self._assignments(leaves):
                done = self._completed(leaves, chosen)
                if done is not None:
                    # Earlier events come first, and the match that takes one more before that which does not.
                    places = [tuple(place.order for place in leaf) for leaf in leaves]
                    found.append((chosen[0], done, (*zip(chosen, places), (len(self.events), ())), leaves, chosen))
        found.sort(key=lambda item: item[:3])
        return self._skip(found, after or no_skip())

    def _skip(self, found: list[Any], after: AfterMatch) -> list[Found]:
        result, skipped = [], -1
        for start, done, _, leaves, chosen in found:
            if start <= skipped:
                continue
            result.append(self._found(leaves, chosen, done[0]))
            named = [i for i, leaf in zip(chosen, leaves) if leaf[-1].step.name == after.name]
            if after.kind == "skip_to_next":
                skipped = start
            elif after.kind == "skip_past_last":
                skipped = chosen[-1]
            elif named and after.kind == "skip_to_first":
                skipped = max(skipped, named[0] - 1)
            elif named and after.kind == "skip_to_last":
                skipped = max(skipped, named[-1] - 1)
        return result

    def timed_out(self) -> list[Found]:
        """The partial matches that `within` ends, rather than making them a match; for patterns without other times.

        Such is the beginning of a way to spell the pattern out that could still go on when time ends it. That its
        events are a match already does not matter, but for one that time completes.
        """
        complete: set[Found] = set()
        partial: dict[Found, None] = {}
        for leaves in spelled(self.pattern.steps, len(self.events)):
            if leaves and self.ends_negated and gap(leaves[-1], None).never:
                for chosen in self._assignments(leaves):
                    if self._completed(leaves, chosen) is not None:
                        complete.add(self._found(leaves, chosen, self.events[chosen[-1]]["at"]))
        ways: dict[Any, tuple[Leaf, ...]] = {}
        # With more leaves than there are events: what is waited for need not have come.
        for leaves in spelled(self.pattern.steps, len(self.events) + 9):
            for size in range(1, min(len(leaves), len(self.events) + 1)):
                ways.setdefault((_identities(leaves[:size]), gap(leaves[size - 1], leaves[size])), leaves[:size])
            if self.ends_negated and 0 < len(leaves) <= len(self.events):
                ways.setdefault((_identities(leaves), gap(leaves[-1], None)), leaves)
        for (_, following), leaves in ways.items():
            for chosen in self._assignments(leaves):
                if self._is_open(leaves, chosen, following):
                    found = self._found(leaves, chosen, self.events[chosen[-1]]["at"])
                    if found not in complete:
                        partial[found] = None
        return list(partial)

    def _is_open(self, leaves: tuple[Leaf, ...], chosen: tuple[int, ...], following: Gap) -> bool:
        """Whether nothing that comes in time ends the wait for the next event."""
        matched = self._matched(leaves, chosen)
        later = self._until(chosen[-1], self.events[chosen[0]]["at"] + (self.pattern.within_ms or NEVER))
        return self._is_passed(following, later, matched) and self._is_undisturbed(following, later, matched)

    def _assignments(self, leaves: tuple[Leaf, ...], chosen: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
        """All ways to give the leaves events so that the rules hold, up to the last event."""
        if len(chosen) == len(leaves):
            if chosen:
                yield chosen
            return
        for number in range(chosen[-1] + 1 if chosen else 0, len(self.events)):
            if self._fits(leaves, chosen, number):
                yield from self._assignments(leaves, (*chosen, number))

    def _fits(self, leaves: tuple[Leaf, ...], chosen: tuple[int, ...], number: int) -> bool:
        """Whether an event may be the next one of a match."""
        size, event = len(chosen), self.events[number]
        here = gap(leaves[size - 1] if size else None, leaves[size])
        matched = self._matched(leaves, chosen)
        if not meets(here.following, event, matched) or any(meets(until, event, matched) for until in here.entered):
            return False
        if not size:
            return self._is_undisturbed(here, [number], matched)
        if event["at"] - self.events[chosen[0]]["at"] >= (self.pattern.within_ms or NEVER):
            return False
        if event["at"] - self.events[chosen[-1]]["at"] >= here.gap_ms:
            return False
        between = range(chosen[-1] + 1, number)
        return self._is_passed(here, between, matched) and self._is_undisturbed(here, [*between, number], matched)

    def _is_passed(self, here: Gap, between: Sequence[int], matched: Matched) -> bool:
        """Whether contiguity allows events to stand between the two of a gap."""
        if here.contiguity is Contiguity.STRICT:
            return not between
        if here.contiguity is Contiguity.RELAXED:
            return not any(meets(here.following, self.events[i], matched) for i in between)
        return True

    def _is_undisturbed(self, here: Gap, passed: Sequence[int], matched: Matched) -> bool:
        """Whether none of the events after the first one of a gap is what may not come there."""
        if any(meets(other, self.events[i], matched) for other in (*here.never, *here.inside) for i in passed):
            return False
        if passed and any(meets(other, self.events[passed[0]], matched) for other in here.not_directly):
            return False
        for loop in here.greedy:
            for i in passed:
                if loop.quantifier.until and meets(loop.quantifier.until, self.events[i], matched):
                    break
                if meets(loop, self.events[i], matched):
                    return False
        return True

    def _completed(self, leaves: tuple[Leaf, ...], chosen: tuple[int, ...]) -> Optional[tuple[int, int, int]]:
        """When a match is complete: the time, and what comes first at that time; None where it never is."""
        last = chosen[-1]
        if not self.ends_negated:
            return self.events[last]["at"], 1, last
        deadline = min(
            self.events[chosen[0]]["at"] + (self.pattern.within_ms or NEVER),
            self.events[last]["at"] + (self.pattern.steps[-1].gap_ms or NEVER),
        )
        end = gap(leaves[-1], None)
        later = self._until(last, deadline)
        if not end.never:
            later = later[:1]
        if not self._is_undisturbed(end, later, self._matched(leaves, chosen)):
            return None
        if end.never:
            return deadline, 0, 0
        return (self.events[later[0]]["at"], 1, later[0]) if later else None

    def _until(self, last: int, deadline: int) -> list[int]:
        """The events after one that come before a time."""
        return [i for i in range(last + 1, len(self.events)) if self.events[i]["at"] < deadline]

    def _matched(self, leaves: tuple[Leaf, ...], chosen: Sequence[int]) -> Matched:
        matched: Matched = {name: [] for name in self.names}
        for leaf, index in zip(leaves, chosen):
            matched[str(leaf[-1].step.name)].append(self.events[index])
        return matched

    def _found(self, leaves: tuple[Leaf, ...], chosen: Sequence[int], end: int) -> Found:
        matched = self._matched(leaves, chosen)
        events = tuple((name, tuple(e["n"] for e in events)) for name, events in matched.items() if events)
        return Found(events, self.events[chosen[0]]["at"], end)


def _identities(leaves: tuple[Leaf, ...]) -> tuple[Any, ...]:
    return tuple(tuple(place.identity for place in leaf) for leaf in leaves)
