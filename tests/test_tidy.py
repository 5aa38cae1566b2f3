"""Rules of the house that a machine can check: layers, sizes, words."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("src/headway", "operators", "state", "flows")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# What each layer may import of Headway, besides itself; the layers further down are free to be imported.
LAYERS = {
    "operators": {"declare", "errors", "operators", "schema", "timefields", "times", "typeinfo", "values"},
    "state": {"errors", "misfits", "scanning", "state", "times", "values"},
    "connectors": {"connectors", "decoding", "errors", "scanning", "schema", "stdio", "times", "utf8"},
    "graph": {"connectors", "operators"},
    "plan": {"graph", "operators"},
    "planner": {"connectors", "errors", "graph", "plan", "schema", "values"},
}


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
            modules.add(node.module or "")
    return modules


def layer_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    parts = relative.parts[2:] if relative.parts[0] == "src" else relative.parts
    return parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", product_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module(path: Path) -> None:
    modules = imported_modules(path)
    tops = {module.partition(".")[0] for module in modules}
    layer = layer_of(path)
    assert "bytewax" not in tops or layer == "runtime", "only the runtime imports bytewax"
    assert "rocksdict" not in tops or layer == "state", "only state/ imports rocksdict"
    if layer in LAYERS:
        of_headway = {module.split(".")[1] for module in modules if module.startswith("headway.")}
        assert of_headway <= LAYERS[layer], f"the layer {layer} does not look up"
    text = path.read_text()
    assert text.count("\n") <= MODULE_LINES_MAX
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "every module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, f"{node.name} is too long"
