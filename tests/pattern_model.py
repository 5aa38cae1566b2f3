"""What a pattern matches, by definition: every way to choose events for its steps is tried and checked.

Independent of the automaton: a pattern is spelled out into all its words (sequences of single events, each with what
may not happen before it), and a word matches events in increasing order if nothing that it forbids is between them.
Exponential, and good for streams of some seven events.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, NamedTuple, Optional

from tests.pattern_harness import Event, StubContext, operate

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
    return told(operate(MatchPattern(dict, pattern, after=after), events))


# -- Words ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Letter:
    """One event of a word, and what may not happen between the one before it and itself."""

    name: str
    step: Step
    contiguity: Contiguity
    place: tuple[int, ...]
    head: bool = True
    never: tuple[Any, ...] = ()
    """Steps or conditions that no event up to this one may meet."""
    not_directly: tuple[Any, ...] = ()
    greedy: tuple[tuple[Step, Any], ...] = ()
    refuses: tuple[Any, ...] = ()
    gap_ms: Optional[int] = None


@dataclass(frozen=True)
class Pending:
    """What was said between the last event and the next one."""

    never: tuple[Any, ...] = ()
    not_directly: tuple[Any, ...] = ()
    greedy: tuple[tuple[Step, Any], ...] = ()

    def on(self, letter: Letter) -> Letter:
        return replace(
            letter,
            never=self.never + letter.never,
            not_directly=self.not_directly + letter.not_directly,
            greedy=self.greedy + letter.greedy,
        )

    def forbid(self, step: Step) -> Pending:
        if step.contiguity is Contiguity.STRICT:
            return replace(self, not_directly=(*self.not_directly, step))
        return replace(self, never=(*self.never, step))


Word = tuple[Letter, ...]


def words(pattern: Pattern, longest: int) -> list[tuple[Word, Pending]]:
    """All words of a pattern up to a length, with what is pending behind them."""
    names = iter(range(1, 1000))
    named = _name(pattern, names)
    return [(word, rest) for word, rest in _sequence(named.steps, Pending(), longest, ()) if word]


def _name(pattern: Pattern, numbers: Iterator[int]) -> Pattern:
    steps = []
    for step in pattern.steps:
        if step.group:
            steps.append(replace(step, group=tuple(_name(option, numbers) for option in step.group)))
        else:
            number = next(numbers)
            steps.append(replace(step, name=step.name or f"step{number}"))
    return replace(pattern, steps=tuple(steps))


def _sequence(
    steps: Sequence[Step], pending: Pending, longest: int, place: tuple[int, ...], first: bool = True
) -> Iterator[tuple[Word, Pending]]:
    if not steps:
        yield (), pending
        return
    step, rest = steps[0], steps[1:]
    here = (*place, 1000 - len(rest))
    if step.negated:
        yield from _sequence(rest, pending.forbid(step), longest, place, False)
        return
    forbidden = []
    for other in rest:
        if not other.negated:
            break
        forbidden.append(other)
    for word, behind in _step(step, forbidden, pending, longest, here):
        letters = word if first else tuple(replace(letter, head=False) for letter in word)
        for more, after in _sequence(rest, behind, longest - len(word), place, first and not word):
            tail = more if not first or word else tuple(replace(letter, head=False) for letter in more)
            yield letters + tail, after


def _step(
    step: Step, forbidden: Sequence[Step], pending: Pending, longest: int, place: tuple[int, ...]
) -> Iterator[tuple[Word, Pending]]:
    quantifier = step.quantifier
    nullable = any(not word for word, _ in _once(step, Pending(), longest, place))
    greedy: tuple[tuple[Step, Any], ...] = ()
    if quantifier.greedy and quantifier.at_least != quantifier.at_most:
        greedy = ((step, quantifier.until),)
    if quantifier.optional or nullable:
        yield (), replace(pending, greedy=pending.greedy + greedy)
    least = 1 if nullable else quantifier.at_least
    most = longest if quantifier.at_most is None else min(quantifier.at_most, longest)

    def go_on(count: int, before: Word, behind: Pending) -> Iterator[tuple[Word, Pending]]:
        if count >= least:
            yield before, replace(behind, greedy=behind.greedy + greedy)
        if count == most:
            return
        between = behind
        for other in forbidden:
            if count >= least or other.contiguity is not Contiguity.STRICT:
                between = between.forbid(other)
        inside = (*place, min(count, quantifier.at_least - 1) if quantifier.at_most is None else count)
        for word, after in _once(step, between if count else pending, longest - len(before), inside):
            if word:
                yield from go_on(count + 1, before + _repeated(step, word, count), after)

    for word, behind in go_on(0, (), pending):
        if word:
            yield word, behind


def _repeated(step: Step, word: Word, count: int) -> Word:
    letters = []
    for number, letter in enumerate(word):
        changed = letter
        if number == 0:
            if letter.head:
                changed = replace(changed, contiguity=step.quantifier.contiguity if count else step.contiguity)
            if step.gap_ms is not None:
                changed = replace(changed, gap_ms=min(step.gap_ms, letter.gap_ms or step.gap_ms))
        until = step.quantifier.until
        if until is not None:
            if count or number:
                changed = replace(changed, never=(*changed.never, until))
            else:
                changed = replace(changed, refuses=(*changed.refuses, until))
        letters.append(changed)
    return tuple(letters)


def _once(step: Step, pending: Pending, longest: int, place: tuple[int, ...]) -> Iterator[tuple[Word, Pending]]:
    if step.group:
        for number, option in enumerate(step.group):
            yield from _sequence(option.steps, pending, longest, (*place, number))
    elif longest > 0:
        yield (pending.on(Letter(str(step.name), step, step.contiguity, place)),), Pending()


# -- Matches ----------------------------------------------------------------------------------------------


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
    if len(inspect.signature(condition).parameters) == 2:
        return bool(condition(event, matched))
    return bool(condition(event))


@dataclass
class Model:
    """All matches of a pattern in a stream."""

    pattern: Pattern
    events: Sequence[Event]
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.words = words(self.pattern, len(self.events))
        self.names = MatchPattern(dict, self.pattern).names

    def matches(self, after: Optional[AfterMatch] = None) -> list[Found]:
        """The matches in the order in which those that began earlier, and were complete earlier, come first."""
        found = []
        for word, pending in self.words:
            for chosen in self._assignments(word):
                done = self._completed(word, chosen, pending)
                if done is not None:
                    # Earlier events come first, and the match that takes one more before that which does not.
                    key = (*zip(chosen, (letter.place for letter in word)), (len(self.events), ()))
                    found.append((chosen[0], done, key, word, chosen))
        found.sort(key=lambda item: item[:3])
        return self._skip(found, after or no_skip())

    def _skip(self, found: list[Any], after: AfterMatch) -> list[Found]:
        result, skipped = [], -1
        for start, done, _, word, chosen in found:
            if start <= skipped:
                continue
            result.append(self._found(word, chosen, done[0]))
            named = [i for i, letter in zip(chosen, word) if letter.name == after.name]
            if after.kind == "skip_to_next":
                skipped = start
            elif after.kind == "skip_past_last":
                skipped = chosen[-1]
            elif named and after.kind == "skip_to_first":
                skipped = max(skipped, named[0] - 1)
            elif named and after.kind == "skip_to_last":
                skipped = max(skipped, named[-1] - 1)
        return list(dict.fromkeys(result))

    def timed_out(self) -> list[Found]:
        """The partial matches that `within` ends, rather than making them a match; for patterns without other times.

        That their events are a match already does not matter.
        """
        assert self.pattern.within_ms is not None
        complete = {tuple(zip(chosen, (letter.name for letter in word))) for word, chosen in self._absences()}
        found = {}
        ways: dict[tuple[Word, Letter], None] = {}
        # Words with more events than there are: what is waited for need not have come.
        for word, pending in words(self.pattern, len(self.events) + 9):
            ways.update({(word[:size], word[size]): None for size in range(1, min(len(word), len(self.events) + 1))})
            if self._negated_end():
                ways[word, self._end_letter(pending)] = None
        for before, following in ways:
            for chosen in self._assignments(before):
                key = tuple(zip(chosen, (letter.name for letter in before)))
                if key not in complete and self._still_open(before, chosen, following):
                    found[key] = self._found(before, chosen, self.events[chosen[-1]]["at"])
        return list(found.values())

    def _absences(self) -> Iterator[tuple[Word, tuple[int, ...]]]:
        for word, pending in self.words if self._negated_end() else []:
            for chosen in self._assignments(word):
                if pending.never and self._completed(word, chosen, pending) is not None:
                    yield word, chosen

    def _end_letter(self, pending: Pending) -> Letter:
        # Open until time ends it, if it waits for something that would end it with the next event only.
        contiguity = Contiguity.ANY if pending.never else Contiguity.STRICT
        nothing = Step(contiguity, conditions=(lambda event: False,))
        return pending.on(Letter("", nothing, contiguity, ()))

    def _still_open(self, before: Word, chosen: tuple[int, ...], following: Letter) -> bool:
        deadline = self.events[chosen[0]]["at"] + (self.pattern.within_ms or 0)
        matched = self._matched(before, chosen)
        later = [i for i in range(chosen[-1] + 1, len(self.events)) if self.events[i]["at"] < deadline]
        if following.contiguity is Contiguity.STRICT and later:
            return False
        fits = (meets(following.step, self.events[i], matched) for i in later)
        if following.contiguity is Contiguity.RELAXED and any(fits):
            return False
        return self._undisturbed(following, later, matched)

    def _negated_end(self) -> bool:
        return self.pattern.steps[-1].negated

    def _assignments(self, word: Word) -> Iterator[tuple[int, ...]]:
        for chosen in combinations(range(len(self.events)), len(word)):
            if all(self._fits(word, chosen, number) for number in range(len(word))):
                yield chosen

    def _fits(self, word: Word, chosen: tuple[int, ...], number: int) -> bool:
        letter, index = word[number], chosen[number]
        event = self.events[index]
        matched = self._matched(word[:number], chosen[:number])
        if not meets(letter.step, event, matched) or any(meets(until, event, matched) for until in letter.refuses):
            return False
        if number == 0:
            return self._undisturbed(replace(letter, never=(), not_directly=()), [index], matched)
        last = chosen[number - 1]
        within = self.pattern.within_ms
        if within is not None and event["at"] - self.events[chosen[0]]["at"] >= within:
            return False
        if letter.gap_ms is not None and event["at"] - self.events[last]["at"] >= letter.gap_ms:
            return False
        between = range(last + 1, index)
        if letter.contiguity is Contiguity.STRICT and between:
            return False
        fits = (meets(letter.step, self.events[i], matched) for i in between)
        if letter.contiguity is Contiguity.RELAXED and any(fits):
            return False
        return self._undisturbed(letter, range(last + 1, index + 1), matched)

    def _undisturbed(self, letter: Letter, passed: Sequence[int], matched: Matched) -> bool:
        """Whether none of the events that pass, the last of which may be the letter's own, ends the wait for it."""
        if any(meets(other, self.events[i], matched) for other in letter.never for i in passed):
            return False
        if passed and any(meets(other, self.events[passed[0]], matched) for other in letter.not_directly):
            return False
        for step, until in letter.greedy:
            for i in passed:
                if until is not None and meets(until, self.events[i], matched):
                    break
                if meets(step, self.events[i], matched):
                    return False
        return True

    def _completed(self, word: Word, chosen: tuple[int, ...], pending: Pending) -> Optional[tuple[int, int, int]]:
        """When a match is complete: the time, and what comes first at that time; None where it never is."""
        last = chosen[-1]
        if not self._negated_end():
            return self.events[last]["at"], 1, last
        matched = self._matched(word, chosen)
        limits = [10**9]
        if self.pattern.within_ms is not None:
            limits.append(self.events[chosen[0]]["at"] + self.pattern.within_ms)
        gap = self.pattern.steps[-1].gap_ms
        if gap is not None:
            limits.append(self.events[last]["at"] + gap)
        deadline = min(limits)
        later = [i for i in range(last + 1, len(self.events)) if self.events[i]["at"] < deadline]
        if pending.never:
            ends = Letter("", word[-1].step, Contiguity.ANY, (), never=pending.never, not_directly=pending.not_directly)
            return (deadline, 0, 0) if self._undisturbed(ends, later, matched) else None
        if not later or any(meets(other, self.events[later[0]], matched) for other in pending.not_directly):
            return None
        return self.events[later[0]]["at"], 1, later[0]

    def _matched(self, word: Word, chosen: Sequence[int]) -> Matched:
        matched: Matched = {name: [] for name in self.names}
        for letter, index in zip(word, chosen):
            matched[letter.name].append(self.events[index])
        return matched

    def _found(self, word: Word, chosen: Sequence[int], end: int) -> Found:
        matched = self._matched(word, chosen)
        events = tuple((name, tuple(e["n"] for e in events)) for name, events in matched.items() if events)
        return Found(events, self.events[chosen[0]]["at"], end)
