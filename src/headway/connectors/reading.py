"""Reading a bounded log from its beginning, outside of a run: for samples, looks and replays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from headway.connectors.base import Chunk, PartitionReader
from headway.errors import InputError

__all__ = ["CHUNK_BYTES", "PATIENCE_S", "chunks_of", "impatient"]

CHUNK_BYTES: Final = 64 << 10
"""How many bytes are asked for at a time, about."""
PATIENCE_S: Final = 30.0
"""For how long an input may be silent before its end, in seconds."""
_PAUSE_S: Final = 0.01


def chunks_of(
    reader: PartitionReader,
    gives_up: Callable[[float], bool],
    *,
    clock_s: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[Chunk]:
    """The chunks of a reader up to its end.

    A reader of a broker has nothing at first, and is not at its end: it is asked again after 10 ms, each time.
    `gives_up` is called then with the seconds since something last came. It returns True to end here, or raises.
    """
    heard_s = clock_s()
    while not reader.at_end:
        chunk = reader.read(CHUNK_BYTES)
        if chunk is not None:
            yield chunk
            # What the caller did with the chunk is no silence of the input.
            heard_s = clock_s()
        elif not reader.at_end:
            if gives_up(clock_s() - heard_s):
                return
            pause(_PAUSE_S)


def impatient(described: str) -> Callable[[float], bool]:
    """For `chunks_of`: raises `InputError` once the input that `described` names has been silent for 30 seconds."""

    def gives_up(silent_s: float) -> bool:
        if silent_s < PATIENCE_S:
            return False
        msg = (
            f"{described}: nothing has come for {PATIENCE_S:.0f} s, and its end is not reached: check that the server "
            "can be reached, with  headway connect check"
        )
        raise InputError(msg)

    return gives_up
