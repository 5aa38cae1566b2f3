"""The compiled modules and the sources that they are made of: one text, the same results, never mixed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.basics import compiled
from headway.basics.scanning import count_ends, sort_columns, sort_records, span_of
from headway.generate.shop import ShopOptions, generate_shop

IMPORT_ALL = f"""
import importlib, json
from headway.basics import compiled
files = {{name: importlib.import_module(name).__file__ for name in {compiled.HOT!r}}}
print(json.dumps([compiled.how(), files]))
"""


def python(*arguments: str, pure: bool) -> str:
    environment = {**os.environ, "HEADWAY_PURE": "1" if pure else "0"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout


def test_the_sources_run_when_they_are_asked_for() -> None:
    how, files = json.loads(python("-c", IMPORT_ALL, pure=True))
    assert how == "plain Python (HEADWAY_PURE is set)"
    assert {Path(file).suffix for file in files.values()} == {".py"}


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_everything_is_compiled_where_there_is_a_compiler() -> None:
    how, files = json.loads(python("-c", IMPORT_ALL, pure=False))
    assert how == "compiled", "run `make setup`"
    assert not any(file.endswith(".py") for file in files.values())


def test_both_write_the_same(tmp_path: Path) -> None:
    generate_shop(ShopOptions(events=5_000, users=300, disorder_ms=2_000, seed=5), tmp_path / "shop")
    written = []
    for pure in (False, True):
        place = tmp_path / f"pure-{pure}"
        settings = {"input": f"{tmp_path}/shop/shop-*.jsonl", "output": f"{place}/triggers.jsonl", "after": "10m"}
        place.mkdir()
        sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command = ["-m", "headway", "run", "headway.flows.abandoned_carts", *sets, "--state", f"{place}/state"]
        python(*command, "--drain", "--quiet", pure=pure)
        written.append((place / "triggers.jsonl").read_bytes())
    assert written[0] == written[1]
    assert written[0].count(b"\n") > 50


@given(st.lists(st.sampled_from([b"{", b"}", b"\n", b"}\n{", b"\r\n", b"x", b"\0"])).map(b"".join))
def test_line_ends_are_counted_as_their_twin_does(data: bytes) -> None:
    assert count_ends(data) == (data.count(b"\n"), data.count(b"}\n{"))


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), min_size=1))
def test_the_span_of_times_is_their_twin_s(times: list[int]) -> None:
    ordered = sorted(times)
    assert span_of(times) == (ordered[0], ordered[-1], ordered == times)


@pytest.mark.parametrize("times", [[2**63], [1, -(2**63) - 1], [5, 2**70, 5]])
def test_times_beyond_64_bits_have_no_span(times: list[int]) -> None:
    with pytest.raises(OverflowError):
        span_of(times)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.integers(1, 256))
def test_records_go_to_the_groups_of_their_keys(keys: list[str], count: int) -> None:
    records = [(number, key, [number]) for number, key in enumerate(keys)]
    expected: list[list[object]] = [[] for _ in range(count)]
    for record in records:
        expected[crc32(record[1].encode()) % count].append(record)
    groups: list[list[object]] = [[] for _ in range(count)]
    sort_records(records, groups)
    assert groups == expected
    by_column: list[list[object]] = [[] for _ in range(count)]
    sort_columns([record[0] for record in records], keys, [record[2] for record in records], by_column)
    assert by_column == expected


def test_a_key_that_is_no_text_in_utf_8_is_refused() -> None:
    groups: list[list[object]] = [[]]
    with pytest.raises(UnicodeEncodeError):
        sort_records([(0, "\ud800", None)], groups)
    with pytest.raises(UnicodeEncodeError):
        sort_columns([0], ["\ud800"], [None], groups)


def test_modules_that_know_each_others_c_types_run_compiled_together() -> None:
    """A module without a relation to the others may be left out, one with may not: what is `cimport`ed says which."""
    related = set()
    for name in compiled.HOT:
        declarations = Path(compiled.__file__).parent.parent.joinpath(*name.split(".")[1:]).with_suffix(".pxd")
        if declarations.exists():
            used = re.findall(r"^from (headway\.\S+) cimport", declarations.read_text(), re.MULTILINE)
            related |= {name, *used} if used else set()
    assert related == set(compiled.TOGETHER)


@given(st.sets(st.sampled_from((*compiled.HOT, *compiled.EXTENSIONS))))
def test_what_is_not_compiled_is_told(missing: set[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEADWAY_PURE", raising=False)
        patch.setattr(compiled, "_why_not", lambda name: f"{name} is not compiled" if name in missing else "")
        patch.setattr(compiled, "_REASONS", compiled._reasons())
        off = set(compiled._REASONS)
        assert off == missing | (set(compiled.TOGETHER) if missing & set(compiled.TOGETHER) else set())
        assert (compiled.notice() is None) == (not missing)
        everything = len(compiled.HOT) + len(compiled.EXTENSIONS)
        begun = "plain Python" if len(off) == everything else "compiled but for" if off else "compiled"
        assert compiled.how().startswith(begun)
        assert all(name in missing for name in re.findall(r"(headway\S*) is not compiled", compiled.how()))
