"""The seal: what one process has made comes back at its peer and nowhere else, and nothing else comes back."""

from __future__ import annotations

import os
import pickle
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.errors import CorruptStateError, ForeignPeerError, HeadwayError
from headway.plan.planner import compile_plan
from headway.runtime.batch import Batch, register_codecs
from headway.runtime.seal import KEY_BYTES, Seal

EVIL = b"cos\nsystem\n(S'>x'\ntR."
"""A pickle that makes a file named x in the current directory."""
BATCH = b"\xf5hw\x01B"


class Sealed:
    """Two processes of one run, as far as their seals go."""

    def __init__(self, key: Optional[bytes] = bytes(range(KEY_BYTES)), processes: int = 2) -> None:
        self.failures: list[BaseException] = []
        addresses = [f"127.0.0.1:{2100 + index}" for index in range(processes)]
        self.ends = [Seal(key, index, addresses, "engine", self.failures.append) for index in range(processes)]
        if not processes:
            self.ends = [Seal(None, 0, [], "engine", self.failures.append)]

    def refused(self, data: bytes, at: int = 0) -> HeadwayError:
        with pytest.raises(HeadwayError) as caught:
            self.ends[at].loads(data)
        assert self.failures[-1] is caught.value
        return caught.value


@pytest.fixture(scope="module")
def edge() -> int:
    """The number of an edge on which strings travel, made known to this process."""
    flow = hw.Flow("f")
    source = flow.source("s", hw.Json, hw.items([{"k": "a", "at": 1}]), time="at")
    source.key_by("k").aggregate("n", n=hw.count()).to("out", hw.to_list([]))
    plan = compile_plan(flow.graph, dead_letters=hw.to_list([]))
    register_codecs(plan)
    return next(edge.id for edge in plan.edges() if edge.from_source)


TOKENS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(allow_nan=False),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=12,
)


@given(TOKENS)
def test_a_token_comes_back_as_it_was_in_every_process_and_in_the_next_run(token: Any) -> None:
    data = Sealed().ends[0].dumps(token)
    for reader in (*Sealed().ends, *Sealed(os.urandom(32)).ends, *Sealed(processes=0).ends):
        assert reader.loads(data) == token


@given(
    records=st.lists(st.tuples(st.integers(-(10**9), 10**9), st.text(), st.dictionaries(st.text(), st.integers(0, 9))))
)
def test_a_batch_comes_back_as_it_was_at_its_peer_only(edge: int, records: list[Any]) -> None:
    batch = Batch(edge, "s/00", 3, 17, "part", records)
    two = Sealed()
    data = two.ends[0].dumps(batch)
    assert two.ends[1].loads(data) == batch
    assert isinstance(two.refused(data, at=0), ForeignPeerError)  # Reflected.
    assert isinstance(Sealed(os.urandom(32)).refused(data, at=1), ForeignPeerError)  # Of another run.
    assert isinstance(Sealed(processes=0).refused(data), CorruptStateError)  # In a recovery log.


@given(st.data())
def test_a_batch_of_which_anything_was_changed_is_refused(edge: int, data: st.DataObject) -> None:
    two = Sealed()
    sealed = two.ends[0].dumps(Batch(edge, "s/00", 3, 17, "part", [(1, "a", {"n": 1})]))
    place = data.draw(st.integers(0, len(sealed) - 1))
    flipped = sealed[place] ^ (1 << data.draw(st.integers(0, 7)))
    changed = sealed[:place] + bytes([flipped]) + sealed[place + 1 :]
    two.refused(changed, at=1)
    two.refused(sealed[:place], at=1)


@given(st.data())
def test_a_token_of_which_anything_was_changed_is_refused(data: st.DataObject) -> None:
    token = Sealed().ends[0].dumps({"group": 3, "version": 17})
    place = data.draw(st.integers(0, len(token) - 1))
    flipped = token[place] ^ (1 << data.draw(st.integers(0, 7)))
    alone = Sealed(processes=0)
    assert isinstance(alone.refused(token[:place] + bytes([flipped]) + token[place + 1 :]), CorruptStateError)
    alone.refused(token[:place])


@given(st.binary() | st.sampled_from([EVIL, pickle.dumps({"group": 0}), BATCH, BATCH + b"\xff" * 40, b"\xf5hw\x01T"]))
def test_other_bytes_are_refused_with_what_they_were(data: bytes) -> None:
    for trial, at in ((Sealed(), 0), (Sealed(), 1), (Sealed(processes=0), 0)):
        error = trial.refused(data, at)
        assert f"{len(data)} bytes that begin with" in str(error)
        assert "Nothing of it was executed" in str(error) or "nothing of it was executed" in str(error)
