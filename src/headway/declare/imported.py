"""How another process makes the flow that is in hand: by the file or the module that it was imported from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from headway.declare.flow import Flow
from headway.declare.loading import FlowSpec, load_flow, module_name
from headway.errors import FlowError, UsageError

__all__ = ["as_imported", "spec_of"]


def spec_of(flow: Flow) -> FlowSpec:
    """How worker processes make the same flow: by its file or module, its name in there, and its parameters.

    Imports its file once more, to see that it makes the same flow. Raises `UsageError` where it does not, or where the
    flow is at the top level of no file.
    """
    for module in list(sys.modules.values()):
        names = [name for name, value in list(getattr(module, "__dict__", {}).items()) if value is flow]
        path = getattr(module, "__file__", None)
        if names and isinstance(path, str) and path.endswith(".py") and Path(path).is_file():
            given = {name: str(one.value) for name, one in flow.parameters.items() if one.value != one.default}
            # One in a package may import from it relatively, which it cannot when it is known by its path alone.
            known = module.__spec__ if module.__package__ else None
            spec = FlowSpec(f"{known.name if known is not None else path}:{names[0]}", given)
            _check_same(flow, spec)
            return spec
    msg = (
        f"the flow {flow.name!r} exists only in the memory of this process, and other processes, such as several "
        "workers, each make it anew from a file: put it at the top level of a .py file and import it"
    )
    raise UsageError(msg)


@contextmanager
def as_imported(spec: Optional[FlowSpec]) -> Iterator[None]:
    """Whatever this block makes anew, afterwards the module of the flow is again the one that the caller imported."""
    name = None if spec is None else module_name(spec)
    before = None if name is None else sys.modules.get(name)
    try:
        yield
    finally:
        if name is not None and before is not None:
            sys.modules[name] = before


def _check_same(flow: Flow, spec: FlowSpec) -> None:
    """Raise `UsageError` when the file makes another flow than the one in hand, such as one that was changed since."""
    with as_imported(spec):
        try:
            made = load_flow(spec)
        except FlowError as error:
            msg = f"other processes make the flow {flow.name!r} anew from its file, which fails: {error}"
            raise UsageError(msg) from error
    if made.name != flow.name or _shape(made) != _shape(flow):
        msg = (
            f"the flow {flow.name!r} in this process is not the one that {spec.ref} makes when it is imported: other "
            "processes, such as several workers, would run that one; let the file alone decide what the flow is"
        )
        raise UsageError(msg)


def _shape(flow: Flow) -> list[tuple[str, str]]:
    return sorted((name, type(node).__name__) for name, node in flow.graph.nodes.items())
