"""The output `to_parquet`: files of Parquet, one for each span of time, written exactly once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Optional, Union

from headway.basics.guarantees import Guarantee
from headway.basics.needed import needed
from headway.basics.times import Duration, duration_ms
from headway.basics.utf8 import is_utf8
from headway.connectors.base import Output, OutputWriter, Position
from headway.errors import UsageError
from headway.formats.tables import TableRows, table_of

__all__ = ["ParquetOutput", "to_parquet"]

_TIMES: Final = ("time", "datetime")
_GROUPS: Final = ("text", "integer", "boolean")


def to_parquet(
    directory: Union[str, os.PathLike[str]],
    *,
    every: Duration = "1h",
    time: Optional[str] = None,
    wait: Optional[Duration] = None,
    by: Union[str, Sequence[str]] = (),
    row: Any = None,
) -> Output:
    """Write rows to files of Parquet in a directory: one file for each span of time, such as `2024-05-01T10.parquet`.

    `every` is how long a span is, counted from 1970 in UTC; `time` names the field that says which span a value is
    about, by default it is the trigger's time. `by` names one field or several whose values divide the rows further:
    each value has a folder, such as `bern/2024-05-01T10.parquet`. The columns are the fields of the stream's type, or
    of `row` where the stream has none; of a trigger they are `id`, `type`, `source`, `subject`, `time` and `data`.

    A file appears when it is complete, and never changes. Its span is closed when time has passed its end, with `time=`
    another `wait` later (by default `every`): from then on what is about it goes to a file of its own, such as
    `2024-05-01T10.late-2024-05-01T13.parquet`. So in which file a row is, and at which place, is a function of the log.
    While a span is open its rows are lines of JSON in the folder `_open` of the directory, on disk and not in memory.
    When the books are closed (`--drain`), all spans are.

    Exactly once: rows count up to the last durable epoch, and a file takes its place once the epoch is durable that
    has closed it. Making it takes some 5 µs a row, in a thread beside the flow, and memory for 32,768 rows. Each epoch
    costs one `fsync` for each file to which it has added rows; at most 10,000 spans and folders are open at a time.

    What a class has becomes what Arrow has: numbers, text, booleans, bytes, instants, days, durations, lists, maps and
    records. `Time` is an instant in milliseconds, in UTC. `Decimal`, `UUID` and times of day are text; what Arrow has
    no one type for, such as a union or `Json`, is JSON as text. Needs the extra `parquet`. Raises `UsageError` for
    options that are none. The writer raises `OutputError` for a whole number of more than 64 bits.

    >>> to_parquet("lake/orders", every="1d", time="placed", by="country").describe()
    'parquet files in lake/orders'
    """
    text = os.fspath(directory)
    if not isinstance(text, str) or not text or not is_utf8(text):
        msg = f"to_parquet({directory!r}): expected the path of a directory as UTF-8 text, such as 'lake/orders'"
        raise UsageError(msg)
    every_ms = duration_ms(every, what="every")
    if every_ms < 1_000:
        msg = f'to_parquet(..., every={every!r}): expected a second or more, such as "1h"'
        raise UsageError(msg)
    if wait is not None and time is None:
        msg = (
            f"to_parquet(..., wait={wait!r}) says how long a span waits for rows that are about it, which goes with "
            'time=: name the field that says when, such as time="placed"'
        )
        raise UsageError(msg)
    wait_ms = duration_ms(wait, what="wait") if wait is not None else every_ms if time is not None else 0
    names = (by,) if isinstance(by, str) else tuple(by)
    for name in (*names, *([] if time is None else [time])):
        if not isinstance(name, str) or not name:
            msg = f"to_parquet(...): {name!r} names no field: expected text, such as 'country'"
            raise UsageError(msg)
    return ParquetOutput(text, every_ms, time, wait_ms, names, row)


@dataclass(frozen=True)
class ParquetOutput(Output):
    """What `to_parquet` returns."""

    directory: str
    every_ms: int
    time: Optional[str]
    wait_ms: int
    by: tuple[str, ...]
    row: Any = None
    table: Optional[TableRows] = None
    """What rows are; None until the type of the values is known."""

    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    is_folder: ClassVar[bool] = True

    def of_values(self, value_type: Any, *, in_triggers: bool) -> Output:
        """The same output with the columns of a type. Raises `UsageError` for fields that it does not have."""
        table = table_of(value_type if self.row is None else self.row, in_triggers=in_triggers)
        for option, names, kinds in (("time", [self.time] if self.time else [], _TIMES), ("by", self.by, _GROUPS)):
            for name in names:
                if table.kinds.get(name) not in kinds:
                    wanted = "one that says when (hw.Time, datetime)" if kinds is _TIMES else "one of text or numbers"
                    fit = [field for field, kind in table.kinds.items() if kind in kinds]
                    msg = (
                        f"to_parquet(..., {option}={name!r}): expected the name of a field, {wanted}; the type of the "
                        f"values has {', '.join(fit) or 'none'}"
                    )
                    raise UsageError(msg)
        return replace(self, table=table)

    @property
    def writes(self) -> Optional[str]:
        """The directory as it was given."""
        return self.directory

    def open(self, position: Optional[Position], *, mark: Optional[str]) -> OutputWriter:
        """Cut the spans that are open back to the position, and complete the files that it says are closed."""
        from headway.connectors.columns.writer import ParquetWriter

        needed("pyarrow", "parquet", "hw.to_parquet(...)")
        if self.table is None:
            msg = "to_parquet(...) writes the values of a stream: give it to stream.to(...) or stream.trigger(...)"
            raise UsageError(msg)
        return ParquetWriter(self, self.table, position, mark)

    def describe(self) -> str:
        """The directory, such as `parquet files in lake/orders`."""
        return f"parquet files in {self.directory}"
