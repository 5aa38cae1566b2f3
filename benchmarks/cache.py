"""What is expensive to make and does not change is made once: input files and loaded state directories.

Everything lies in `benchmarks/results/cache`, under a name that tells what it was made of: other options, or
other code, give another name, and the former one is removed. `rm -r` it at any time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from benchmarks.processes import ROOT

__all__ = ["RESULTS", "cached", "code", "copy_state", "engine_code", "scratch"]

RESULTS: Final = ROOT / "benchmarks" / "results"
_CACHE: Final = RESULTS / "cache"


def cached(name: str, recipe: object, build: Callable[[Path], None]) -> Path:
    """The directory that `build` fills; built unless there is one of the same name and recipe (its `repr` counts)."""
    digest = blake2b(repr(recipe).encode(), digest_size=6).hexdigest()
    path = _CACHE / f"{name}.{digest}"
    if path.exists():
        return path
    _CACHE.mkdir(parents=True, exist_ok=True)
    for old in _CACHE.glob(f"{name}.*"):
        shutil.rmtree(old)
    unfinished = _CACHE / f"{name}.new"
    unfinished.mkdir()
    build(unfinished)
    os.sync()  # What is measured next does not wait for this to reach the disk.
    unfinished.rename(path)
    return path


def engine_code() -> str:
    """A digest of what decides about the bytes in a state directory."""
    return code("src/headway/runtime", "src/headway/connectors", "src/headway/types", "operators", "state")


@cache
def code(*folders: str) -> str:
    """A digest of all Python code below these folders of the repository."""
    digest = blake2b(digest_size=6)
    for folder in folders:
        top = ROOT / folder
        for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for one run, on the file system of the cache; removed afterwards."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    directory = Path(mkdtemp(prefix="run-", dir=RESULTS))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def copy_state(source: Path, target: Path) -> None:
    """Copy a state directory that nobody uses. Its table files never change, so that links to them will do."""

    def copy(origin: str, destination: str) -> str:
        if origin.endswith(".sst"):
            os.link(origin, destination)
        else:
            shutil.copyfile(origin, destination)
        return destination

    shutil.copytree(source, target, copy_function=copy)
    os.sync()  # A fresh copy would make the first epochs wait for the disk.
