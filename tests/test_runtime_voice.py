"""What the engine says when it breaks is heard, and what others say on standard error goes where it went."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import ClusterError, CorruptStateError, InternalError, StateError
from headway.runtime.engine_errors import translated
from headway.runtime.recovery_log import prepare_recovery_log
from headway.runtime.voice import EngineVoice, Sieve

PANIC = (
    b"thread '<unnamed>' panicked at src/recovery.rs:523:53:\ncalled `unwrap()` on an `Err` value\nstack backtrace:\n"
)


@given(
    before=st.lists(st.sampled_from([b"a line\n", b"thread 'x' runs\n", b"\n", b"'panicked at'\n"])).map(b"".join),
    panics=st.booleans(),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    aloud=st.booleans(),
)
def test_a_panic_is_told_from_other_text_however_it_is_cut(
    before: bytes, panics: bool, cuts: list[int], aloud: bool
) -> None:
    said = before + (PANIC if panics else b"")
    bounds = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    voice = EngineVoice()
    sieve = Sieve(voice, aloud=aloud)
    passed_on = b"".join(sieve.take(said[start:end]) for start, end in pairwise(bounds)) + sieve.begun
    assert passed_on == (said if aloud else before)
    assert voice.panic == (PANIC.decode() if panics else "")


SPEAKING = """
import os, sys, subprocess, logging
from headway.runtime.voice import engine_voice
logging.basicConfig(format="%(message)s")
with engine_voice() as voice:
    logging.warning("logged")
    print("terminal:", sys.stderr.isatty(), file=sys.stderr)
    subprocess.run(["sh", "-c", "echo a program >&2"])
    for piece in (b"thread 'main", b"' panicked", b" at x.rs:1:1:\\n", b"odd\\n"):
        os.write(2, piece)
    sys.excepthook(ValueError, ValueError("lost"), None)
print(repr(voice.panic), voice.errors, file=sys.stderr)
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_who_is_heard_in_a_process(unbuffered: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPEAKING],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    *others, last = done.stderr.splitlines()
    assert sorted(others) == ["a program", "logged", "terminal: False"]
    assert last == repr("thread 'main' panicked at x.rs:1:1:\nodd\n") + " [ValueError('lost')]"


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        (
            'SqliteFailure(Error { code: DiskFull, extended_code: 13 }, Some("database or disk is full"))',
            StateError,
            "free some space",
        ),
        (
            'SqliteFailure(Error { code: ReadOnly, extended_code: 8 }, Some("attempt to write a readonly database"))',
            StateError,
            "the right to",
        ),
        (
            'SqliteFailure(Error { code: NotADatabase, extended_code: 26 }, Some("file is not a database"))',
            CorruptStateError,
            "one backup",
        ),
        ("SqliteFailure(Error { code: DatabaseCorrupt, extended_code: 11 }, None)", CorruptStateError, "one backup"),
        (
            'SqliteFailure(Error { code: SystemIoFailure, extended_code: 778 }, Some("disk I/O error"))',
            StateError,
            "then run again",
        ),
    ],
)
@pytest.mark.parametrize("clustered", [False, True])
def test_the_cause_of_a_panic_is_found_in_what_was_said(
    said: str, kind: type[StateError], told: str, clustered: bool
) -> None:
    voice = EngineVoice()
    voice.panic_bytes = f"thread 'x' panicked at src/recovery.rs:1:1:\ncalled `Result::unwrap()`: {said}".encode()
    error = translated(
        RuntimeError("Send thread panic: Any { .. }"), Path("state/engine-1"), voice, clustered=clustered
    )
    assert type(error) is kind and "state/engine" in str(error) and told in str(error)


def test_a_panic_of_which_nothing_is_known() -> None:
    voice = EngineVoice()
    voice.panic_bytes = b"thread 'x' panicked at src/odd.rs:1:1:\nodd"
    alone, together = (
        translated(RuntimeError("panic"), Path("state/engine-1"), voice, clustered=clustered)
        for clustered in (False, True)
    )
    assert type(alone) is InternalError and "src/odd.rs" in str(alone)
    assert type(together) is ClusterError


def test_a_recovery_log_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "engine").write_text("")
    with pytest.raises(StateError, match="something else lies"):
        prepare_recovery_log(tmp_path / "engine")
