"""Headway: a stream-processing workflow engine on bytewax and RocksDB."""
