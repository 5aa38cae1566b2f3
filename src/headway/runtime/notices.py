"""What the user should be told at the end of a run, kept in the state directory until it is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from headway.state.files import state_files
from headway.state.private import open_private, read_private

__all__ = ["add_notice", "take_notices"]

_NAME: Final = "notices.jsonl"


def add_notice(state_dir: Path, text: str) -> None:
    """Keep a notice, such as that a file was moved aside: it outlives workers that die, and runs that are killed."""
    path = state_dir / _NAME
    with state_files(path, "write"):
        descriptor = open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, b"\n" + msgspec.json.encode(text) + b"\n")
        finally:
            os.close(descriptor)


def take_notices(state_dir: Path) -> list[str]:
    """All notices that nobody has been told yet, each once, in their order; they are gone then."""
    path = state_dir / _NAME
    with state_files(path):
        try:
            data = read_private(path)
        except FileNotFoundError:
            return []
        path.unlink()
    notices: dict[str, None] = {}
    for line in data.splitlines():
        with suppress(msgspec.DecodeError):  # Torn, as on a full disk: it costs itself alone.
            notices[msgspec.json.decode(line, type=str)] = None
    return list(notices)
