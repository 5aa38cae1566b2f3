"""Patterns over the events of a key: complex event processing."""
