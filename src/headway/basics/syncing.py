"""Names of files that have to outlive a loss of power."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

__all__ = ["sync_directory"]


def sync_directory(directory: Union[str, Path]) -> None:
    """Make the names in a directory durable. Raises `OSError`.

    >>> sync_directory(".")
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
