"""Where things lie when nobody says where."""

from __future__ import annotations

from pathlib import Path

from headway.declare.flow import Flow
from headway.declare.loading import FlowSpec, load_flow

__all__ = ["default_state_dir", "state_dir_of"]


def default_state_dir(flow: Flow) -> Path:
    """The state directory of a flow: below the current directory.

    >>> default_state_dir(Flow("orders")).as_posix()
    '.headway/orders'
    """
    return Path(".headway") / flow.name


def state_dir_of(place: str) -> Path:
    """What `place` means: a state directory, or the flow whose default state directory is meant."""
    path = Path(place)
    return path if path.is_dir() else default_state_dir(load_flow(FlowSpec(place)))
