"""Standard input and output."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any, Optional

import pytest

from headway.connectors.stdin import StdinInput, stdin
from headway.connectors.stdout import to_stdout
from headway.errors import InputError, OutputError
from headway.types.decoding import LineCodec
from headway.types.schema import Json

CODEC = LineCodec(Json)


class Pipe:
    """A pipe that stands in for standard input."""

    def __init__(self) -> None:
        self.source, self._sink = os.pipe()
        self._open = True

    def send(self, data: bytes) -> None:
        os.write(self._sink, data)

    def hang_up(self) -> None:
        if self._open:
            os.close(self._sink)
            self._open = False


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.hang_up()
    os.close(pipe.source)


def read(reader: Any) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while (chunk := reader.read(1000)) is not None:
        decoded = chunk.decode(CODEC)
        assert decoded.bad == []
        found += [(ordinal, event["n"]) for ordinal, event in zip(decoded.ordinals, decoded.events, strict=True)]
    return found


def test_names() -> None:
    assert stdin() == StdinInput(0)
    assert stdin().partitions() == ["stdin"]
    assert stdin().describe() == "stdin"


def test_never_waits(pipe: Pipe) -> None:
    reader = StdinInput(pipe.source).open("stdin", None, follow=False)
    assert reader.read(1000) is None
    assert not reader.at_end
    pipe.send(b'\xef\xbb\xbf{"n": 1}\r\n\r\n{"n": 2}\n{"n"')
    assert read(reader) == [(0, 1), (2, 2)]
    assert reader.position() == {"offset": 24, "ordinal": 3}
    pipe.send(b": 3}")
    assert read(reader) == []
    assert not reader.at_end
    pipe.hang_up()
    assert read(reader) == [(3, 3)]
    assert reader.at_end
    assert reader.position() == {"offset": 32, "ordinal": 4}


def test_the_end_is_final_also_while_following(pipe: Pipe) -> None:
    reader = StdinInput(pipe.source).open("stdin", None, follow=True)
    pipe.send(b'{"n": 1}\n{"n": 2}')
    pipe.hang_up()
    assert read(reader) == [(0, 1), (1, 2)]
    assert read(reader) == []
    assert reader.at_end


def test_a_resumed_run_goes_on_counting(pipe: Pipe) -> None:
    pipe.send(b'\xef\xbb\xbf{"n": 8}\n{\n')
    reader = StdinInput(pipe.source).open("stdin", {"offset": 100, "ordinal": 7}, follow=False)
    chunk = reader.read(1000)
    assert chunk is not None
    decoded = chunk.decode(CODEC)
    assert (decoded.events, list(decoded.ordinals)) == ([{"n": 8}], [7])
    assert (decoded.bad[0].ordinal, decoded.bad[0].position) == (8, "line 9, byte 112")


def test_large_input_in_small_pieces() -> None:
    code = (
        "from headway.connectors.stdin import stdin\n"
        "from headway.types.decoding import LineCodec\n"
        "from headway.types.schema import Json\n"
        "reader = stdin().open('stdin', None, follow=False)\n"
        "numbers = []\n"
        "while not reader.at_end:\n"
        "    chunk = reader.read(10_000)\n"
        "    if chunk is not None:\n"
        "        numbers += [event['n'] for event in chunk.decode(LineCodec(Json)).events]\n"
        "assert numbers == list(range(20_000))\n"
        "print(reader.position())\n"
    )
    lines = b"".join(b'{"n": %d}\n' % number for number in range(20_000))
    done = subprocess.run([sys.executable, "-c", code], input=lines, capture_output=True, check=True)
    assert done.stdout == b"{'offset': %d, 'ordinal': 20000}\n" % len(lines)


def test_closed_standard_input() -> None:
    source, sink = os.pipe()
    os.close(source)
    os.close(sink)
    reader = StdinInput(source).open("stdin", None, follow=False)
    with pytest.raises(InputError, match=r"cannot read standard input: Bad file descriptor; expected an open stream"):
        reader.read(1000)


def test_stdout(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output = to_stdout()
    assert output.describe() == "stdout"
    writer = output.open(None, mark=None)
    assert not writer.transactional
    writer.write([])
    writer.write([b'{"n": 1}', b'{"n": 2}'])
    assert capfdbinary.readouterr().out == b'{"n": 1}\n{"n": 2}\n'
    assert writer.position() == {}
    writer.close()


def test_stdout_whose_reader_has_gone() -> None:
    code = (
        "import sys\n"
        "from headway.connectors.stdout import to_stdout\n"
        "from headway.errors import OutputError\n"
        "writer = to_stdout().open(None, mark=None)\n"
        "sys.stdin.read()\n"
        "try:\n"
        "    writer.write([b'x' * 100_000])\n"
        "except OutputError as error:\n"
        "    print(error, file=sys.stderr)\n"
    )
    source, sink = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.PIPE
    ) as process:
        os.close(source)
        os.close(sink)
        _, errors = process.communicate(b"")
    assert process.returncode == 0
    assert errors.startswith(b"standard output was closed by its reader (such as `head`): expected it to stay open")
    assert errors.count(b"\n") == 1


def test_stdout_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "wb") as full:
        stream = io.TextIOWrapper(full)
        monkeypatch.setattr(sys, "stdout", stream)
        writer = to_stdout().open(None, mark=None)
        with pytest.raises(OutputError, match=r"cannot write to standard output: No space left on device; check where"):
            writer.write([b"1"])
        stream.detach()


class Slow(io.RawIOBase):
    """The end of a pipe that was made non-blocking, and that takes nothing at every other call."""

    def __init__(self, fd: int) -> None:
        self.taken = b""
        self._fd = fd
        self._is_full = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any) -> Optional[int]:
        self._is_full = not self._is_full
        if self._is_full:
            return None
        self.taken += bytes(data[:7])
        return min(len(data), 7)


def test_stdout_that_is_slow_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is full while the lines are written, or when they are to leave."""
    with open(os.devnull, "wb") as ready:
        for size in (1, 50, 20_000):
            slow = Slow(ready.fileno())
            stream = io.TextIOWrapper(io.BufferedWriter(slow), encoding="utf-8")
            monkeypatch.setattr(sys, "stdout", stream)
            to_stdout().open(None, mark=None).write([b"x" * size])
            assert slow.taken == b"x" * size + b"\n"


def test_stdout_that_takes_text_only() -> None:
    with redirect_stdout(io.StringIO()) as told:
        to_stdout().open(None, mark=None).write(['{"n": "é"}'.encode(), b"2"])
    assert told.getvalue() == '{"n": "é"}\n2\n'


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(("stream", "told"), [(None, "has no standard output"), (closed(), "closed file")])
def test_stdout_that_is_not_there(monkeypatch: pytest.MonkeyPatch, stream: Any, told: str) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(OutputError, match=told):
        to_stdout().open(None, mark=None).write([b"1"])
