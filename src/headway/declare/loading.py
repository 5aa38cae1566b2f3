"""Finding a flow by its file or its module's name, and setting its parameters while it is imported."""

from __future__ import annotations

import difflib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Optional

from headway.basics.tracebacks import user_frames
from headway.basics.utf8 import is_utf8
from headway.declare.flow import Flow, as_flow
from headway.declare.parameters import check_all_used, is_setting_parameters, set_parameters
from headway.errors import FlowError, HeadwayError, UsageError

__all__ = ["FlowSpec", "is_loading", "load_flow", "load_module", "module_name"]


@dataclass(frozen=True)
class FlowSpec:
    """Which flow to run and with which parameters: all that a worker needs to make the same flow. JSON-able."""

    ref: str
    """Path of a `.py` file or name of a module, then optionally `:` and the name of the `Flow` in it."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Values of the flow's parameters, as text, by name."""

    @property
    def target(self) -> str:
        """The file or the module."""
        return self._parts()[0]

    @property
    def attribute(self) -> Optional[str]:
        """The name of the flow in its module, where one is given."""
        return self._parts()[1]

    def _parts(self) -> tuple[str, Optional[str]]:
        target, colon, name = self.ref.rpartition(":")
        return (target, name) if colon and target and name.isidentifier() else (self.ref, None)


def is_loading() -> bool:
    """Whether the code that asks is imported by `load_flow` now."""
    return is_setting_parameters()


def load_flow(spec: FlowSpec) -> Flow:
    """Import the flow's code afresh and return the flow; costs one import of its file each time.

    The flow is the object that the reference names, else the one called `flow`, else the only `Flow` there.
    The file's folder and the current one can be imported from. Raises `FlowError` when there is no such file
    or module, when importing it fails, or when it has no flow or several; `UsageError` for a parameter that
    the flow does not declare or whose value does not fit.

    >>> load_flow(FlowSpec("headway.flows.stalled_loans", {"after": "3d"}))
    Flow('stalled-loans', 4 steps)
    """
    flow = _flow_in(load_module(spec), spec)
    check_all_used(spec.parameters, flow.parameters, flow.name)
    return flow


def load_module(spec: FlowSpec) -> ModuleType:
    """Import the code of a flow, or of steps, afresh; raises what `load_flow` raises for what cannot be imported."""
    for text in (spec.ref, *spec.parameters.values()):
        if not is_utf8(text):
            msg = f"{text!r} is not UTF-8, as the paths of flows and the values of parameters must be"
            raise UsageError(msg)
    module_spec = _find(spec.target)
    with set_parameters(spec.parameters):
        return _import(module_spec)


def module_name(spec: FlowSpec) -> str:
    """The name in `sys.modules` under which `load_module` imports the code of a flow."""
    path = Path(spec.target)
    return _file_module(path.resolve()) if path.is_file() and path.suffix == ".py" else spec.target


class _FreshLoader(SourceFileLoader):
    """Compiles the source each time: cached bytecode may be older than a file edited within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _find(target: str) -> ModuleSpec:
    path = Path(target)
    if path.is_file() and path.suffix == ".py":
        return _file_spec(path.resolve())
    if path.suffix != ".py" and os.sep not in target and all(part.isidentifier() for part in target.split(".")):
        found = _module_spec(target)
        if found is not None:
            return found
    raise FlowError(_not_found(target, path))


def _file_spec(path: Path) -> ModuleSpec:
    _importable(path.parent, first=True)
    _importable(Path.cwd(), first=False)
    name = _file_module(path)
    return ModuleSpec(name, _FreshLoader(name, str(path)), origin=str(path))


def _file_module(path: Path) -> str:
    return f"headway_flow_{path.stem}_{blake2b(os.fsencode(path), digest_size=4).hexdigest()}"


def _module_spec(name: str) -> Optional[ModuleSpec]:
    _importable(Path.cwd(), first=True)
    importlib.invalidate_caches()
    parent = name.rpartition(".")[0]
    try:
        found = _uncached_spec(name)
    except ModuleNotFoundError as error:
        if error.name and (parent == error.name or parent.startswith(f"{error.name}.")):
            return None
        raise FlowError(_import_failed(parent, error)) from error
    except Exception as error:
        raise FlowError(_import_failed(parent, error)) from error
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return None
    found.loader = _FreshLoader(name, found.origin)
    return found


def _uncached_spec(name: str) -> Optional[ModuleSpec]:
    loaded = sys.modules.pop(name, None)
    try:
        return importlib.util.find_spec(name)
    finally:
        if loaded is not None:
            sys.modules[name] = loaded


def _importable(folder: Path, *, first: bool) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0 if first else len(sys.path), str(folder))


def _import(spec: ModuleSpec) -> ModuleType:
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = spec.origin
    with _registered(module, spec.name):
        try:
            spec.loader.exec_module(module)
        except HeadwayError:
            raise
        except SystemExit as error:
            msg = f"{_shown(spec)} ends the program (exit {error.code!r}) while it is imported: a flow only declares"
            raise FlowError(msg) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # Also what extension modules raise when they panic.
            raise FlowError(_import_failed(_shown(spec), error)) from error
    return module


@contextmanager
def _registered(module: ModuleType, name: str) -> Iterator[None]:
    """Annotations are resolved through `sys.modules`; a failed import leaves what was there before."""
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise


def _flow_in(module: ModuleType, spec: FlowSpec) -> Flow:
    flows = {name: value for name, value in vars(module).items() if isinstance(value, Flow)}
    distinct = {id(flow): flow for flow in flows.values()}
    if spec.attribute is not None:
        if spec.attribute in vars(module):
            return as_flow(vars(module)[spec.attribute], spec.ref)
        known = ", ".join(f"{spec.target}:{name}" for name in flows) or "none at all"
        msg = f"{spec.target} has nothing called {spec.attribute!r}; the flows in it: {known}"
        raise FlowError(msg)
    if "flow" in flows:
        return flows["flow"]
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if distinct:
        choices = "\n".join(f"    {spec.target}:{name}" for name in flows)
        msg = f"{spec.target} has {len(distinct)} flows, and none is called 'flow'; name one of them:\n{choices}"
        raise FlowError(msg)
    if Path(spec.target).is_dir():
        raise FlowError(_not_found(spec.target, Path(spec.target)))
    msg = f'{spec.target} declares no flow: expected a line such as  flow = hw.Flow("my-flow")  at its top level'
    raise FlowError(msg)


def _shown(spec: ModuleSpec) -> str:
    path = os.path.relpath(spec.origin or spec.name)
    return str(spec.origin) if path.startswith("..") else path


def _import_failed(what: str, error: BaseException) -> str:
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = (
            f"\nIs it installed for {sys.executable}? Modules are also looked for beside the flow and in {Path.cwd()}."
        )
    elif isinstance(error, ImportError) and "relative import" in str(error):
        hint = "\nA flow given by its path has no package: name its module instead, such as  my_package.my_flow"
    return f"{what} cannot be imported:\n{user_frames(error)}{hint}"


def _not_found(target: str, path: Path) -> str:
    if path.is_dir():
        inside = sorted(str(file) for file in path.glob("*.py") if not file.name.startswith("_"))
        msg = f"{target} is a folder, not a flow: name one of the files in it"
        return f"{msg}, such as {inside[0]}" if inside else msg
    if path.is_file():
        return f"{target} is not a Python file: a flow is a file that ends in .py, or the name of a module"
    wanted = (
        f"there is no file {target}"
        if path.suffix == ".py" or os.sep in target
        else f"there is no file or module {target}"
    )
    close = _close_to(target, path)
    return f"{wanted} (looked in {Path.cwd()})" + (f"; did you mean {close}?" if close else "; check the path")


def _close_to(target: str, path: Path) -> Optional[str]:
    folders = {path.parent, Path(), Path("flows")}
    files = {str(file): file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.py")}
    stems = difflib.get_close_matches(path.stem, sorted(set(files.values()) - {"__init__"}), n=1, cutoff=0.6)
    matches = sorted(file for file, stem in files.items() if stems and stem == stems[0])
    closest = difflib.get_close_matches(target, matches, n=1, cutoff=0.0)
    return closest[0] if closest else None
