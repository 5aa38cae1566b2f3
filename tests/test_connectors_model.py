"""Any way of reading a log in pieces gives what one straightforward reading of its lines gives."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.connectors.base import Chunk, PartitionReader, Position
from headway.connectors.filereader import FileReader
from headway.connectors.rotated import RotatedReader
from headway.connectors.stripes import StripeReader
from headway.types.decoding import LineCodec
from headway.types.schema import Event

MAX_LINE_BYTES = 300
BOM = b"\xef\xbb\xbf"


class Item(Event):
    n: int
    text: str = ""


CODEC = LineCodec(Item)

Seen = tuple[int, str, Any]
"""Ordinal, `event` or `bad`, and the event or its raw bytes."""


def model(content: bytes, first: int = 0) -> tuple[list[Seen], int]:
    """What one reading of a finished file gives, and the ordinal after it."""
    lines = content.split(b"\n")
    if not lines[-1].removeprefix(BOM if len(lines) == 1 else b"").strip(b" \t\r"):
        lines.pop()
    seen: list[Seen] = []
    for number, line in enumerate(lines):
        ordinal = first + number
        if len(line) > MAX_LINE_BYTES:
            seen.append((ordinal, "bad", line[: MAX_LINE_BYTES + 1]))
            continue
        text = line.removeprefix(BOM) if number == 0 else line
        if not text.strip(b" \t\r"):
            continue
        try:
            text.decode()
            seen.append((ordinal, "event", CODEC.decode(text)))
        except ValueError:
            seen.append((ordinal, "bad", text.removesuffix(b"\r")))
    return seen, first + len(lines)


def seen_in(chunk: Chunk) -> list[Seen]:
    decoded = chunk.decode(CODEC)
    events = [(ordinal, "event", event) for ordinal, event in zip(decoded.ordinals, decoded.events, strict=True)]
    return sorted([*events, *((bad.ordinal, "bad", bad.raw) for bad in decoded.bad)], key=lambda entry: entry[0])


def through_json(position: Position) -> Position:
    copy: Position = json.loads(json.dumps(position))
    return copy


lines = st.one_of(
    st.builds(lambda n: b'{"n": %d}' % n, st.integers(0, 99)),
    st.builds(lambda n, text: json.dumps({"n": n, "text": text}, ensure_ascii=False).encode(), st.integers(), st.text(
        st.characters(exclude_categories=["Cs"]), max_size=10)),
    st.sampled_from([b"", b" ", b"\t", b"{", b'{"n": "x"}', b'{"n": 1}{"n": 2}', b'{"n":', b"1}", b"\xff\xfe", BOM]),
    st.builds(lambda size: b'{"n": 1, "text": "%s"}' % (b"x" * size), st.sampled_from([100, 279, 280, 281, 900])),
    st.binary(max_size=8).filter(lambda data: b"\n" not in data),
)  # fmt: skip
contents = st.builds(
    lambda bom, pairs, cut: (bom + b"".join(line + end for line, end in pairs))[: -cut or None],
    st.sampled_from([b"", b"", BOM]),
    st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\n", b"\r\n"])), max_size=30),
    st.sampled_from([0, 0, 1, 2, 5]),
).filter(lambda content: not re.match(rb"\x1f\x8b|\x28\xb5|[\x50-\x5f]\x2a|BZ|\xfd7|PK", content))
"""Logs, with any kind of line, that do not look like another format."""
sizes = st.sampled_from([1, 7, 40, 150, 10_000])


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class Growing:
    """A file that another program writes: content goes in as pieces, raw bytes come out with any cuts."""

    def __init__(self, path: Path, packer: str) -> None:
        self.path = path
        self.content = b""
        self._packer = packer
        self._raw = b""
        self._gzip = zlib.compressobj(wbits=31)
        self._zstd = zstandard.ZstdCompressor().compressobj()
        path.touch()

    def append(self, content: bytes, *, keep_back: int = 0) -> None:
        """Add content; the last `keep_back` raw bytes are not in the file yet."""
        self.content += content
        self._raw += self._packed(content)
        self._write(max(0, len(self._raw) - keep_back))

    def finish(self) -> None:
        if self._packer == "gz stream":
            self._raw += self._gzip.flush()
        elif self._packer == "zst stream":
            self._raw += self._zstd.flush()
        self._write(len(self._raw))

    def _packed(self, content: bytes) -> bytes:
        if self._packer == "gz members":
            return gzip.compress(content)
        if self._packer == "gz stream":
            return self._gzip.compress(content) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        if self._packer == "zst frames":
            return zstandard.ZstdCompressor().compress(content)
        if self._packer == "zst stream":
            return self._zstd.compress(content) + self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return content

    def _write(self, size: int) -> None:
        with self.path.open("ab") as file:
            file.write(self._raw[:size])
        self._raw = self._raw[size:]


@dataclass
class Session:
    """One reader after the other on the same log, with what they saw."""

    open_reader: Callable[[Optional[Position], bool], PartitionReader]
    position: Optional[Position] = None
    seen: list[Seen] = field(default_factory=list)
    reader: Optional[PartitionReader] = None

    def reopen(self, *, follow: bool) -> None:
        if self.reader is not None:
            self.position = through_json(self.reader.position())
            self.reader.close()
        self.reader = self.open_reader(self.position, follow)

    def read(self, size: int) -> bool:
        assert self.reader is not None
        chunk = self.reader.read(size)
        if chunk is not None:
            self.seen += seen_in(chunk)
        return chunk is not None

    def read_to_end(self, size: int) -> None:
        assert self.reader is not None
        while self.read(size) or not self.reader.at_end:
            pass

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()


steps = st.one_of(
    st.tuples(st.just("read"), sizes),
    st.tuples(st.just("read"), sizes),
    st.tuples(st.just("reopen"), st.just(0)),
    st.tuples(st.just("append"), st.integers(0, 30)),
)


@pytest.mark.parametrize("packer", ["plain", "gz members", "gz stream", "zst frames", "zst stream"])
@settings(max_examples=200, deadline=None)
@given(content=contents, script=st.lists(steps, max_size=25), size=sizes, data=st.data())
def test_one_file(packer: str, content: bytes, script: list[tuple[str, int]], size: int, data: st.DataObject) -> None:
    appends = sum(step == "append" for step, _ in script)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), min_size=appends, max_size=appends)))
    with folder() as base:
        log = Growing(base / ("log" if packer == "plain" else f"log.{packer[:3].strip()}"), packer)
        session = Session(
            lambda position, follow: FileReader(str(log.path), position, follow=follow, max_line_bytes=MAX_LINE_BYTES)
        )
        session.reopen(follow=True)
        for step, number in script:
            if step == "read":
                session.read(number)
                assert session.reader is not None
                assert not session.reader.at_end
            elif step == "reopen":
                session.reopen(follow=True)
            else:
                log.append(content[len(log.content) : cuts.pop(0)], keep_back=number)
        log.append(content[len(log.content) :])
        log.finish()
        session.reopen(follow=False)
        session.read_to_end(size)
        session.close()
    assert session.seen == model(content)[0]


@settings(max_examples=200, deadline=None)
@given(
    content=contents, script=st.lists(st.tuples(st.floats(0, 1), sizes), max_size=6), follow=st.booleans(), size=sizes
)
def test_runs_that_end_within_lines(content: bytes, script: list[tuple[float, int]], follow: bool, size: int) -> None:
    """Half lines at the end of a run are records of their own (mostly bad ones); the whole ones come once and alike."""
    with folder() as base:
        log = Growing(base / "log", "plain")
        session = Session(
            lambda position, follow: FileReader(str(log.path), position, follow=follow, max_line_bytes=MAX_LINE_BYTES)
        )
        for share, read_size in sorted(script):
            log.append(content[len(log.content) : int(share * len(content))])
            session.reopen(follow=False)
            session.read_to_end(read_size)
        log.append(content[len(log.content) :])
        if follow:
            session.reopen(follow=True)
            while session.read(size):
                pass
        session.reopen(follow=False)
        session.read_to_end(size)
        session.close()
    assert_complete(session.seen, model(content)[0])


def assert_complete(seen: list[Seen], expected: list[Seen]) -> None:
    """All that was expected came in order, events once; half lines may have come before the whole ones."""
    bad_ordinals = {ordinal for ordinal, kind, _ in expected if kind == "bad"}
    good = [entry for entry in seen if entry[1] == "event" and entry[0] not in bad_ordinals]
    assert good == [entry for entry in expected if entry[1] == "event"]
    last = {ordinal: (kind, without_end(value)) for ordinal, kind, value in seen}
    for ordinal, kind, value in expected:
        assert last[ordinal] == (kind, without_end(value))
    assert [ordinal for ordinal, _, _ in seen] == sorted(ordinal for ordinal, _, _ in seen)


def without_end(value: Any) -> Any:
    """White space that is added to a half line is not read for its own sake."""
    return value.rstrip(b" \t\r") if isinstance(value, bytes) else value


def values(seen: list[Seen], kind: str) -> list[Any]:
    return sorted((without_end(value) for _, kind_seen, value in seen if kind_seen == kind), key=repr)


@settings(max_examples=200, deadline=None)
@given(
    content=contents,
    share=st.floats(0, 1),
    split=st.integers(1, 4),
    stripe_bytes=st.sampled_from([1, 3, 16, 64, 500]),
    script=st.lists(st.tuples(st.integers(0, 3), sizes, st.booleans()), max_size=15),
    size=sizes,
)
def test_split_file(
    content: bytes, share: float, split: int, stripe_bytes: int, script: list[tuple[int, int, bool]], size: int
) -> None:
    def open_share(index: int) -> Callable[[Optional[Position], bool], PartitionReader]:
        return lambda position, follow: StripeReader(
            str(path),
            position,
            index=index,
            split=split,
            stripe_bytes=stripe_bytes,
            max_line_bytes=MAX_LINE_BYTES,
        )

    with folder() as base:
        path = base / "log"
        first = int(share * len(content))
        path.write_bytes(content[:first])
        sessions = [Session(open_share(index)) for index in range(split)]
        for session in sessions:
            session.reopen(follow=False)
        for index, read_size, reopen in script:
            session = sessions[index % split]
            session.read(read_size)
            if reopen:
                session.reopen(follow=False)
        for session in sessions:
            session.read_to_end(size)
        path.write_bytes(content)
        for session in sessions:
            session.reopen(follow=False)
            session.read_to_end(size)
            session.close()
    expected = model(content)[0]
    found = [entry for session in sessions for entry in session.seen]
    half_line = model(content[:first])[0][-1:] if content[:first][-1:] != b"\n" else []
    for kind in ("event", "bad"):
        assert values(found, kind) in (values(expected, kind), values(expected + half_line, kind))
    for session in sessions:
        ordinals = [ordinal for ordinal, kind, _ in session.seen if kind == "event"]
        assert ordinals == sorted(set(ordinals))


rotated_steps = st.one_of(
    st.tuples(st.just("read"), sizes),
    st.tuples(st.just("read"), sizes),
    st.tuples(st.just("reopen"), st.just(0)),
    st.tuples(st.just("end"), sizes),
    st.tuples(st.just("rotate"), st.just(0)),
    st.tuples(st.just("append"), contents),
)


@settings(max_examples=200, deadline=None)
@given(script=st.lists(st.tuples(st.booleans(), rotated_steps), max_size=25), size=sizes)
def test_rotated_log(script: list[tuple[bool, tuple[str, Any]]], size: int) -> None:
    contents_by_name: dict[str, bytes] = {}
    with folder() as base:

        def find() -> dict[str, str]:
            return {path.name: str(path) for path in sorted(base.iterdir())}

        session = Session(lambda position, follow: RotatedReader(find, position, follow=follow))
        session.reopen(follow=True)
        for compress, (step, argument) in script:
            if step == "read":
                session.read(argument)
            elif step == "reopen":
                session.reopen(follow=True)
            elif step == "end":
                session.reopen(follow=False)
                session.read_to_end(argument)
                session.reopen(follow=True)
            elif step == "append" and contents_by_name:
                name = max(contents_by_name)
                content = argument.replace(b"x" * 60, b"x")
                contents_by_name[name] += content
                with (base / name).open("ab") as file:
                    file.write(content)
            elif step == "rotate":
                former = max(contents_by_name, default=None)
                name = f"log-{len(contents_by_name):02d}"
                contents_by_name[name] = b""
                (base / name).touch()
                if compress and former is not None:
                    (base / f"{former}.gz").write_bytes(gzip.compress(contents_by_name[former]))
                    (base / former).unlink()
        session.reopen(follow=False)
        session.read_to_end(size)
        session.close()
    expected: list[Seen] = []
    ordinal = 0
    for content in contents_by_name.values():
        seen, ordinal = model(content, ordinal)
        expected += seen
    assert_complete(session.seen, expected)
    if all(step != "end" for _, (step, _) in script):
        assert session.seen == expected
