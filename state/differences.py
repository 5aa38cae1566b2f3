"""How a step of a flow differs from what it was: which differences change nothing that is stored, and which cannot be.

Works on the texts of `StepEntry`. A text may end with a mark of code, `[3.11 5c0d9e1a]`, which is compared only where
both are of one version of Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from headway.state.manifest import StepEntry

__all__ = ["Difference", "bare", "drop", "is_same_text", "step_differences"]

SHOWN_MAX: Final = 120
_MARK: Final = re.compile(r" ?\[(\d+\.\d+) ([0-9a-f]{8})\]$")
_NOT_GIVEN: Final = "not given"
_TYPES: Final = ("event type", "output type")


class Difference(NamedTuple):
    """One difference of a step."""

    text: str
    """What is different, and what becomes of what is stored."""
    next_step: str = ""
    """What lets the flow go on, for one that is refused; empty for one that is only told."""


def drop(name: str) -> str:
    """The next step where an operator or output can go on only without what it kept."""
    return f"to go on without what it kept: headway state drop FLOW {name}"


def bare(text: str) -> str:
    """A text without its mark of code.

    >>> bare("score() [3.11 5c0d9e1a]"), bare("30m")
    ('score()', '30m')
    """
    return _MARK.sub("", text)


def is_same_text(found: str, expected: str) -> bool:
    """Whether two texts say the same, as far as they can be compared.

    >>> is_same_text("a lambda [3.11 5c0d9e1a]", "a lambda [3.12 17f0aa03]")
    True
    """
    if found == expected:
        return True
    was, now = _MARK.search(found), _MARK.search(expected)
    differs = was is None or now is None or was[1] == now[1]
    return not differs and bare(found) == bare(expected)


def step_differences(name: str, found: StepEntry, expected: StepEntry) -> Iterator[Difference]:
    """All differences of a step in what it is and what it was given; those in what it reads are not among them."""
    if expected.kind.startswith("operator ") and found.kind.startswith("operator "):
        yield from _of_operator(name, found, expected)
    elif expected.kind == "source":
        yield from _of_types(found.parameters, expected.parameters)
        yield from _told(found.parameters, expected.parameters, _SOURCE_TELLS)
    else:
        if _is_delivered(found) != _is_delivered(expected):
            text = f"it was {_way(found)}, now it is {_way(expected)}: what it has of the one cannot go on as the other"
            yield Difference(text, "to go on: give the output another name")
            return
        if found.kind != expected.kind:
            yield Difference(f"it was a {_word(found)}, now it is a {_word(expected)}")
        yield from _of_types(found.parameters, expected.parameters)
        yield from _told(found.parameters, expected.parameters, _OUTPUT_TELLS)


_SOURCE_TELLS: Final = {
    "input": "partitions that are known by their name are read on, others from their start",
    "": "it holds for what is read from here on",
}
_OUTPUT_TELLS: Final = {
    "place": "it goes on there at the position that it had, so what was written must have been moved there; only "
    "after a restore with --outputs new it begins anew",
    "id_by": "new triggers have other ids",
    "target": "what waits goes to the new one",
    **dict.fromkeys(
        ("edge", "on_failure", "give_up_after", "retry_first", "retry_longest", "waiting_max"),
        "it holds for what waits as well",
    ),
}
_OPERATOR_TELLS: Final = {"": "what it kept stays, and timers fire as they were set"}


def _is_delivered(entry: StepEntry) -> bool:
    return "target" in entry.parameters


def _way(entry: StepEntry) -> str:
    """How an output is served, and where that is."""
    if _is_delivered(entry):
        return f"delivered to {_shown(entry.parameters['target'])}"
    return f"written to {_shown(entry.parameters.get('place', 'the state directory'))}"


def _word(entry: StepEntry) -> str:
    return "plain output" if entry.kind == "output" else entry.kind


def _of_operator(name: str, found: StepEntry, expected: StepEntry) -> Iterator[Difference]:
    was_class, was = _unwrapped(found)
    now_class, now = _unwrapped(expected)
    is_renamed = was_class != now_class and "own code" in was and was["own code"] == now.get("own code")
    refused = list(_refused(was, now))
    if is_renamed:
        yield Difference(f"its class was called {was_class}, now {now_class}; its code is the same")
    elif was_class != now_class and not any(part.startswith("its windows") for part, _ in refused):
        way = (
            "to go on with it: rename the class in one run and change its code in the next; "
            if "own code" in now
            else ""
        )
        text = f"it was of the class {was_class}, now {now_class}: the one cannot go on with what the other kept"
        yield Difference(text, way + drop(name))
        return
    for text, parameter in refused:
        yield Difference(text, drop(name))
        was, now = _without(was, parameter), _without(now, parameter)
    yield from _of_types(was, now)
    if not is_same_text(was.pop("own code", ""), now.pop("own code", "")):
        yield Difference("its code has changed; it goes on with what it kept")
    now_keys = _keys(now)
    if any(bare(key) in map(bare, now_keys) and not _is_among(key, now_keys) for key in _keys(was)):
        yield Difference("the code that gives its key has changed; rows of keys that it no longer gives stay")
    yield from _told(_without(was, "keyed by"), _without(now, "keyed by"), _OPERATOR_TELLS)


def _unwrapped(entry: StepEntry) -> tuple[str, dict[str, str]]:
    """The class and the parameters of an operator: of the inner one, where it runs with a time to live."""
    kind, parameters = entry.kind.removeprefix("operator "), dict(entry.parameters)
    if "time_to_live" in parameters and "operator" in parameters:
        kind = parameters.pop("operator")
        parameters = {name.removeprefix("operator."): text for name, text in parameters.items()}
    return kind, parameters


def _without(parameters: Mapping[str, str], name: str) -> dict[str, str]:
    return {other: text for other, text in parameters.items() if other != name}


def _keys(parameters: Mapping[str, str]) -> list[str]:
    """What gives the keys: several where streams with other keys meet; none where it is not told."""
    return parameters["keyed by"].split(" | ") if "keyed by" in parameters else []


def _is_among(text: str, others: Iterable[str]) -> bool:
    return any(is_same_text(text, other) for other in others)


def _refused(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What would make old rows mean something else, each with the name of the parameter."""
    now_keys = list(map(bare, _keys(now)))
    if "keyed by" in now and any(bare(key) not in now_keys for key in _keys(was)):
        yield (
            f"its key was {_shown(was['keyed by'])}, now {_shown(now['keyed by'])}: what it kept is of other keys",
            "keyed by",
        )
    for name in [name for name in was if name in now]:
        kind, _, label = name.rpartition(" of ")
        kind = kind.rpartition(".")[2]  # Of an operator among the parameters of another one.
        before, after = was[name], now[name]
        if kind == "states":
            gone = [state for state in before.split(", ") if state not in after.split(", ")]
            if gone:
                yield f"its machine no longer has {', '.join(gone)}: instances may be in such a state", name
        elif kind in _MIXES and _essence(kind, before) != _essence(kind, after):
            what, mixes = _MIXES[kind]
            what = what.format(label.rpartition(".")[2])
            yield f"its {what} {_shown(before)}, now {_shown(after)}: {mixes}", name


_MIXES: Final = {
    "windows": ("windows were", "those that are open would mix with the new ones"),
    "pattern": ("pattern was", "what has matched in part belongs to the old one"),
    "order": ("order ({}) was", "what it kept is in the old one"),
    "aggregate": ("aggregate {} was", "what it has so far would mix with what comes"),
}
"""Kinds of parameters that say what old rows mean: how they are called, and what another one would do."""


def _essence(kind: str, text: str) -> str:
    """What must stay: of an aggregate what it does with the events that it takes, and not which ones it takes."""
    return re.split(r" where[( ]", bare(text))[0] if kind == "aggregate" else bare(text)


def _of_types(found: Mapping[str, str], expected: Mapping[str, str]) -> Iterator[Difference]:
    """Differences in the types of events: those that wait were stored under the old one."""
    for base in [name for name in expected if name.partition(":")[0] in _TYPES and name in found]:
        if "." in base.partition(":")[0]:
            continue
        was, now = _fields(found, base), _fields(expected, base)
        yield from _of_type(_subject(base), (found[base], was), (expected[base], now))


def _of_type(
    subject: str, found: tuple[str, dict[str, str]], expected: tuple[str, dict[str, str]]
) -> Iterator[Difference]:
    (label, was), (now_label, now) = found, expected
    if not was or not now:
        if label != now_label:
            wider = _is_wider(label, now_label) or "Any" in (label, now_label)
            yield Difference(f"{subject} was {_shown(label)}, now {_shown(now_label)}" + ("" if wider else _IF_WAITING))
        return
    if label != now_label:
        yield Difference(f"{subject} was called {label}, now {now_label}")
    gone = [name for name in was if name not in now]
    if gone:
        yield Difference(f"{subject} no longer has {', '.join(gone)}; events that wait lose it")
    added = [name for name in now if name not in was and " = " in now[name]]
    if added:
        yield Difference(f"{subject} has {', '.join(added)} as well; events that wait have the default")
    needed = [name for name in now if name not in was and " = " not in now[name]]
    if needed:
        yield Difference(f"{subject} has {', '.join(needed)} as well, without a default{_IF_WAITING}")
    for name in [name for name in now if name in was]:
        (before, _, default), (after, _, now_default) = was[name].partition(" = "), now[name].partition(" = ")
        if before != after:
            text = f"{subject} has {name} as {_shown(after)}, before as {_shown(before)}"
            yield Difference(text if _is_wider(before, after) else text + _IF_WAITING)
        elif default != now_default:
            yield Difference(
                f"{subject} has another default for {name}: {default or 'none'} -> {now_default or 'none'}"
            )


_IF_WAITING: Final = "; a run is refused, and changes nothing, where events wait that do not fit"


def _subject(base: str) -> str:
    side = base.partition(":")[2]
    return f"the type of its side output {side}" if side else "the type of its events"


def _fields(parameters: Mapping[str, str], base: str) -> dict[str, str]:
    prefix = f"{base}."
    return {name.removeprefix(prefix): text for name, text in parameters.items() if name.startswith(prefix)}


def _is_wider(found: str, expected: str) -> bool:
    """Whether every value of the type before is one of the type now.

    >>> _is_wider("int", "float"), _is_wider("str", "str | None"), _is_wider("str | None", "str")
    (True, True, False)
    """
    now = expected.split(" | ")
    return all(option in now or (option == "int" and "float" in now) for option in found.split(" | "))


def _told(was: Mapping[str, str], now: Mapping[str, str], tells: Mapping[str, str]) -> Iterator[Difference]:
    """The parameters that differ and are only told; `tells` is what becomes of what is stored, by parameter."""
    listed: dict[str, list[str]] = {}
    codes: list[str] = []
    for name in dict.fromkeys((*was, *now)):
        if name.partition(".")[0].partition(":")[0] in _TYPES:
            continue
        before, after = was.get(name, ""), now.get(name, "")
        if is_same_text(before, after):
            continue
        if before and after and bare(before) == bare(after):
            codes.append(name.rpartition(" of ")[2])
        else:
            told = f"{name.rpartition(' of ')[2]} {_shown(before) or _NOT_GIVEN} -> {_shown(after) or _NOT_GIVEN}"
            listed.setdefault(tells.get(name, tells.get("", "")), []).append(told)
    for tell, parts in listed.items():
        text = f"parameters differ from the last run: {', '.join(parts)}"
        yield Difference(f"{text}; {tell}" if tell else text)
    if codes:
        yield Difference(f"the code of {', '.join(codes)} has changed; it holds from here on")


def _shown(text: str) -> str:
    text = bare(text)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
