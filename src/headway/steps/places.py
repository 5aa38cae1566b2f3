"""Where the code of a step is, so that another process finds it again."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import msgspec

from headway.basics.declaring import fail
from headway.declare.parameters import given_parameters, set_parameters

__all__ = ["CodePlace", "found_code", "place_of"]

_BY_FILE = ("headway_flow_", "__main__")
"""Names of modules by which nobody can import them."""


class CodePlace(msgspec.Struct, frozen=True):
    """A function at the top level of a module."""

    module: str
    file: str
    name: str
    parameters: tuple[tuple[str, str], ...] = ()
    """Values of the flow's parameters that were given when its file was imported."""


def place_of(code: Callable[..., Any], step: str) -> CodePlace:
    """Where a function is. Raises `FlowError` for one that cannot be found again."""
    name = getattr(code, "__qualname__", "")
    module = sys.modules.get(getattr(code, "__module__", ""))
    file = getattr(module, "__file__", None)
    if not inspect.isfunction(code) or not name.isidentifier() or module is None or file is None:
        fail(f'step {step!r}: runs_in="process" is for a function at the top level of a file: a process imports it')
    return CodePlace(module.__name__, file, name, tuple(given_parameters().items()))


def found_code(place: CodePlace) -> Callable[..., Any]:
    """The function, in this process. Raises what importing its module raises, and `LookupError`."""
    with set_parameters(dict(place.parameters)):
        module = _loaded(place)
    found: Any = getattr(module, place.name, None)
    if not callable(found):
        msg = f"{place.file} has no function {place.name!r} any more"
        raise LookupError(msg)
    return found  # type: ignore[no-any-return]


def _loaded(place: CodePlace) -> ModuleType:
    if not place.module.startswith(_BY_FILE):
        return importlib.import_module(place.module)
    name = "headway_steps_main" if place.module == "__main__" else place.module
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, place.file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
