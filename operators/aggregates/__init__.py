"""Aggregates: how the events of a key, or of a window of it, fold into a result."""
