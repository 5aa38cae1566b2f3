"""Rules of the house that a machine can check: layers, sizes, words."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path
from typing import Final

import pytest

import headway

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("src/headway", "operators", "state", "flows")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

LAYERS: Final = {
    # What all stand on: it knows nothing of flows.
    "basics": "basics errors",
    "types": "types",
    "formats": "formats",
    # What imperative code does and did, without an engine.
    "functions": "functions",
    # Beside each other: what is known of bytes, of keys, and of what is stored.
    "connectors": "connectors",
    "operators": "operators",
    "state": "state",
    "targets": "targets",
    "inbox": "inbox",
    "delivery": "delivery",
    "web": "web",
    "client": "client",
    # The way of a flow: declared as a graph, planned, run, and explained to people.
    "graph": "graph",
    "declare": "declare",
    "steps": "steps",
    "durable": "durable",
    "plan": "plan",
    "runtime": "runtime",
    "explain": "explain",
    # What is around a flow, looked at before it runs.
    "probing": "probing",
    "tracing": "tracing",
    "metrics": "metrics",
    "savepoints": "savepoints",
    "backups": "backups",
    "cluster": "cluster",
    "why": "why",
    # Asking a flow from outside: who answers, and who asks.
    "ingest": "ingest",
    "serving": "serving",
    "demo": "demo",
    "proving": "proving",
    "cli": "__main__ cli running",
    # What users import, and what is written with it.
    "face": "__init__ results",
    "flows": "flows",
    "generate": "generate",
    "testing": "testing",
}
"""The layers of the package from the bottom up, and the modules and folders of each."""

MAY_IMPORT: Final = {
    "basics": "",
    "types": "basics",
    "formats": "basics types",
    "functions": "basics types",
    "connectors": "basics types formats",
    "operators": "basics types",
    "state": "basics types",
    "targets": "basics types connectors",
    "delivery": "basics types connectors state targets inbox",
    "web": "basics",
    "inbox": "basics types formats connectors state",
    "graph": "basics connectors operators targets",
    "declare": "basics types formats connectors operators targets inbox graph",
    "steps": "basics types connectors targets functions declare",
    "durable": "basics types operators targets inbox functions graph declare client steps",
    "plan": "basics types connectors operators state targets graph",
    "runtime": "basics types formats connectors operators state targets delivery tracing graph plan",
    "tracing": "basics targets",
    "metrics": "basics state web runtime",
    "savepoints": "basics connectors state inbox plan runtime",
    "backups": "basics state runtime savepoints",
    "cluster": "basics state declare plan runtime savepoints backups",
    "why": "basics types connectors graph plan testing",
    "ingest": "basics types formats connectors state inbox steps web graph declare plan runtime tracing metrics",
    "explain": "basics types operators graph declare plan",
    "probing": "basics types formats connectors targets graph declare",
    "serving": "basics types state functions durable graph declare plan web metrics",
    "client": "basics types",
    "demo": "basics targets client web",
    "proving": "basics types formats connectors state targets inbox graph declare steps durable runtime savepoints "
    "backups",
    "cli": "basics types connectors state inbox delivery targets functions client steps durable web graph declare "
    "plan runtime savepoints backups cluster why ingest explain probing tracing metrics serving demo proving generate",
    "face": "basics types connectors operators targets functions graph declare steps durable inbox cli",
    "flows": "basics connectors generate face",
    "generate": "basics connectors",
    "testing": "basics types formats connectors operators targets functions graph declare durable plan proving "
    "generate",
}
"""What each layer may import of Headway, besides itself."""

EXCEPTIONS: Final = {
    ("runtime/supervisor.py", "declare"): "it plans the flow that its workers are to make",
    ("runtime/worker.py", "declare"): "a worker is a process of its own, which makes its flow from the user's file",
    ("runtime/workers.py", "declare"): "it tells the processes that it starts which flow to make",
}
"""Imports that go against the layers, and why each has to."""


def product_files() -> list[Path]:
    found = []
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents):
                found.append(path)
    return found


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            modules |= (
                {f"headway.{alias.name}" for alias in node.names} if node.module == "headway" else {node.module or ""}
            )
    return modules


def in_package(path: Path) -> str:
    """A file's path inside the package."""
    relative = path.relative_to(ROOT)
    return "/".join(relative.parts[2:] if relative.parts[0] == "src" else relative.parts)


def top_of(module: str) -> str:
    """The module or folder directly in the package that holds a module, given by its name or its path there."""
    return module.partition("/")[0].removesuffix(".py")


def layer_of(top: str) -> str:
    found = [layer for layer, members in LAYERS.items() if top in members.split()]
    assert len(found) == 1, f"{top!r} of the package must stand in one of LAYERS, with what that may import"
    return found[0]


def imported_tops(modules: set[str]) -> set[str]:
    """The modules and folders of the package that are imported; a name of the face counts as the face."""
    known = {member for members in LAYERS.values() for member in members.split()}
    tops = {module.split(".")[1] if "." in module else "__init__" for module in modules if is_ours(module)}
    return {top if top in known or top not in headway.__all__ else "__init__" for top in tops}


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "headway"


def against_the_layers(path: Path) -> set[str]:
    """What a file imports and its layer may not."""
    top = top_of(in_package(path))
    layer = layer_of(top)
    allowed = {layer, *MAY_IMPORT[layer].split()}
    return {other for other in imported_tops(imported_modules(path)) if layer_of(other) not in allowed}


def test_everything_in_the_package_has_a_layer() -> None:
    inside = {top_of(in_package(path)) for path in product_files()}
    listed = " ".join(LAYERS.values()).split()
    assert sorted(listed) == sorted(inside)
    assert LAYERS.keys() == MAY_IMPORT.keys()


def test_layers_look_down() -> None:
    """Declared, planned, run, told: no layer imports, also by way of others, what may import it."""
    order = list(graphlib.TopologicalSorter({layer: may.split() for layer, may in MAY_IMPORT.items()}).static_order())
    way = ["graph", "plan", "runtime", "cli", "face"]
    assert sorted(way, key=order.index) == way
    assert not {"declare", "face"} & set(MAY_IMPORT["runtime"].split())


def test_exceptions_are_needed() -> None:
    found = {(in_package(path), other) for path in product_files() for other in against_the_layers(path)}
    assert found == EXCEPTIONS.keys()


@pytest.mark.parametrize("path", product_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module(path: Path) -> None:
    modules = imported_modules(path)
    tops = {module.partition(".")[0] for module in modules}
    layer = layer_of(top_of(in_package(path)))
    assert "bytewax" not in tops or layer == "runtime", "only the runtime imports bytewax"
    assert "rocksdict" not in tops or layer == "state", "only state/ imports rocksdict"
    against = {other for other in against_the_layers(path) if (in_package(path), other) not in EXCEPTIONS}
    assert not against, f"the layer {layer} does not look up, nor beside itself"
    text = path.read_text()
    assert text.count("\n") <= MODULE_LINES_MAX
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "every module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, f"{node.name} is too long"


def test_no_module_is_too_long_to_be_read() -> None:
    paths = [path for folder in ("tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
    long = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in paths}
    assert {path: lines for path, lines in long.items() if lines > MODULE_LINES_MAX} == {}
