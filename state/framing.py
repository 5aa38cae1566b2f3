"""Whether the logs of a RocksDB can be read to their end: for one kind of damage, RocksDB's own reader never ends.

A manifest and a write-ahead log are blocks of 32 KiB with records, each with a checksum, a length and a type. RocksDB
can write new logs over old files; such records have types of their own. In a file whose first record is none of them,
its reader refuses one without going past it, and comes to it again for ever. We never have logs recycled, so there is
such a type only where a bit has changed: of 1, which most records have, one bit makes 5.

Only this is looked for. All other damage is found by RocksDB, which has the checksums.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["endless_record"]

_BLOCK_BYTES: Final = 32 << 10
_HEADER_BYTES: Final = 7
_RECYCLED: Final = frozenset({5, 6, 7, 8, 11, 131})


def endless_record(path: Path) -> tuple[str, int] | None:
    """The file in RocksDB's directory `path` that has a record of a recycled log, and where it has it, in bytes.

    Reads the manifest and the logs, some megabytes at most; some milliseconds. Raises `OSError`.
    """
    for name in _logs(path):
        at = _recycled_at((path / name).read_bytes())
        if at is not None:
            return name, at
    return None


def _logs(path: Path) -> list[str]:
    names = [entry.name for entry in path.iterdir() if entry.suffix == ".log"] if path.is_dir() else []
    current = path / "CURRENT"
    manifest = current.read_bytes().decode(errors="replace").strip() if current.is_file() else ""
    if manifest.startswith("MANIFEST-") and (path / manifest).is_file():
        names.append(manifest)
    return sorted(names)


def _recycled_at(content: bytes) -> int | None:
    at, end = 0, len(content) - _HEADER_BYTES
    while at <= end:
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        size = _HEADER_BYTES + int.from_bytes(content[at + 4 : at + 6], "little")
        if left < _HEADER_BYTES:
            at += left
        elif content[at + 6] in _RECYCLED:
            return at
        elif size == _HEADER_BYTES and content[at + 6] == 0:
            at += left  # The rest of the block was set aside and not written.
        elif size > left:
            return None
        else:
            at += size
    return None
