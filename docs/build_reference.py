"""Builds docs/reference.md from the docstrings: `make docs`."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import headway
import headway.formats
import headway.operators
import headway.results
import headway.testing
from headway.declare.steps import aggregates, joins, patterns, windows, workflow
from headway.declare.steps.base import KeyedSteps
from headway.operators.base import Operator
from headway.types.schema import Event

HERE: Final = Path(__file__).parent

GROUPS: Final = {
    "The operator interface": ("operators.base", "operators.conditions"),
    "Workflow operators": ("operators.",),
    "Patterns": ("operators.patterns.",),
    "Windows": ("operators.windows.",),
    "Aggregates": ("operators.aggregates.",),
    "Joins and lookup tables": ("operators.joins.",),
    "Types, times, errors": (
        "types.",
        "basics.times",
        "basics.guarantees",
        "errors",
        "graph",
        "declare.streams",
        "declare.views",
    ),
    "Inputs and outputs": (
        "inbox.source",
        "inbox.queues",
        "connectors.",
    ),
    "Formats": ("formats.",),
    "Targets": ("targets.",),
    "Durable functions": ("functions.", "durable.", "steps."),
    "Running": ("running", "declare.flow"),
}
"""Titles, and the modules whose names stand there; the longest beginning of a module's name decides."""

HOMES: Final = {
    "hw": headway,
    "results": headway.results,
    "operators": headway.operators,
    "formats": headway.formats,
}
"""Where public names are, as the page calls these modules."""

FAMILIES: Final = {
    "Workflow": workflow,
    "Patterns": patterns,
    "Windows": windows,
    "Aggregates": aggregates,
    "Joins": joins,
}
"""The families of keyed steps."""


def build() -> str:
    """The page."""
    template = (HERE / "reference.in").read_text()
    parts = [*_flow(), *_streams(), *_keyed_steps(), *_public_names(), *_testing()]
    return template.replace("{reference}", "\n".join(parts).strip()) + "\n"


def _flow() -> Iterator[str]:
    yield "## Flow\n"
    yield _entry("hw.Flow", headway.Flow)
    yield from _methods("flow", headway.Flow, vars(headway.Flow))


def _streams() -> Iterator[str]:
    yield "## Streams\n"
    yield "What `flow.source(...)` returns, and every stream after it.\n"
    own = {name: value for kind in reversed(headway.Stream.__mro__) for name, value in vars(kind).items()}
    yield from _methods("stream", headway.Stream, own)
    yield "### `hw.SourceStream`\n"
    yield _text(headway.SourceStream)
    yield from _methods("source", headway.SourceStream, vars(headway.SourceStream))


def _keyed_steps() -> Iterator[str]:
    yield "## Keyed steps\n"
    yield "What a stream has once `key_by` has given it keys, besides all of the above.\n"
    yield from _methods("keyed", headway.KeyedStream, {"process": headway.KeyedStream.process})
    yield from _methods("processed", headway.Processed, vars(headway.Processed))
    for title, module in FAMILIES.items():
        [steps] = [vars(module)[name] for name in module.__all__ if issubclass(vars(module)[name], KeyedSteps)]
        own = {
            name: value
            for kind in reversed(steps.__mro__)
            if kind.__module__.startswith("headway.declare.steps.") and kind.__name__ != "KeyedSteps"
            for name, value in vars(kind).items()
        }
        yield f"### Steps: {title.lower()}\n"
        yield from _methods("keyed", steps, own)


def _public_names() -> Iterator[str]:
    shown = {"Flow", "KeyedStream", "Processed", "SourceStream", "Stream", "__version__"}
    groups: dict[str, list[tuple[str, str, Any]]] = {title: [] for title in GROUPS}
    for label, home in HOMES.items():
        for name in set(home.__all__) - shown:
            value = getattr(home, name)
            groups[_group_of(name, value)].append((name, f"{label}.{name}", value))
    for title, members in groups.items():
        yield f"## {title}\n"
        for name, label, value in sorted(members, key=lambda member: (member[0].lower(), member[0])):
            yield _entry(label, value)
            if name in ("Context", "Operator"):
                yield from _methods("ctx" if name == "Context" else "operator", value, vars(value))


def _group_of(name: str, value: Any) -> str:
    module = getattr(value, "__module__", "")
    if not module.startswith("headway."):
        module = "headway.types.schema" if name in ("Json", "Time") else "headway.graph"
    beginning = module.removeprefix("headway.")
    matches = [
        (len(start), title) for title, starts in GROUPS.items() for start in starts if beginning.startswith(start)
    ]
    if not matches:
        msg = f"{name} of {module} belongs to no group of the reference"
        raise LookupError(msg)
    return max(matches)[1]


def _testing() -> Iterator[str]:
    yield "## Testing\n"
    yield "`from headway.testing import ...`; see [Testing flows](testing.md).\n"
    for name in sorted(headway.testing.__all__, key=str.lower):
        value = getattr(headway.testing, name)
        yield _entry(name, value)
        if name == "FlowTest":
            yield from _methods("test", value, vars(value))


def _methods(subject: str, owner: Any, members: Any) -> Iterator[str]:
    for name, value in members.items():
        if name.startswith("_"):
            continue
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if isinstance(function, property):
            yield f"#### `{subject}.{name}`\n"
            yield _text(function)
        elif inspect.isfunction(function):
            yield f"#### `{subject}.{name}`\n"
            yield _signature(name, function, drop_first=True)
            yield _text(function)


def _entry(label: str, value: Any) -> str:
    parts = [f"### `{label}`\n"]
    if callable(value) and not _is_alias(value):
        parts.append(_signature(label, value))
    parts.append(_text(value))
    if inspect.isclass(value) and issubclass(value, Event):
        parts.append(_fields(value))
    return "\n".join(parts)


def _is_alias(value: Any) -> bool:
    return not (inspect.isclass(value) or inspect.isfunction(value)) or (
        inspect.isclass(value) and (value is int or issubclass(value, Exception))
    )


def _signature(label: str, value: Any, *, drop_first: bool = False) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = list(signature.parameters.values())[1 if drop_first else 0 :]
    words = _parameters([parameter for parameter in parameters if not parameter.name.startswith("_")])
    result = signature.return_annotation
    arrow = "" if result is signature.empty or inspect.isclass(value) else f" -> {_tidy(_type_text(result))}"
    line = f"{label}({', '.join(words)}){arrow}"
    if len(line) > 110:
        line = f"{label}(\n" + "".join(f"    {word},\n" for word in words) + f"){arrow}"
    return f"```text\n{line}\n```\n"


def _parameters(parameters: list[inspect.Parameter]) -> list[str]:
    words: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        word = stars + parameter.name
        if parameter.annotation is not parameter.empty:
            word += f": {_tidy(_type_text(parameter.annotation))}"
        if parameter.default is not parameter.empty:
            word += f" = {_tidy(repr(parameter.default))}"
        words.append(word)
    return words


def _type_text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _tidy(text: str) -> str:
    text = re.sub(r"\b(?:typing|collections\.abc|headway(?:\.\w+)+|typing_extensions)\.(?=\w)", "", text)
    text = re.sub(r"ForwardRef\('([^']*)'[^)]*\)", r"\1", text)
    text = re.sub(r"<function (\w+)[^>]*>", r"\1", text)
    return text.replace("~", "")


def _fields(kind: Any) -> str:
    """The fields of an event class with what stands below each of them."""
    source = inspect.getsource(kind)
    found = re.findall(r"^    (\w+): ([^=\n]+?)(?: = [^\n]+)?\n    \"\"\"(.*?)\"\"\"", source, re.MULTILINE | re.DOTALL)
    lines = [f"* `{name}: {_tidy(annotation)}`: {' '.join(text.split())}" for name, annotation, text in found]
    return "\n".join(lines) + "\n" if lines else ""


def _text(value: Any) -> str:
    """The docstring as Markdown: examples as blocks."""
    documentation = inspect.getdoc(value) or ""
    if documentation in (inspect.getdoc(int), inspect.getdoc(dict), inspect.getdoc(Operator.mro()[-1])):
        documentation = ""
    parts: list[str] = []
    for paragraph in re.split(r"\n\s*\n", documentation):
        if paragraph.lstrip().startswith(">>>"):
            parts.append(f"```pycon\n{textwrap.dedent(paragraph)}\n```")
        else:
            parts.append(paragraph)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    target = HERE / "reference.md"
    target.write_text(build())
    sys.stdout.write(f"{target.name}: {len(build().splitlines())} lines\n")
