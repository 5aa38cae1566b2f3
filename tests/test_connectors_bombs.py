"""Little compressed data that stands for much: memory stays bounded, whatever it unpacks to."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.connectors.compressed import Decompressor, Gunzip, Unzstd
from headway.connectors.detect import open_log
from headway.errors import InputError

GIB = 1 << 30
BLOCK = 1 << 17
READ = """
import json, resource, sys
from headway.connectors.files import files
path, name, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
reader = files(path).open(name, None, follow=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
chunks = 0
while not reader.at_end and chunks < most:
    chunks += reader.read(1 << 20) is not None
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"chunks": chunks, "grown_kib": after - before}))
"""


def zstd_of(byte: bytes, size: int, window_log: int = 20) -> bytes:
    """A frame that says `size` times the same byte, in four bytes for each 128 KiB."""

    def block(last: int) -> bytes:
        return (BLOCK << 3 | 1 << 1 | last).to_bytes(3, "little") + byte

    head = b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3])
    return head + block(0) * (size // BLOCK - 1) + block(1)


def gzip_of(byte: bytes, size: int) -> bytes:
    """The same as gzip, a thousandth of its content."""
    packer = zlib.compressobj(9, wbits=31)
    piece = byte * (1 << 20)
    return b"".join([*(packer.compress(piece) for _ in range(size >> 20)), packer.flush()])


def grown_mib(path: Path, chunks: int) -> float:
    """How much memory reading took in a process of its own."""
    command = [sys.executable, "-c", READ, str(path), path.name, str(chunks)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=100).stdout)
    return float(told["grown_kib"]) / 1024


def test_zstd_of_short_lines(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.zst"
    path.write_bytes(zstd_of(b"\n", 4 * GIB))
    assert path.stat().st_size < 140_000
    assert grown_mib(path, 20) < 100


def test_zstd_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.zst"
    path.write_bytes(zstd_of(b"7", GIB))
    assert grown_mib(path, 1_000_000) < 400


def test_gzip_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip_of(b"7", 300 << 20))
    assert grown_mib(path, 1_000_000) < 400


def test_a_window_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.zst"
    path.write_bytes(zstd_of(b"\n", BLOCK, window_log=28))
    log = open_log(str(path))
    assert log.window(0, 10) == b""
    with pytest.raises(
        InputError, match=r"asks for a window of more than 128 MiB of memory: compress it with `zstd --l"
    ):
        log.check_end(final=True)
    log.close()
    path.write_bytes(zstd_of(b"\n", BLOCK, window_log=27))
    log = open_log(str(path))
    assert log.window(0, 10) == b"\n" * 10
    log.close()


PARTS = st.lists(st.tuples(st.integers(0, 255), st.sampled_from([0, 1, 5_000, 200_000, 3 << 20])), max_size=4)


@settings(deadline=None, max_examples=40)
@given(parts=PARTS, cut=st.integers(50, 5_000), zstd=st.booleans())
def test_pieces_of_any_size_give_the_content_in_bounded_steps(
    parts: list[tuple[int, int]], cut: int, zstd: bool
) -> None:
    plain = [bytes([byte]) * size for byte, size in parts]
    packed = b"".join((zstandard.compress if zstd else gzip.compress)(part) for part in plain)
    unpacker: Decompressor = Unzstd() if zstd else Gunzip()
    content = []
    for start in range(0, len(packed), cut):
        unpacker.feed(packed[start : start + cut])
        while not unpacker.hungry:
            content.append(unpacker.unpack())
            assert len(content[-1]) <= (17 << 20)
    assert unpacker.damage is None
    assert unpacker.whole
    assert b"".join(content) == b"".join(plain)
