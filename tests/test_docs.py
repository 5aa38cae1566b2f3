"""The README and the pages in docs/ are true: their code runs, their commands and links exist."""

from __future__ import annotations

import doctest
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import click
import pytest

import headway as hw
from headway.cli.main import headway, main
from headway.declare.loading import FlowSpec, load_flow
from headway.graph import SinkNode

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
INLINE = re.compile(r"`([^`]+)`")
OPTION = re.compile(r"`(--[a-z-]+)")
MAKE = re.compile(r"\bmake ([a-z]+)\b")

each_page = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])


class Block(NamedTuple):
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in FENCE.finditer(text)]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def inline_code(page: Path) -> list[str]:
    return [" ".join(found.split()) for found in INLINE.findall(prose(page))]


def makers_of_targets() -> list[str]:
    """What makes a target: `hw.webhook` and others."""
    found = []
    for name in hw.__all__:
        made = getattr(getattr(hw, name), "__annotations__", {}).get("return")
        module = getattr(getattr(hw, name), "__module__", "")
        if isinstance(made, str) and module.startswith("headway.targets.") and name != "Target":
            kind = getattr(sys.modules[module], made, None)
            if isinstance(kind, type) and issubclass(kind, hw.Target):
                found.append(name)
    return found


def test_each_target_says_what_it_is_and_for_how_long_it_knows_a_repeat() -> None:
    rows = [line for line in (ROOT / "docs" / "targets.md").read_text().splitlines() if line.startswith("| `hw.")]
    made = makers_of_targets()
    assert "webhook" in made and len(made) > 10
    for name in made:
        assert sum(bool(re.search(rf"`hw\.{name}\b", row.partition(" | ")[0])) for row in rows) >= 2, name


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every `headway ...` that a page shows, in shell blocks and in the text."""
    shown = [block.text.replace("\\\n", " ") for block in blocks(page) if block.language == "sh"]
    lines = [line for text in shown for line in text.splitlines()]
    for line in [*lines, *inline_code(page)]:
        if line.startswith("headway "):
            words = shlex.split(line.partition(" & ")[0], comments=True)
            yield words[1:]


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    found: click.Command = headway
    rest = list(words)
    while isinstance(found, click.Group) and rest and not rest[0].startswith("-"):
        assert rest[0] in found.commands, f"there is no command {' '.join(words)!r}"
        found = found.commands[rest.pop(0)]
    return found, rest


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made where Markdown is shown."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"docs_{page.stem.lower()}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(page):
        if block.language != "python":
            continue
        name = f"{page.name}, line {block.line}"
        if ">>>" in block.text:
            examples = doctest.DocTestParser().get_doctest(block.text, vars(module), name, name, 0)
            assert doctest.DocTestRunner().run(examples).failed == 0, name
        else:
            # Blank lines before it make the line numbers of errors those of the page.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), vars(module))


@each_page
def test_commands_exist(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("events", "demo", "DIR"):
        Path(name).mkdir()
    for name in ("triggers.jsonl", "found.jsonl", "rows.jsonl", "FILE"):
        Path(name).touch()
    for words in commands(page):
        command, rest = find_command(words)
        if rest and not isinstance(command, click.Group):
            try:
                command.make_context(" ".join(words), rest)
            except click.exceptions.Exit as ended:
                assert ended.exit_code == 0
            except click.UsageError as error:
                pytest.fail(f"{page.name}: headway {' '.join(words)}: {error.format_message()}")


@each_page
def test_options_in_the_text_exist(page: Path) -> None:
    known = {option for command in _all_commands(headway) for param in command.params for option in param.opts}
    assert set(OPTION.findall(prose(page))) <= known


def _all_commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _all_commands(inner)


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = [block.text for block in blocks(page) if block.language == "sh"]
    shown += inline_code(page)
    assert {target for text in shown for target in MAKE.findall(text.partition("#")[0])} <= targets


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}; there are {sorted(anchors(target))}"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {link.partition("#")[0] for link in LINK.findall(index.read_text())}
    assert {page.name for page in (ROOT / "docs").glob("*.md") if page != index} <= linked


def test_exit_codes_are_those_of_the_command() -> None:
    from headway.cli.main import EXIT_CODES

    codes = set(re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE))
    assert len(codes) == 9
    table = (ROOT / "docs" / "operating.md").read_text()
    assert codes <= set(re.findall(r"^\| (\d+) \|", table, re.MULTILINE))
    [line] = re.findall(r"Exit codes: (.*?)\n\n", (ROOT / "README.md").read_text(), re.DOTALL)
    assert codes <= {part.split()[0] for part in line.replace("\n", " ").split("·")}


def test_the_flow_of_the_readme_finds_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flow = next(block for block in blocks(ROOT / "README.md") if block.language == "python")
    assert len([line for line in flow.text.splitlines() if line.strip()]) <= 25
    Path("carts.py").write_text(flow.text)
    assert main(["generate", "shop", "demo", "--events", "5000", "--after", "1m", "--quiet"]) == 0
    assert main(["run", "carts.py", "--quiet", "--drain"]) == 0
    found = Path("triggers.jsonl").read_text().splitlines()
    assert len(found) > 100
    assert all('"type":"cart.abandoned"' in line for line in found)


SHIPPED = sorted(path.stem for path in (ROOT / "flows").glob("*.py") if "\nflow = hw.Flow(" in path.read_text())


@pytest.mark.parametrize("name", SHIPPED)
def test_what_a_flow_that_ships_writes_is_told(name: str) -> None:
    """Its files and the types of its triggers are in the row, or rows, of the page about formats."""
    table = (ROOT / "docs" / "formats.md").read_text().partition("## What the flows that ship write")[2]
    rows = table.partition(f"| `{name}.py` |")[2].partition(".py` |")[0]
    flow = load_flow(FlowSpec(f"headway.flows.{name}"))
    for node in flow.graph.nodes.values():
        if isinstance(node, SinkNode):
            assert f"`{node.output.describe().removeprefix('file ')}`" in rows
            assert node.trigger_type is None or f"`{node.trigger_type}`" in rows
