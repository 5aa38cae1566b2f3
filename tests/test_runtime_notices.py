"""Notices are kept until the end of a run tells them, whatever happens to their file meanwhile."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headway.runtime.notices import add_notice, take_notices


def test_each_is_told_once_in_its_order(tmp_path: Path) -> None:
    for text in ("moved", "passed over", "moved"):
        add_notice(tmp_path, text)
    assert take_notices(tmp_path) == ["moved", "passed over"]
    assert take_notices(tmp_path) == []


@given(torn=st.integers(0, 20))
def test_one_that_was_torn_costs_itself_alone(torn: int) -> None:
    """A full disk takes a part of a line; the next one is not glued to it."""
    with tempfile.TemporaryDirectory() as directory:
        add_notice(Path(directory), "first")
        path = Path(directory) / "notices.jsonl"
        whole = path.read_bytes()
        path.write_bytes(whole + whole[: min(torn, len(whole) - 1)])
        add_notice(Path(directory), "last")
        assert take_notices(Path(directory)) == ["first", "last"]
