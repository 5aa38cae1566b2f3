"""A reader of PromQL, as far as the rules and panels of this repository go: it refuses what is not written right.

It knows the language's grammar and precedence, the arguments that functions take, and where a range must or must not
stand; and it tells which metrics an expression asks for, and by which labels. It evaluates nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<range>\[(?:\d+(?:ms|[smhdwy])|\$__rate_interval)\])|
    (?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)|
    (?P<string>"(?:[^"\\]|\\.)*")|
    (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|
    (?P<operator>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},])
    )""",
    re.VERBOSE,
)
FUNCTIONS: Final = {
    **dict.fromkeys(("rate", "increase", "delta"), ("range",)),
    "histogram_quantile": ("scalar", "vector"),
    "absent": ("vector",),
    "time": (),
}
AGGREGATIONS: Final = ("sum", "max", "min", "count", "avg")
LEVELS: Final = (("or",), ("and", "unless"), ("==", "!=", "<", ">", "<=", ">="), ("+", "-"), ("*", "/", "%"))


@dataclass
class Asked:
    """What an expression asks for."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    """Names of metrics, each with the labels that it is selected by."""
    labels: set[str] = field(default_factory=set)
    """Labels that are grouped or matched by."""


class Reader:
    """Reads one expression."""

    def __init__(self, text: str) -> None:
        self.asked = Asked()
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            match = TOKEN.match(text, place)
            assert match is not None, f"{text!r}: cannot be read at {text[place:]!r}"
            assert match.lastgroup is not None
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()
        self._tokens.append(("end", ""))

    def read(self) -> str:
        """The type of the whole expression: `vector` or `scalar`."""
        kind = self._binary(0)
        self._take("end")
        return kind

    def _peek(self) -> str:
        return self._tokens[0][1]

    def _take(self, kind: str, text: str | None = None) -> str:
        found = self._tokens.pop(0)
        assert found[0] == kind and text in (None, found[1]), f"{found[1]!r} stands where {text or kind} should"
        return found[1]

    def _binary(self, level: int) -> str:
        if level == len(LEVELS):
            return self._unary()
        kind = self._binary(level + 1)
        while self._peek() in LEVELS[level]:
            operator = self._tokens.pop(0)[1]
            if self._peek() in ("on", "ignoring"):
                self._tokens.pop(0)
                self._names()
            other = self._binary(level + 1)
            assert "range" not in (kind, other), f"{operator} of a range"
            assert level > 1 or (kind, other) == ("vector", "vector"), f"{operator} is for vectors"
            kind = "vector" if "vector" in (kind, other) else "scalar"
        return kind

    def _unary(self) -> str:
        if self._peek() == "(":
            self._take("operator", "(")
            kind = self._binary(0)
            self._take("operator", ")")
            return kind
        if self._tokens[0][0] == "number":
            self._tokens.pop(0)
            return "scalar"
        name = self._take("name")
        if name in AGGREGATIONS:
            return self._aggregation()
        if self._peek() == "(":
            return self._call(name)
        return self._selector(name)

    def _aggregation(self) -> str:
        if self._peek() in ("by", "without"):
            self._tokens.pop(0)
            self._names()
        self._take("operator", "(")
        assert self._binary(0) == "vector", "an aggregation is one of a vector"
        self._take("operator", ")")
        return "vector"

    def _call(self, name: str) -> str:
        assert name in FUNCTIONS, f"{name} is no function"
        self._take("operator", "(")
        for number, kind in enumerate(FUNCTIONS[name]):
            if number:
                self._take("operator", ",")
            assert self._binary(0) == kind, f"{name} takes a {kind}"
        self._take("operator", ")")
        return "vector" if FUNCTIONS[name] else "scalar"

    def _selector(self, name: str) -> str:
        chosen = self.asked.metrics.setdefault(name, set())
        if self._peek() == "{":
            self._take("operator", "{")
            while self._peek() != "}":
                chosen.add(self._take("name"))
                assert self._take("operator") in ("=", "!=", "=~", "!~")
                re.compile(self._take("string")[1:-1])
                if self._peek() == ",":
                    self._take("operator", ",")
            self._take("operator", "}")
        if self._tokens[0][0] == "range":
            self._tokens.pop(0)
            return "range"
        return "vector"

    def _names(self) -> None:
        self._take("operator", "(")
        while self._peek() != ")":
            self.asked.labels.add(self._take("name"))
            if self._peek() == ",":
                self._take("operator", ",")
        self._take("operator", ")")


def asked_by(expression: str) -> Asked:
    """What an expression asks for. Raises `AssertionError` for one that is not PromQL, or gives no vector."""
    reader = Reader(expression)
    assert reader.read() == "vector", f"{expression!r} is no vector"
    return reader.asked
