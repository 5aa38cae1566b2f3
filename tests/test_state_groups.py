"""Keys fall into groups evenly, and groups onto workers."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from headway.errors import UsageError
from headway.state.groups import MAX_GROUPS, group_of, routing_name, worker_of

MASK = 2**64 - 1


def rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & MASK


def sip_round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & MASK
    v1 = rotate(v1, 13) ^ v0
    v0 = rotate(v0, 32)
    v2 = (v2 + v3) & MASK
    v3 = rotate(v3, 16) ^ v2
    v0 = (v0 + v3) & MASK
    v3 = rotate(v3, 21) ^ v0
    v2 = (v2 + v1) & MASK
    v1 = rotate(v1, 17) ^ v2
    v2 = rotate(v2, 32)
    return v0, v1, v2, v3


def siphash(data: bytes, compression_rounds: int, final_rounds: int, key: tuple[int, int] = (0, 0)) -> int:
    """SipHash as its authors publish it, any number of rounds."""
    v = (
        key[0] ^ 0x736F6D6570736575,
        key[1] ^ 0x646F72616E646F6D,
        key[0] ^ 0x6C7967656E657261,
        key[1] ^ 0x7465646279746573,
    )
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v = (v[0], v[1], v[2], v[3] ^ word)
        for _ in range(compression_rounds):
            v = sip_round(*v)
        v = (v[0] ^ word, v[1], v[2], v[3])
    v = (v[0], v[1], v[2] ^ 0xFF, v[3])
    for _ in range(final_rounds):
        v = sip_round(*v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_hash_is_siphash() -> None:
    # The test vector of the SipHash paper, appendix A.
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert siphash(bytes(range(15)), 2, 4, key) == 0xA129CA6149BE45E5


def test_a_routing_name_hashes_to_its_group() -> None:
    assert math.lcm(*range(1, 11)) == 2520
    for group in range(MAX_GROUPS):
        assert siphash(routing_name(group).encode() + b"\xff", 1, 3) % 2520 == group


@pytest.mark.parametrize("workers", [1, 3, 7, 11, 13, 64])
def test_the_worker_of_a_group_is_the_one_of_its_hash(workers: int) -> None:
    for group in range(MAX_GROUPS):
        assert worker_of(group, workers) == siphash(routing_name(group).encode() + b"\xff", 1, 3) % workers


@pytest.mark.parametrize("workers", range(1, 11))
@pytest.mark.parametrize("groups", [16, 32, 100, 256])
def test_any_number_of_workers_is_evenly_loaded(workers: int, groups: int) -> None:
    hashes = [siphash(routing_name(group).encode() + b"\xff", 1, 3) for group in range(groups)]
    load = Counter(value % workers for value in hashes)
    assert max(load.values()) - min(load.values()) <= 1


def test_routing_names_are_different_and_bounded() -> None:
    assert len({routing_name(group) for group in range(MAX_GROUPS)}) == MAX_GROUPS
    for group in (-1, MAX_GROUPS):
        with pytest.raises(UsageError, match=rf"key group {group} does not exist: groups are numbered 0 to 255"):
            routing_name(group)


@pytest.mark.parametrize("pattern", ["user-{}", "{}", "order/{:08d}", "{:032x}", "ключ-{}"])
def test_keys_fall_into_groups_evenly(pattern: str) -> None:
    counts = Counter(group_of(pattern.format(number), 16) for number in range(16_000))
    assert set(counts) == set(range(16))
    assert min(counts.values()) > 900 and max(counts.values()) < 1_100


def test_groups_of_keys_do_not_change() -> None:
    # State on disk lies where these say.
    assert [group_of(key, 16) for key in ("", "a", "cart-1", "\0", "😀")] == [0, 3, 4, 13, 4]
