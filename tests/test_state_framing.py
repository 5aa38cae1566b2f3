"""Damage of RocksDB's logs that its own reader would never come past is found before it reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import CorruptStateError
from headway.state.framing import endless_record
from headway.state.group import GroupStore
from headway.state.options import StoreOptions

BLOCK = 32 << 10
OPTIONS = StoreOptions(sync=False)


def framed(bodies: list[bytes]) -> tuple[bytes, list[int]]:
    """Records as RocksDB frames them, checksums left out, and where each part of one begins."""
    out, starts = bytearray(), []
    for whole in bodies:
        is_first, body = True, whole
        while True:
            left = BLOCK - len(out) % BLOCK
            if left < 7:
                out += bytes(left)
                left = BLOCK
            part, body = body[: left - 7], body[left - 7 :]
            kind = {(True, False): 1, (True, True): 2, (False, True): 3, (False, False): 4}[is_first, bool(body)]
            starts.append(len(out))
            out += bytes(4) + len(part).to_bytes(2, "little") + bytes([kind]) + part
            is_first = False
            if not body:
                break
    return bytes(out), starts


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=8), st.sampled_from([5, 6, 7, 8]), st.data())
def test_each_record_of_a_log_is_looked_at(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], kind: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("logs")
    content, starts = framed([b"\x05" * size for size in sizes])
    (path / "000007.log").write_bytes(content)
    assert endless_record(path) is None
    at = data.draw(st.sampled_from(starts))
    (path / "000007.log").write_bytes(content[: at + 6] + bytes([kind]) + content[at + 7 :])
    assert endless_record(path) == ("000007.log", at)


@given(st.binary(max_size=100), st.integers(0, 100))
def test_anything_may_be_in_a_log(tmp_path_factory: pytest.TempPathFactory, content: bytes, zeros: int) -> None:
    path = tmp_path_factory.mktemp("logs")
    (path / "000007.log").write_bytes(bytes(zeros) + content)
    (path / "CURRENT").write_bytes(content)
    endless_record(path)


def test_a_manifest_that_would_be_read_for_ever_is_corrupt_state(tmp_path: Path) -> None:
    with GroupStore.open(tmp_path, 0, OPTIONS):
        pass
    [manifest] = (tmp_path / "groups" / "000").glob("MANIFEST-*")
    content = bytearray(manifest.read_bytes())
    at = 7 + int.from_bytes(content[4:6], "little")
    assert content[at + 6] == 1
    content[at + 6] ^= 4
    manifest.write_bytes(content)
    with pytest.raises(CorruptStateError, match=rf"key group 000, {manifest.name} is damaged at byte {at}; restore"):
        GroupStore.open(tmp_path, 0, OPTIONS)
    manifest.write_bytes(bytes(content[: at + 6]) + b"\x01" + bytes(content[at + 7 :]))
    GroupStore.open(tmp_path, 0, OPTIONS).close()
