"""The stateless steps behind a source whose failed events are set aside: block by block, and event by event if need be.

A block of events goes through all steps at once. When code of the flow fails on one of them, what the block has become
so far is taken back, and the events go through alone, or in halves. The unit is one event with all that becomes of it,
on all branches: it is set aside as a whole, so that it can be read once more when it, or the code, has been mended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from headway.connectors.base import Chunk, Decoded
from headway.errors import is_of_the_flow
from headway.runtime.columns import ColumnProgram, Columns
from headway.runtime.rejects import Rejects, Unusable
from headway.types.typeinfo import is_immutable

__all__ = ["Trial"]


class Trial:
    """Runs programs on blocks of events; what fails goes to `rejects`.

    Where nothing fails it costs a microsecond a block. Where events can be changed by the steps, a block with a failed
    one is decoded anew, since nobody knows what has been changed; else it is halved until the failed ones are alone.
    """

    def __init__(self, rejects: Rejects, decode: Callable[[Chunk], Decoded], event_type: Any) -> None:
        self._rejects = rejects
        self._decode = decode
        self._are_safe = is_immutable(event_type)
        self._chunk: Optional[Chunk] = None

    def begin(self, chunk: Chunk) -> None:
        """The blocks that follow are of this chunk."""
        self._chunk = chunk

    def run(self, program: ColumnProgram, columns: Columns, partition: str) -> None:
        """Run the steps on events of one partition, in their order."""
        if not columns.values or self._succeeds(program, columns, partition):
            return
        if self._are_safe or len(columns.values) == 1:
            todo = _halves(columns)
        else:
            todo = [_part(columns, at, at + 1) for at in reversed(range(len(columns.values)))]
        if not self._are_safe:
            fresh = self._decoded()
            todo = [part._replace(values=[fresh[ordinal] for ordinal in part.ordinals]) for part in todo]
        while todo:
            part = todo.pop()
            if not self._succeeds(program, part, partition, may_fail=len(part.values) == 1):
                todo += _halves(part)

    def _succeeds(self, program: ColumnProgram, columns: Columns, partition: str, *, may_fail: bool = False) -> bool:
        """Run the steps; False when they were to run without a failure, and nothing has come of it."""
        mark = program.mark()
        try:
            program.run(columns, partition)
        except BaseException as error:
            if not isinstance(error, Unusable) and not is_of_the_flow(error):
                raise
            program.take_back(mark)
            if not may_fail:
                return False
            if isinstance(error, Unusable):
                self._rejects.reject(error.ordinal, error.reason)
            else:
                self._rejects.fail(columns.ordinals[0], error, columns.times[0])
        return True

    def _decoded(self) -> dict[Any, Any]:
        """The chunk's events once more, by their numbers."""
        assert self._chunk is not None
        decoded = self._decode(self._chunk)
        return dict(zip(decoded.ordinals, decoded.events))


def _halves(columns: Columns) -> list[Columns]:
    """The second half and the first one, to be taken from the end; one event stays whole."""
    count = len(columns.values)
    if count == 1:
        return [columns]
    middle = count // 2
    return [_part(columns, middle, count), _part(columns, 0, middle)]


def _part(columns: Columns, start: int, end: int) -> Columns:
    return Columns(columns.times[start:end], columns.ordinals[start:end], columns.values[start:end])
