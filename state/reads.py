"""What the steps of a flow read, written so that two flows can be compared.

Steps without a name of their own, such as `filter-2`, go by what they do: others that come before them change the
number. Steps that keep nothing are told by whoever reads them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Final

from headway.state.manifest import StepEntry

__all__ = ["Reads", "stateless_pairs"]

LENGTH_MAX: Final = 200
_UNNAMED: Final = re.compile(r"(map|filter|flat_map|key_by|merge|branch)-\d+(\.else)?")
_STATELESS: Final = ("map", "filter", "reject", "flat_map", "key_by", "merge")


class Reads:
    """What each step of one flow reads, and which side outputs are read; each way is looked at once.

    `renamed` gives today's names to those of the steps.
    """

    def __init__(self, steps: Mapping[str, StepEntry], renamed: Mapping[str, str] | None = None) -> None:
        self.steps = steps
        self._renamed = renamed or {}
        self._texts: dict[str, str] = {}

    def of(self, name: str) -> str:
        """What a step reads, from the operators and sources on: `shop > changes > key_by`."""
        entry = self.steps.get(name)
        if entry is None:
            return ""
        texts = []
        for given in entry.inputs:
            label, equals, port = given.rpartition("=")
            port, _, broadcast = port.partition(" ")
            texts.append(f"{label}{equals}{self._text(port)}" + (f" {broadcast}" if broadcast else ""))
        return ", ".join(texts)

    def sides(self, name: str) -> list[str]:
        """The side outputs of a step that others read, in order."""
        return sorted(self._sides.get(name, ()))

    @functools.cached_property
    def _sides(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for entry in self.steps.values():
            for given in entry.inputs:
                name, colon, side = given.rpartition("=")[2].partition(" ")[0].partition(":")
                if colon:
                    found.setdefault(name, set()).add(side)
        return found

    def _text(self, port: str) -> str:
        """What comes by a port."""
        waiting = [] if port in self._texts else [port]
        while waiting:
            one = waiting[-1]
            missing = [other for other in self._inputs(one) if other not in self._texts]
            if missing and one not in self._texts:
                self._texts[one] = one  # What a circle would find; a flow has none.
                waiting += missing
            else:
                self._texts[one] = self._written(one)
                waiting.pop()
        return self._texts[port]

    def _inputs(self, port: str) -> list[str]:
        entry = self.steps.get(port)
        return entry.inputs if entry is not None and entry.kind in _STATELESS else []

    def _written(self, port: str) -> str:
        entry = self.steps.get(port)
        if entry is None or entry.kind not in _STATELESS:
            name, colon, side = port.partition(":")
            return f"{self._renamed.get(name, name)}{colon and '.'}{side}"
        inputs = [self._texts.get(other, other) for other in entry.inputs]
        source = inputs[0] if len(inputs) == 1 else f"({' + '.join(inputs)})"
        if entry.kind == "merge":
            return _short(source)
        return _short(f"{source} > {entry.kind if _UNNAMED.fullmatch(port) else port}")


def _short(text: str) -> str:
    if len(text) <= LENGTH_MAX:
        return text
    return f"{text[: LENGTH_MAX // 2]}… ({blake2b(text.encode(), digest_size=4).hexdigest()})"


def stateless_pairs(found: Reads, expected: Reads) -> Iterator[tuple[str, str]]:
    """The steps without state that may have changed, by name now and before.

    What has no name of its own counts as the same step wherever the same is done with the same values.
    """
    before = {name: entry for name, entry in found.steps.items() if entry.kind in _STATELESS}
    after = {name: entry for name, entry in expected.steps.items() if entry.kind in _STATELESS}
    unchanged = _Twins(found, before)
    open_names = [name for name in after if not unchanged.take(expected, name, after[name])]
    for name in open_names:
        if name in before and name in unchanged.left and before[name].kind == after[name].kind != "key_by":
            yield name, name


class _Twins:
    """Steps of a former flow, each to be found once by a step that does the same."""

    def __init__(self, flow: Reads, stateless: Mapping[str, StepEntry]) -> None:
        self._names: dict[tuple[object, ...], list[str]] = {}
        for name, entry in stateless.items():
            self._names.setdefault(_signature(flow, name, entry), []).append(name)
        self.left = set(stateless)

    def take(self, flow: Reads, name: str, entry: StepEntry) -> bool:
        """Whether there is one; of several that of the same name."""
        names = self._names.get(_signature(flow, name, entry), [])
        if not names:
            return False
        twin = name if name in names else names[0]
        names.remove(twin)
        self.left.discard(twin)
        return True


def _signature(flow: Reads, name: str, entry: StepEntry) -> tuple[object, ...]:
    own = "" if _UNNAMED.fullmatch(name) else name
    return own, entry.kind, tuple(sorted(entry.parameters.items())), flow.of(name) if not own else ""
