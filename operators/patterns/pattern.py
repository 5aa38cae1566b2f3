"""Patterns: what is looked for in the events of a key, as values that are put together step by step.

The words and their meaning are those of Flink CEP. A pattern is a sequence of steps; each step is one kind of
event, or a group of steps, with a quantifier, and follows the step before it with some contiguity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Optional, Union

from headway.basics.declaring import fail
from headway.basics.times import Duration, duration_ms
from headway.errors import UsageError
from headway.operators.conditions import Where

__all__ = ["Condition", "Contiguity", "Either", "Pattern", "Quantifier", "Step", "either", "once", "pattern"]

Condition = Union[Callable[[Any], Any], Callable[[Any, Any], Any], Callable[[Any, Any, Any], Any], Where]
"""A function of the event, of the event and what matched so far, of these and the rules, or `where(field=value)`."""


class Contiguity(IntEnum):
    """What may stand between two events of a match."""

    STRICT = 0
    """Nothing."""
    RELAXED = 1
    """Anything that is not what is waited for: the next event that fits is taken."""
    ANY = 2
    """Anything: each later event that fits gives a match of its own."""


@dataclass(frozen=True)
class Either:
    """A condition that holds where one of two does."""

    left: Any
    right: Any


@dataclass(frozen=True)
class Quantifier:
    """How often a step occurs."""

    at_least: int = 1
    at_most: Optional[int] = 1
    """None: without bound."""
    optional: bool = False
    greedy: bool = False
    contiguity: Contiguity = Contiguity.RELAXED
    """Between one occurrence and the next."""
    until: Optional[Condition] = None

    @property
    def loops(self) -> bool:
        """Whether the step can occur more than once."""
        return self.at_most != 1


@dataclass(frozen=True)
class Step:
    """One step of a pattern: an event or a group, with a quantifier."""

    contiguity: Contiguity
    name: Optional[str] = None
    conditions: tuple[Any, ...] = ()
    """All of these must hold; none: every event fits."""
    group: tuple[Pattern, ...] = ()
    """The alternatives of a group; one where there is no choice, none for a single event."""
    negated: bool = False
    quantifier: Quantifier = Quantifier()
    gap_ms: Optional[int] = None
    """The event must come earlier than this after the one before it."""

    @property
    def nullable(self) -> bool:
        """Whether the step may be left out."""
        return self.quantifier.optional or any(
            all(step.nullable or step.negated for step in option.steps) for option in self.group
        )

    @property
    def label(self) -> str:
        """How the step is called in messages."""
        return repr(self.name) if self.name else ("a group" if self.group else "a step without a name")


@dataclass(frozen=True)
class Pattern:
    """A sequence of steps to look for in the events of a key; every method returns a new pattern.

    Methods that describe a step (`where`, `times`, `optional` ...) are about the last one. Conditions are
    functions of the event, functions of the event and of what matched so far (a dict of lists of events by the
    names of the steps), functions of these and of the rules, `where(field=value)`, or field values as keywords. All
    errors are `FlowError`s, at the line that declares what is wrong.

    >>> begun = pattern("cart", kind="add").followed_by("pay", kind="pay").times(2).within("1h")
    >>> [step.name for step in begun.steps], begun.within_ms
    (['cart', 'pay'], 3600000)
    """

    steps: tuple[Step, ...]
    within_ms: Optional[int] = None
    """A match takes less than this, from its first to its last event."""

    # -- Steps --------------------------------------------------------------------------------------------

    def next(self, *what: Union[str, Condition, Pattern], **fields: Any) -> Pattern:
        """Then comes, directly: no other event of the key in between. Takes a name and conditions, or a group."""
        return self._then(Contiguity.STRICT, what, fields)

    def followed_by(self, *what: Union[str, Condition, Pattern], **fields: Any) -> Pattern:
        """Then comes, with any others in between: the first event that fits is taken."""
        return self._then(Contiguity.RELAXED, what, fields)

    def followed_by_any(self, *what: Union[str, Condition, Pattern], **fields: Any) -> Pattern:
        """Then comes, with any others in between, also such that fit: each that fits gives a match of its own."""
        return self._then(Contiguity.ANY, what, fields)

    def not_next(self, *what: Union[str, Condition], **fields: Any) -> Pattern:
        """The event that comes directly next is not such a one. At the end the match is known with that event."""
        return self._then(Contiguity.STRICT, what, fields, negated=True)

    def not_followed_by(self, *what: Union[str, Condition], **fields: Any) -> Pattern:
        """No such event comes before the next step does; at the end: before the time of `within` is over.

        After a loop none may come between its events either.
        """
        return self._then(Contiguity.RELAXED, what, fields, negated=True)

    def then_absent(self, *what: Union[str, Condition], within: Duration, **fields: Any) -> Pattern:
        """No such event comes within a duration from the last one: `not_followed_by` at the end.

        An event exactly `within` later comes too late. The match is told at that time.
        """
        return self.not_followed_by(*what, **fields).within(within, since="previous")

    # -- Conditions of the last step ----------------------------------------------------------------------

    def where(self, *conditions: Condition, **fields: Any) -> Pattern:
        """The event must meet these conditions too."""
        last = self._event_step("where")
        return self._with(conditions=(*last.conditions, *_conditions(conditions, fields)))

    def or_where(self, *conditions: Condition, **fields: Any) -> Pattern:
        """The event must meet either what was said of it so far, or these conditions."""
        last = self._event_step("or_where")
        if not last.conditions:
            msg = f"or_where(): {last.label} has no condition yet: every event fits already; use where() first"
            fail(msg)
        return self._with(conditions=(Either(last.conditions, _conditions(conditions, fields)),))

    def subtype(self, event_type: type) -> Pattern:
        """The event must be of this class too, on a stream of several types."""
        if not isinstance(event_type, type):
            msg = f"subtype({event_type!r}): expected a class of events"
            fail(msg)
        return self.where(lambda event: isinstance(event, event_type))

    # -- Quantifiers of the last step ---------------------------------------------------------------------

    def times(self, least: int, most: Optional[int] = None) -> Pattern:
        """It occurs `least` times, or between `least` and `most` times; 0 makes it optional."""
        most = least if most is None else most
        if type(least) is not int or type(most) is not int or not 0 <= least <= most or most < 1:
            msg = f"times({least!r}, {most!r}): expected whole numbers with 0 <= least <= most and most >= 1"
            fail(msg)
        return self._occurs("times", max(least, 1), most, optional=least == 0)

    def one_or_more(self) -> Pattern:
        """It occurs once or more often. Bound it by `until` or `within`: else it stays open for ever."""
        return self._occurs("one_or_more", 1, None)

    def times_or_more(self, least: int) -> Pattern:
        """It occurs at least so many times."""
        if type(least) is not int or least < 1:
            msg = f"times_or_more({least!r}): expected a whole number of at least 1"
            fail(msg)
        return self._occurs("times_or_more", least, None)

    def optional(self) -> Pattern:
        """It may be missing."""
        self._positive_step("optional")
        return self._quantified(optional=True)

    def greedy(self) -> Pattern:
        """It occurs as often as it can: an event that fits it is never left to the steps behind it."""
        last = self._loop("greedy")
        if last.group:
            msg = "greedy() does not work on a group; make the loops inside it greedy"
            fail(msg)
        if last.quantifier.contiguity is Contiguity.ANY:
            msg = f"greedy(): {last.label} allows combinations, which leave events out; use one of the two"
            fail(msg)
        return self._quantified(greedy=True)

    def until(self, condition: Optional[Condition] = None, **fields: Any) -> Pattern:
        """No more occurrences from an event on that meets this, that event included."""
        last = self._loop("until")
        if last.quantifier.at_most is not None:
            msg = f"until(): {last.label} is bounded; it works with one_or_more() and times_or_more()"
            fail(msg)
        given = _conditions(() if condition is None else (condition,), fields)
        if len(given) != 1 or last.quantifier.until is not None:
            msg = f"until() of {last.label} takes one condition, a function or field=value, once"
            fail(msg)
        return self._quantified(until=given[0])

    def consecutive(self) -> Pattern:
        """Its occurrences come directly one after the other."""
        self._loop("consecutive")
        return self._quantified(contiguity=Contiguity.STRICT)

    def allow_combinations(self) -> Pattern:
        """Its occurrences need not be the next that fit: every combination gives a match."""
        last = self._loop("allow_combinations")
        if last.quantifier.greedy:
            msg = f"allow_combinations(): {last.label} is greedy, and leaves no event out; use one of the two"
            fail(msg)
        return self._quantified(contiguity=Contiguity.ANY)

    # -- Time ---------------------------------------------------------------------------------------------

    def within(self, duration: Duration, *, since: str = "first") -> Pattern:
        """A match takes less than `duration` from its first event on (the shortest counts, if said twice).

        With `since="previous"` it is about the last step: each of its events comes earlier than `duration` after
        the event before it. An event exactly `duration` later comes too late.
        """
        try:
            length_ms = duration_ms(duration, what="within")
        except UsageError as error:
            fail(str(error))
        if length_ms < 1:
            msg = f"within({duration!r}): a match needs some time: expected at least 1 ms"
            fail(msg)
        if since == "previous":
            if len(self.steps) == 1 and not self.steps[0].quantifier.loops:
                msg = f"within({duration!r}, since='previous'): no event comes before the first step"
                fail(msg)
            return self._with(gap_ms=min(length_ms, self.steps[-1].gap_ms or length_ms))
        if since != "first":
            msg = f"within(since={since!r}): expected 'first' or 'previous'"
            fail(msg)
        return replace(self, within_ms=min(length_ms, self.within_ms or length_ms))

    # -- Building -----------------------------------------------------------------------------------------

    def _then(
        self, contiguity: Contiguity, what: tuple[Any, ...], fields: dict[str, Any], *, negated: bool = False
    ) -> Pattern:
        step = _step(contiguity, what, fields, negated=negated)
        if negated and step.group:
            msg = "not_next() and not_followed_by() take the conditions of one event, not a pattern"
            fail(msg)
        if negated and self.steps[-1].nullable:
            msg = f"a step that must not come cannot stand behind an optional one, here {self.steps[-1].label}"
            fail(msg)
        return replace(self, steps=(*self.steps, step))

    def _with(self, **changes: Any) -> Pattern:
        return replace(self, steps=(*self.steps[:-1], replace(self.steps[-1], **changes)))

    def _quantified(self, **changes: Any) -> Pattern:
        return self._with(quantifier=replace(self.steps[-1].quantifier, **changes))

    def _occurs(self, method: str, least: int, most: Optional[int], *, optional: bool = False) -> Pattern:
        last = self._positive_step(method)
        if last.quantifier.loops:
            msg = f"{method}(): how often {last.label} occurs was said already"
            fail(msg)
        return self._quantified(at_least=least, at_most=most, optional=optional or last.quantifier.optional)

    def _event_step(self, method: str) -> Step:
        last = self.steps[-1]
        if last.group:
            msg = f"{method}(): the last step is a group; conditions belong to the steps inside it"
            fail(msg)
        return last

    def _positive_step(self, method: str) -> Step:
        last = self.steps[-1]
        if last.negated:
            msg = f"{method}(): the last step must not come at all, so it has no quantifier"
            fail(msg)
        return last

    def _loop(self, method: str) -> Step:
        last = self._positive_step(method)
        if not last.quantifier.loops:
            msg = f"{method}(): {last.label} occurs once; say how often first: times(), one_or_more()"
            fail(msg)
        return last


def _step(contiguity: Contiguity, what: tuple[Any, ...], fields: dict[str, Any], *, negated: bool = False) -> Step:
    if any(isinstance(part, Pattern) for part in what):
        if len(what) != 1 or fields:
            msg = "a group is one pattern and nothing else: names and conditions belong to the steps inside it"
            fail(msg)
        return _group(contiguity, (what[0],), negated=negated)
    name = what[0] if what and isinstance(what[0], str) else None
    if name == "":
        msg = "the name of a step cannot be empty"
        fail(msg)
    conditions = what if name is None else what[1:]
    return Step(contiguity, name, _conditions(conditions, fields), negated=negated)


def _group(contiguity: Contiguity, options: tuple[Pattern, ...], *, negated: bool = False) -> Step:
    for option in options:
        if option.within_ms is not None:
            msg = "within() belongs to the whole pattern, not to a group inside it"
            fail(msg)
        if option.steps[-1].negated:
            msg = f"a group cannot end with what must not come ({option.steps[-1].label}): put that behind the group"
            fail(msg)
    if len(options) == 1 and len(options[0].steps) == 1 and options[0].steps[0].group:
        inner = options[0].steps[0]
        if inner.quantifier == Quantifier() and inner.gap_ms is None:
            options = inner.group
    return Step(contiguity, group=options, negated=negated)


def _conditions(conditions: tuple[Any, ...], fields: dict[str, Any]) -> tuple[Condition, ...]:
    for condition in conditions:
        if not callable(condition) and not isinstance(condition, Where):
            msg = f"a condition must be a function of the event or where(field=value), not {condition!r}"
            fail(msg)
    return (*conditions, Where(fields)) if fields else tuple(conditions)


def pattern(*what: Union[str, Condition, Pattern], **fields: Any) -> Pattern:
    """Begin a pattern with a step: a name and conditions, or a group.

    >>> pattern("start", kind="add").next("end", lambda event: event["price"] > 10).steps[1].name
    'end'
    """
    return Pattern((_step(Contiguity.RELAXED, what, fields),))


def once(*conditions: Condition, **fields: Any) -> Pattern:
    """Begin a pattern with one event that meets the conditions; unnamed steps are called `step1`, `step2` and so on.

    >>> once(kind="add").then_absent(kind="checkout", within="1h").steps[1].gap_ms
    3600000
    """
    return Pattern((_step(Contiguity.RELAXED, conditions, fields),))


def either(*options: Pattern) -> Pattern:
    """A group of alternatives: one of these patterns.

    >>> card_or_cash = either(once(kind="card"), once(kind="cash"))
    >>> len(once(kind="add").followed_by(card_or_cash).steps[1].group)
    2
    """
    if len(options) < 2 or not all(isinstance(option, Pattern) for option in options):
        msg = f"either() takes two patterns or more, such as either(once(kind='a'), once(kind='b')), not {options!r}"
        fail(msg)
    return Pattern((_group(Contiguity.RELAXED, options),))
