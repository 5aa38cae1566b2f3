"""The files of a generated stream: names, compression, and no mixing with those of an earlier stream."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

import zstandard

from headway.errors import OutputError

__all__ = ["EXPECTED", "SUMMARY", "LineFile", "prepare_directory", "refuse_output"]

EXPECTED: Final = "expected.jsonl"
SUMMARY: Final = "summary.json"

_OURS: Final = re.compile(
    r"(shop|nexmark|clicks|orders|payments|rules|tickets)-\d{4}\.jsonl(\.gz|\.zst)?|expected\.jsonl|summary\.json"
)
_SUFFIXES: Final = {"none": "", "gzip": ".gz", "zstd": ".zst"}
_GZIP_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 3


class _Bytes(Protocol):
    def write(self, data: bytes, /) -> Any: ...

    def close(self) -> None: ...


def _open_gzip(raw: BinaryIO) -> _Bytes:
    # Name and time would be part of the file, and equal options must give equal bytes.
    return gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=raw, mtime=0)


def _open_zstd(raw: BinaryIO) -> _Bytes:
    return cast(_Bytes, zstandard.ZstdCompressor(level=_ZSTD_LEVEL).stream_writer(raw, closefd=False))


_WRAPPERS: Final[dict[str, Callable[[BinaryIO], _Bytes]]] = {"gzip": _open_gzip, "zstd": _open_zstd}


class LineFile:
    """A new file of lines, compressed or not. Raises `OutputError` when it cannot be written."""

    def __init__(self, directory: Path, name: str, compress: str = "none") -> None:
        self.path: Final = directory / (name + _SUFFIXES[compress])
        with refuse_output(self.path):
            self._raw = self.path.open("wb")
            wrapper = _WRAPPERS.get(compress)
            self._file: _Bytes = wrapper(self._raw) if wrapper else self._raw

    def write(self, text: str) -> None:
        """Append whole lines. A character becomes one byte: lines are ASCII, except the corrupt ones."""
        with refuse_output(self.path):
            self._file.write(text.encode("latin-1"))

    def close(self) -> None:
        """End the compressed stream and the file; the second call does nothing."""
        with refuse_output(self.path):
            try:
                self._file.close()
            finally:
                self._raw.close()


@contextmanager
def refuse_output(path: Path) -> Iterator[None]:
    """Turn what the system says about a file into an `OutputError` that names it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        msg = f"cannot write {path}: {reason}; choose another directory, or mend or make room in this one"
        raise OutputError(msg) from error


def prepare_directory(directory: Path, *, overwrite: bool) -> None:
    """Create the directory, and make sure that no file of an earlier stream is in it.

    With `overwrite`, such files are removed; others are left alone. Raises `OutputError`.
    """
    with refuse_output(directory):
        directory.mkdir(parents=True, exist_ok=True)
        earlier = sorted(path for path in directory.iterdir() if _OURS.fullmatch(path.name))
    if earlier and not overwrite:
        msg = (
            f"{directory} already holds {len(earlier)} files of an earlier stream, like {earlier[0].name}: "
            "expected a directory without any; choose another, or say overwrite=True (--overwrite)"
        )
        raise OutputError(msg)
    for path in earlier:
        with refuse_output(path):
            path.unlink()
