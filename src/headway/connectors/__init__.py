"""Inputs and outputs: files of JSON lines, standard streams, and plain Python lists for tests."""

from __future__ import annotations

from headway.connectors.files import files
from headway.connectors.jsonl import to_jsonl
from headway.connectors.memory import items, to_list
from headway.connectors.stdin import stdin
from headway.connectors.stdout import to_stdout

__all__ = ["files", "items", "stdin", "to_jsonl", "to_list", "to_stdout"]
