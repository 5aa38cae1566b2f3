"""Backups: copies of a flow's state in an object store, each of which sends only what the store does not have yet."""
