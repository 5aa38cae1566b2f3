"""Key groups that come from a savepoint, made ready for a directory in which other things may have happened since."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from headway.state.database import CONTROL, Database, group_path
from headway.state.delivery_moves import rename_log
from headway.state.keys import task_prefix
from headway.state.manifest import Manifest
from headway.state.options import StoreOptions
from headway.state.redo import Control, decode_meta, encode_meta
from headway.state.stage import MARK
from headway.state.tasks import output_task

__all__ = ["ready_groups"]


def ready_groups(directory: Path, manifest: Manifest, begin_anew: Collection[int], *, sync: bool) -> None:
    """Give all logs of triggers names of their own, and let outputs begin anew, which are given by their numbers.

    For groups that are in no use, under the generation of `manifest`. Some milliseconds for each, and some 10 µs for
    each trigger that waits.
    """
    outputs = {**manifest.retired.outputs, **manifest.outputs}
    for group in range(manifest.key_groups):
        if not (group_path(directory, group) / "CURRENT").exists():
            continue
        database = Database(directory, group, StoreOptions(), compacts=False)
        try:
            for entry in outputs.values():
                rename_log(database, entry.id)
            for number in begin_anew:
                _begin_anew(database, task_prefix(manifest.generation, output_task(number)))
            if sync:
                database.sync()
        finally:
            database.close()


def _begin_anew(database: Database, prefix: bytes) -> None:
    """Forget where an output stood, and by which mark it knew its own."""
    payload = database.get(CONTROL, prefix)
    if payload is None:
        return
    control = Control.decode(payload)
    meta = {**(decode_meta(control.meta) or {}), "position": None}
    batch = database.batch()
    batch.put(CONTROL, prefix, msgspec.structs.replace(control, meta=encode_meta(meta)).encode())
    batch.delete(CONTROL, prefix + MARK)
    database.write(batch, sync=False)
