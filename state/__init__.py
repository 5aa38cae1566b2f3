"""State that outlives the process: one RocksDB per key group, committed an epoch at a time."""
