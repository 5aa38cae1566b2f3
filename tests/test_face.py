"""The names that Headway gives, and what it costs to have them: nothing is imported that is not used."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import headway
from headway import operators, results, testing

each_home = pytest.mark.parametrize("home", [headway, operators, results, testing], ids=lambda home: home.__name__)

NEVER_TO_DECLARE = {
    *("asyncio", "bytewax", "click", "headway.cli", "headway.generate", "headway.runtime", "headway.state"),
    *("hypothesis", "logging", "multiprocessing", "rich", "rocksdict", "socket", "subprocess"),
}
"""What takes long to import and only runs, commands and tests need."""

UNUSED = {
    *("connectors.stdin", "connectors.stdout", "connectors.memory", "operators.aggregates.approximate"),
    *("operators.aggregates.quantiles", "operators.aggregates.frequent", "operators.aggregates.lists"),
    *("operators.aggregates.variance", "operators.windows.calendar", "operators.expiring", "results", "testing"),
}
"""Modules of Headway, each behind a name that the flow below does not use."""

FLOW = """
flow = headway.Flow("clicks")
clicks = flow.source("clicks", headway.Json, headway.files("clicks.jsonl"), time="at")
clicks.key_by("user").aggregate("seen", visits=headway.count()).to("told", headway.to_jsonl("seen.jsonl"))
"""


def loaded_by(code: str) -> set[str]:
    """The modules of a fresh interpreter that has run `code`."""
    script = f"import sys, json\nimport headway\n{code}\nprint(json.dumps(list(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    return set(json.loads(ran.stdout))


def below(module: str, loaded: set[str]) -> set[str]:
    return {name for name in loaded if name == module or name.startswith(f"{module}.")}


def told_to_type_checkers(home: ModuleType) -> dict[str, str]:
    """Each name that a module imports for type checkers alone, and from where."""
    tree = ast.parse(Path(str(home.__file__)).read_text())
    [guarded] = [node for node in tree.body if isinstance(node, ast.If)]
    found: dict[str, str] = {}
    for node in guarded.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "without an alias the name is not passed on"
            found[alias.name] = str(node.module)
    return found


@each_home
def test_type_checkers_and_python_see_the_same_names(home: ModuleType) -> None:
    told = told_to_type_checkers(home)
    assert sorted(told) == sorted(set(home.__all__) - {"__version__"})
    assert all(getattr(home, name) is getattr(import_module(module), name) for name, module in told.items())
    assert set(home.__all__) <= set(dir(home))


def test_a_name_has_one_home_and_hides_no_module() -> None:
    homes = [set(home.__all__) for home in (headway, operators, results)]
    assert sum(map(len, homes)) == len(set().union(*homes))
    for home in (headway, operators):
        inside = {path.stem for path in Path(str(home.__file__)).parent.iterdir()}
        assert not inside & set(home.__all__)


@each_home
def test_a_name_that_is_not_there_is_named(home: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{home.__name__}' has no attribute 'Nothing'"):
        home.Nothing  # noqa: B018 - asking is what fails.


def test_importing_headway_imports_no_more_of_it_than_it_must() -> None:
    loaded = loaded_by("import headway.results, headway.operators")
    assert below("headway", loaded) == {
        "headway",
        "headway.basics",
        "headway.basics.compiled",
        "headway.basics.lazy",
        "headway.operators",
        "headway.results",
    }
    assert not loaded & {*NEVER_TO_DECLARE, "csv", "dataclasses", "inspect", "msgspec", "orjson", "zoneinfo"}


def test_declaring_a_flow_imports_what_it_uses() -> None:
    loaded = loaded_by(FLOW)
    assert {"headway.connectors.files", "headway.operators.aggregates.basic"} <= loaded
    assert not {found for module in NEVER_TO_DECLARE for found in below(module, loaded)}
    assert not {found for module in UNUSED for found in below(f"headway.{module}", loaded)}


def test_the_kits_for_tests_need_no_engine() -> None:
    loaded = loaded_by("from headway.testing import FlowTest, FunctionTest, check_target, check_transport, run_oracle")
    assert not loaded & {"bytewax", "rocksdict", "hypothesis", "headway.runtime", "headway.proving"}
