"""The column families of a key group, and their settings: many small databases in one process, each with few files."""

from __future__ import annotations

from functools import cache
from typing import Final

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, WriteBufferManager

from headway.state.options import StoreOptions

__all__ = ["CONTROL", "DELIVERIES", "OUTBOX", "PENDING", "ROWS", "TIMERS", "WAITING", "tuned"]

CONTROL: Final = "default"
ROWS: Final = "rows"
TIMERS: Final = "timers"
WAITING: Final = "waiting"
OUTBOX: Final = "outbox"
DELIVERIES: Final = "deliveries"
PENDING: Final = "pending"

_MEMTABLE_BYTES: Final = {
    CONTROL: 1 << 20,
    ROWS: 8 << 20,
    TIMERS: 4 << 20,
    WAITING: 4 << 20,
    OUTBOX: 4 << 20,
    DELIVERIES: 4 << 20,
    PENDING: 4 << 20,
}
_WAL_BYTES: Final = 2 << 20
"""Little, because a start after a crash replays it, in each group."""
_FILE_BYTES: Final = 16 << 20
"""Little enough that the index and the filter of a file, some 1.5 % of it, fit into a sixty-fourth of the block cache:
that is cut into as many parts, and what does not fit into its part would be read anew for each key."""
_LOG_FILE_BYTES: Final = 1 << 20
"""Of a family that grows at its end: each compaction writes the last file again, and a large one costs more than all
that is new."""


@cache
def _block_cache(capacity_bytes: int) -> Cache:
    return Cache(capacity_bytes)


@cache
def _write_buffers(capacity_bytes: int) -> WriteBufferManager:
    return WriteBufferManager(capacity_bytes, False)


def tuned(family: str, options: StoreOptions, open_files_max: int, *, compacts: bool) -> Options:
    """The settings of a column family; without `compacts` none of its files is written anew in the background."""
    made = Options(raw_mode=True)
    made.create_if_missing(True)
    made.create_missing_column_families(True)
    made.set_disable_auto_compactions(not compacts)
    made.set_write_buffer_manager(_write_buffers(options.write_buffer_bytes))
    made.set_write_buffer_size(_MEMTABLE_BYTES[family])
    made.set_arena_block_size(64 << 10)
    made.set_max_total_wal_size(_WAL_BYTES)
    made.set_max_background_jobs(2)
    made.set_target_file_size_base(_LOG_FILE_BYTES if family == DELIVERIES else _FILE_BYTES)
    made.set_max_open_files(open_files_max)
    # One list of open files instead of 64 short ones: of those, each would throw out files that are in use.
    made.set_table_cache_num_shard_bits(0)
    made.set_max_file_opening_threads(1)
    made.set_keep_log_file_num(1)
    made.set_max_manifest_file_size(4 << 20)
    made.set_manifest_preallocation_size(64 << 10)
    made.set_stats_dump_period_sec(0)
    made.set_stats_persist_period_sec(0)
    made.set_skip_stats_update_on_db_open(True)
    made.set_compression_type(DBCompressionType.lz4())
    blocks = BlockBasedOptions()
    blocks.set_block_cache(_block_cache(options.block_cache_bytes))
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    if family == ROWS:
        blocks.set_bloom_filter(10, False)
    made.set_block_based_table_factory(blocks)
    return made
