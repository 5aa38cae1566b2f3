"""How the model of patterns spells a pattern out, and what it says of the gap between two events of a match.

`tests.pattern_model` gives the rules; the words are explained there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Optional

from headway.operators.patterns.pattern import Contiguity, Step

NEVER = 10**9


# -- Spelling a pattern out -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Place:
    """Where a leaf stands at one level of the tree."""

    steps: tuple[Step, ...]
    """The sequence."""
    index: int
    """The step in it."""
    occurrence: int
    option: int
    """Which of its sequences, if it is a group."""

    @property
    def step(self) -> Step:
        return self.steps[self.index]

    @property
    def identity(self) -> tuple[int, int, int]:
        return self.index, self.occurrence, self.option

    @property
    def order(self) -> tuple[int, int, int]:
        """Which of two matches comes first that differ in the place of one event: that whose place is earlier.

        The occurrences that a loop without an upper bound has beyond its least number share one place.
        """
        quantifier = self.step.quantifier
        last = quantifier.at_least - 1 if quantifier.at_most is None else self.occurrence
        return self.index, min(self.occurrence, last), self.option


Leaf = tuple[Place, ...]
"""Outermost level first."""


def spelled(steps: tuple[Step, ...], room: int, index: int = 0) -> Iterator[tuple[Leaf, ...]]:
    """All ways to spell a sequence out, from one of its steps on, with at most so many leaves."""
    if index == len(steps):
        yield ()
    elif steps[index].negated:
        yield from spelled(steps, room, index + 1)
    else:
        for leaves in _occurrences(steps, index, room):
            for rest in spelled(steps, room - len(leaves), index + 1):
                yield leaves + rest


def _occurrences(steps: tuple[Step, ...], index: int, room: int) -> Iterator[tuple[Leaf, ...]]:
    step = steps[index]
    if step.quantifier.optional or _is_empty_allowed(step):
        yield ()
    least, most = _least(step), step.quantifier.at_most or room

    def more(number: int, left: int) -> Iterator[tuple[Leaf, ...]]:
        if number >= least:
            yield ()
        if number < most:
            for leaves in _occurrence(steps, index, number, left):
                for rest in more(number + 1, left - len(leaves)):
                    yield leaves + rest

    yield from more(0, room)


def _occurrence(steps: tuple[Step, ...], index: int, number: int, room: int) -> Iterator[tuple[Leaf, ...]]:
    step = steps[index]
    if not step.group and room > 0:
        yield ((Place(steps, index, number, 0),),)
    for option, sequence in enumerate(step.group):
        for leaves in spelled(sequence.steps, room):
            if leaves:  # Occurrences without an event are not told apart.
                yield tuple((Place(steps, index, number, option), *leaf) for leaf in leaves)


def _is_empty_allowed(step: Step) -> bool:
    """Whether a group may occur without any event."""
    return any(
        all(s.negated or s.quantifier.optional or _is_empty_allowed(s) for s in option.steps) for option in step.group
    )


def _least(step: Step) -> int:
    """How many occurrences with events are needed, if there are any."""
    return 1 if _is_empty_allowed(step) else step.quantifier.at_least


# -- What holds between two events ------------------------------------------------------------------------


@dataclass(frozen=True)
class Gap:
    """What holds between one event of a match and the next: after the first one, up to the second and including it."""

    following: Optional[Step]
    """The step of the second event; none at the end."""
    contiguity: Contiguity
    never: tuple[Step, ...] = ()
    """What must not come."""
    not_directly: tuple[Step, ...] = ()
    """What the event directly after the first one must not be."""
    greedy: tuple[Step, ...] = ()
    """Loops that have been left."""
    inside: tuple[Any, ...] = ()
    """The `until` of loops that both events are in."""
    entered: tuple[Any, ...] = ()
    """The `until` of loops that begin with the second event."""
    gap_ms: int = NEVER


@lru_cache(maxsize=1000)
def gap(before: Optional[Leaf], after: Optional[Leaf]) -> Gap:
    """What holds between the events of two leaves; before the first one (None), and after the last (None)."""
    # The level at which the two part: up to there, they are in the same occurrence of the same step.
    level = 0
    while before and after and before[level].identity == after[level].identity:
        level += 1
    again = bool(before and after and before[level].index == after[level].index)
    left = (before or ())[level + again :]
    """Where the first event is in steps that are over then; and what of their sequences has not come."""
    begun = (after or ())[level:]
    between: list[Step] = []
    for place in (before or ())[level + 1 :]:
        between += place.steps[place.index + 1 :]
    if before and not again:
        between += before[level].steps[before[level].index + 1 : after[level].index if after else None]
    elif not before and after:
        between += after[0].steps[: after[0].index]
    for place in begun[1:]:
        between += place.steps[: place.index]

    never = [step for step in between if step.negated and step.contiguity is not Contiguity.STRICT]
    directly = [step for step in between if step.negated and step.contiguity is Contiguity.STRICT]
    if again and before:
        place = before[level]
        for step in _negated_behind(place):
            if step.contiguity is not Contiguity.STRICT:
                never.append(step)
            elif place.occurrence + 1 >= _least(place.step):
                directly.append(step)
    loops = [place.step for place in left] + [step for step in between if not step.negated]
    both = [place.step for place in (after or ())[: level + again]]
    return Gap(
        following=after[-1].step if after else None,
        contiguity=_contiguity(begun, again) if after else Contiguity.ANY if never else Contiguity.STRICT,
        never=tuple(never),
        not_directly=tuple(directly),
        greedy=tuple(step for step in loops if step.quantifier.greedy and _varies(step)),
        inside=tuple(step.quantifier.until for step in both if step.quantifier.until),
        entered=tuple(place.step.quantifier.until for place in begun[again:] if place.step.quantifier.until),
        gap_ms=min([NEVER, *(place.step.gap_ms for place in begun if place.step.gap_ms)]),
    )


def _contiguity(begun: Leaf, again: bool) -> Contiguity:
    """Of the outermost step that begins with an event, or of the innermost before which others were left out."""
    inner = [place.step for place in begun[1:] if place.index > 0]
    if inner:
        return inner[-1].contiguity
    return begun[0].step.quantifier.contiguity if again else begun[0].step.contiguity


def _negated_behind(place: Place) -> list[Step]:
    """What must not come directly behind a step."""
    found = []
    for step in place.steps[place.index + 1 :]:
        if not step.negated:
            break
        found.append(step)
    return found


def _varies(step: Step) -> bool:
    return step.quantifier.at_least != step.quantifier.at_most
