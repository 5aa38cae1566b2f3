"""Savepoints: named copies of a flow's state at one committed epoch, of a flow that runs or is stopped."""
