"""The names of files and folders that `to_parquet` writes."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.connectors.columns.naming import Spans, folder_of

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("every_ms", "name"),
    [
        (86_400_000, "2024-05-01"),
        (HOUR_MS, "2024-05-01T10"),
        (900_000, "2024-05-01T10-15"),
        (1_000, "2024-05-01T10-15-30"),
        (1_500, "2024-05-01T10-15-30.000"),
    ],
)
def test_names_are_as_long_as_the_span_needs(every_ms: int, name: str) -> None:
    at_ms = 1_714_558_530_400
    assert Spans(every_ms, 0).place("", at_ms, at_ms).name == name


FIELDS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.text("aB~%. ", max_size=4))


@given(st.lists(FIELDS, min_size=1, max_size=40, unique_by=repr))
def test_folders_tell_values_apart_and_stay_below(values: list[Any]) -> None:
    texts: dict[str, Optional[str]] = {}
    for value in values:
        folder = folder_of([value])
        assert folder.count("/") == 1 and len(folder.encode()) < 200
        assert folder[0] not in "._/" and folder[-2] not in ". "
        text = None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        assert texts.setdefault(folder.lower(), text) == text, "there are file systems without capital letters"


def test_a_folder_gives_its_value_again() -> None:
    from urllib.parse import unquote

    for value in ("Bern", "bErN~1", "Zürich/See", "100 %", "a.", " A "):
        assert unquote(folder_of([value])[:-1].partition("~")[0]) == value
