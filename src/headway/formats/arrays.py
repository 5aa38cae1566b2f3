"""Arrays of Arrow as lists of Python values: what the columns of a file hold, for the fields of events.

Arrow's own `to_pylist` takes 30 ns for a text, and up to 400 ns for other values, which it makes by way of a scalar.
Numbers and times go through NumPy: 15 to 20 ns each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, Final, Optional

import msgspec

from headway.basics.times import parse_time

__all__ = [
    "as_milliseconds",
    "chosen_rows",
    "column_type",
    "flags",
    "holding",
    "json_values",
    "kind_of",
    "milliseconds_of",
    "numbers_of",
    "values_of",
]

_MILLISECONDS: Final = {"s": (1_000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}
_COMPARED: Final[Mapping[str, type]] = {"text": str, "integer": int}
"""Kinds of columns of which Arrow finds equal what Python finds equal, with values of this type."""
_DAY_MS: Final = 86_400_000
_TYPES_KNOWN: Final = 1_024
"""To look at a type takes as long as making a hundred values of it."""
_FAR: Final = 2**52
"""Beyond it are no times, in whatever unit; small enough to be multiplied."""


@lru_cache(maxsize=_TYPES_KNOWN)
def kind_of(arrow_type: Any) -> str:
    """What values of an Arrow type are, in a word: the kinds of which `headway.formats.columns` says what takes them.

    >>> import pyarrow as pa
    >>> kind_of(pa.dictionary(pa.int8(), pa.string())), kind_of(pa.timestamp("ns")), kind_of(pa.list_(pa.int8()))
    ('text', 'instant', 'list')
    """
    from pyarrow import types

    arrow_type = column_type(arrow_type)
    tests: tuple[tuple[str, Callable[[Any], bool]], ...] = (
        ("text", types.is_string),
        ("text", types.is_large_string),
        ("integer", types.is_integer),
        ("float", types.is_floating),
        ("boolean", types.is_boolean),
        ("instant", types.is_timestamp),
        ("date", types.is_date),
        ("time", types.is_time),
        ("duration", types.is_duration),
        ("decimal", types.is_decimal),
        ("bytes", types.is_binary),
        ("bytes", types.is_large_binary),
        ("bytes", types.is_fixed_size_binary),
        ("list", types.is_list),
        ("list", types.is_large_list),
        ("list", types.is_fixed_size_list),
        ("map", types.is_map),
        ("record", types.is_struct),
        ("null", types.is_null),
    )
    return next((kind for kind, test in tests if test(arrow_type)), "other")


def column_type(arrow_type: Any) -> Any:
    """The type of a column's values: for one of a dictionary, that of the values in it."""
    import pyarrow as pa

    return arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type


def values_of(array: Any) -> list[Any]:
    """The values of an array, None for nulls. Text that is not UTF-8 raises `UnicodeDecodeError`.

    Instants are datetimes, in UTC where the column has a zone and without a zone where it has none; what is finer than
    microseconds is cut off. Records and maps are dicts.

    >>> import pyarrow as pa
    >>> values_of(pa.array([1, None, 3])), values_of(pa.array([["a"], []])), values_of(pa.array([0], pa.timestamp("s")))
    ([1, None, 3], [['a'], []], [datetime.datetime(1970, 1, 1, 0, 0)])
    """
    import pyarrow as pa

    kind = kind_of(array.type)
    if pa.types.is_dictionary(array.type):
        if kind in ("list", "map", "record"):  # Each row has one of its own.
            return values_of(array.dictionary.take(array.indices))
        return _picked(values_of(array.dictionary), array)
    if kind in ("integer", "float") and not pa.types.is_float16(array.type):
        return _numbers(array)
    if kind == "text":  # Without an option it is ten times as fast.
        return array.to_pylist()  # type: ignore[no-any-return]
    if kind == "boolean" and array.null_count == 0:
        return array.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]
    coarse = _coarse(array.type)
    plain = array if coarse == array.type else array.cast(coarse, safe=False)
    return plain.to_pylist(maps_as_pydicts="strict")  # type: ignore[no-any-return]


def holding(array: Any, wanted: Collection[Any]) -> Optional[bytes]:
    r"""The mask of an array's elements that are among these values; None where Arrow does not compare as Python does.

    It costs 1 to 10 ns an element, for text and whole numbers without nulls.

    >>> import pyarrow as pa
    >>> holding(pa.array(["add", "view", "add"]), {"add", "remove"}), holding(pa.array([1, 2]), {1.0})
    (b'\x01\x00\x01', None)
    """
    import pyarrow as pa
    from pyarrow import compute

    expected = _COMPARED.get(kind_of(array.type))
    if array.null_count or expected is None or not all(type(value) is expected for value in wanted):
        return None
    if pa.types.is_dictionary(array.type):
        of_values = holding(array.dictionary, wanted)
        return None if of_values is None else bytes(flags(of_values)[array.indices.to_numpy()])
    try:
        values = pa.array(list(wanted), array.type)
    except (ValueError, OverflowError):  # Text with a lone surrogate, or a number that the column cannot hold.
        return None
    return bytes(compute.is_in(array, value_set=values).to_numpy(zero_copy_only=False))


def chosen_rows(batch: Any, mask: bytes) -> Any:
    r"""The rows of a record batch that a mask chooses.

    >>> import pyarrow as pa
    >>> chosen_rows(pa.record_batch({"n": [1, 2, 3]}), b"\x01\x00\x01").to_pydict()
    {'n': [1, 3]}
    """
    import numpy as np
    import pyarrow as pa

    return batch.take(pa.array(np.flatnonzero(flags(mask))))


def flags(mask: bytes) -> Any:
    """A mask as an array of NumPy."""
    import numpy as np

    return np.frombuffer(mask, np.bool_)


def as_milliseconds(array: Any) -> list[Any]:
    """Instants, days, numbers and RFC 3339 text as epoch milliseconds; an instant without a zone is one in UTC.

    What is finer than milliseconds is cut off, towards the past. Raises `ValueError` for text that is no time.

    >>> import pyarrow as pa
    >>> as_milliseconds(pa.array([1_500_000, None, -1], pa.timestamp("ns")))
    [1, None, -1]
    """
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        return _picked(as_milliseconds(array.dictionary), array)
    kind = kind_of(array.type)
    if kind == "text":
        return [None if text is None else parse_time(text) for text in values_of(array)]
    if kind not in ("date", "instant"):
        return values_of(array)
    found = _in_unit(array).tolist()
    return _masked(found, array) if array.null_count else found


def milliseconds_of(array: Any) -> Any:
    """What `as_milliseconds` lists, as an array of NumPy; None for text, and where there are nulls.

    >>> import pyarrow as pa
    >>> milliseconds_of(pa.array([1_500_000, -1], pa.timestamp("ns"))).tolist()
    [1, -1]
    """
    if array.null_count or hasattr(array, "dictionary") or kind_of(array.type) not in ("date", "instant"):
        return numbers_of(array)
    return _in_unit(array)


def numbers_of(array: Any) -> Any:
    """The whole numbers of an array as one of NumPy; None for other values, and where there are nulls.

    >>> import pyarrow as pa
    >>> numbers_of(pa.array([1, 2])).tolist(), numbers_of(pa.array([1, None])), numbers_of(pa.array([1.0]))
    ([1, 2], None, None)
    """
    if array.null_count or hasattr(array, "dictionary") or kind_of(array.type) != "integer":
        return None
    return array.to_numpy(zero_copy_only=False)


def _in_unit(array: Any) -> Any:
    """Instants or days as milliseconds, an array of NumPy, with some number for a null."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    if kind_of(array.type) == "date":
        factor, divisor = _DAY_MS, 1
        counts = array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    else:
        factor, divisor = _MILLISECONDS[array.type.unit]
        counts = array.cast(pa.timestamp(array.type.unit)).cast(pa.int64())
    found = (compute.fill_null(counts, 0) if counts.null_count else counts).to_numpy(zero_copy_only=False)
    if factor > 1:
        found = np.clip(found, -_FAR, _FAR) * factor
    return found // divisor if divisor > 1 else found


def _numbers(array: Any) -> list[Any]:
    from pyarrow import compute

    if not array.null_count:
        return array.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]
    # As numbers with nulls, NumPy would have integers as floats.
    return _masked(compute.fill_null(array, 0).to_numpy(zero_copy_only=False).tolist(), array)


def _masked(values: list[Any], array: Any) -> list[Any]:
    is_there = array.is_valid().to_numpy(zero_copy_only=False).tolist()
    return [value if there else None for value, there in zip(values, is_there)]


def _picked(known: list[Any], array: Any) -> list[Any]:
    """The values of a dictionary array, of whose dictionary these are the values: one object for each of them."""
    if array.null_count:
        return [None if index is None else known[index] for index in _numbers(array.indices)]
    return list(map(known.__getitem__, array.indices.to_numpy(zero_copy_only=False).tolist()))


def _coarse(arrow_type: Any) -> Any:
    """The type with microseconds in place of nanoseconds, which Python does not have, down to its last part."""
    import pyarrow as pa

    if pa.types.is_timestamp(arrow_type) and (arrow_type.unit == "ns" or arrow_type.tz not in (None, "UTC")):
        return pa.timestamp("us" if arrow_type.unit == "ns" else arrow_type.unit, arrow_type.tz and "UTC")
    if pa.types.is_time64(arrow_type):
        return pa.time64("us")
    if pa.types.is_duration(arrow_type) and arrow_type.unit == "ns":
        return pa.duration("us")
    if pa.types.is_struct(arrow_type):
        parts = [arrow_type.field(index) for index in range(arrow_type.num_fields)]
        return pa.struct([part.with_type(_coarse(part.type)) for part in parts])
    if pa.types.is_map(arrow_type):
        return pa.map_(_coarse(arrow_type.key_type), _coarse(arrow_type.item_type))
    if kind_of(arrow_type) == "list":
        part = arrow_type.value_field.with_type(_coarse(arrow_type.value_type))
        return pa.large_list(part) if pa.types.is_large_list(arrow_type) else pa.list_(part)
    if pa.types.is_dictionary(arrow_type):
        return _coarse(arrow_type.value_type)
    return arrow_type


def json_values(values: list[Any]) -> list[Any]:
    """Values as JSON has them: a datetime is RFC 3339 text, bytes are Base64, a decimal is text."""
    return msgspec.to_builtins(values)  # type: ignore[no-any-return]
