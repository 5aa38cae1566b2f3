"""Streams that are made when they are first read: what a flow can start with before there are real events."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional, Union

from headway.connectors.base import Input, PartitionReader, Position, Tell, unheard
from headway.connectors.files import files
from headway.generate.files import SUMMARY, refuse_output
from headway.generate.nexmark import NexmarkOptions, generate_nexmark
from headway.generate.options import ShopOptions
from headway.generate.shop import generate_shop

__all__ = ["Demo", "earlier_stream", "nexmark_events", "shop_events"]


def shop_events(
    events: int = 100_000, *, seed: int = 0, directory: Union[str, os.PathLike[str]] = ".headway/shop-demo"
) -> Input:
    """A synthetic shop stream, generated into `directory` when a run first asks for its partitions.

    Generating takes about 5 µs an event; later runs read the files that are there. A directory that holds the
    stream of other options, or an unfinished one, is made anew. The expected result lies beside the stream as
    `expected.jsonl`. Equal arguments give equal events. Raises `UsageError` for numbers that cannot be used,
    and, at the first reading, `OutputError` when the directory cannot be written.

    >>> shop_events(events=1_000).describe()
    'demo shop with 1,000 events in .headway/shop-demo'
    """
    return Demo("shop", ShopOptions(events=events, seed=seed), Path(directory), generate_shop)


def nexmark_events(
    events: int = 100_000, *, seed: int = 0, directory: Union[str, os.PathLike[str]] = ".headway/nexmark-demo"
) -> Input:
    """A Nexmark stream, generated into `directory` when a run first asks for its partitions; see `shop_events`.

    >>> nexmark_events(events=1_000).describe()
    'demo nexmark with 1,000 events in .headway/nexmark-demo'
    """
    return Demo("nexmark", NexmarkOptions(events=events, seed=seed), Path(directory), generate_nexmark)


@dataclass(frozen=True)
class Demo(Input):
    """A generated stream as an input."""

    kind: str
    """What the names of its files begin with."""
    options: Any
    """The options of its generator: a dataclass that says how many `events` there are."""
    directory: Path
    """Where it is, or will be."""
    generate: Callable[[Any, Path], object]
    """Writes the stream of some options into a directory."""

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """The names of the files, after generating them where need be."""
        if earlier_stream(self.directory, self.options) is None:
            self._generate()
        return self._files().partitions(tell)

    def may_read(self, path: str) -> bool:
        """Whatever is in its directory is replaced together with the stream."""
        return os.path.realpath(path).startswith(os.path.realpath(self.directory) + os.sep)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """Open one of the files."""
        return self._files().open(partition, position, follow=follow)

    def describe(self) -> str:
        """Its size and its place."""
        return f"demo {self.kind} with {self.options.events:,} events in {self.directory}"

    def _files(self) -> Input:
        return files(self.directory / f"{self.kind}-*.jsonl")

    def _generate(self) -> None:
        """Write it beside its place and put it there whole, so that no reader ever sees half of it."""
        with refuse_output(self.directory):
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            partial = tempfile.mkdtemp(prefix=f"{self.directory.name}-", dir=self.directory.parent)
        try:
            # One level down: the temporary directory itself is closed to everyone else.
            stream = Path(partial, "stream")
            self.generate(self.options, stream)
            with refuse_output(self.directory):
                self._put(stream)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _put(self, made: Path) -> None:
        if self.directory.exists():
            shutil.rmtree(self.directory)
        try:
            made.rename(self.directory)
        except OSError:
            # Another process that made the same stream was faster.
            if earlier_stream(self.directory, self.options) is None:
                raise


def earlier_stream(directory: Path, options: Any) -> Optional[dict[str, Any]]:
    """The summary of the stream in `directory`, if that is the stream of these options and whole; else None.

    The summary is the last file to be written.
    """
    try:
        summary: dict[str, Any] = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
        whole = all((directory / name).is_file() for name in summary["files"])
        return summary if whole and summary["options"] == asdict(options) else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
