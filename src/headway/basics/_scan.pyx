# cython: language_level=3
"""Loops over bytes, numbers and records, in C. Their twins in Python are in `headway.basics.scanning`."""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint32_t
from libc.string cimport memchr

from operator import itemgetter

cdef object _TIME = itemgetter(0)

cdef uint32_t _CRC_OF_BYTE[256]


cdef void _fill_table():
    """The CRC-32 of each byte, as zlib has it."""
    cdef uint32_t byte, crc
    cdef int bit
    for byte in range(256):
        crc = byte
        for bit in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
        _CRC_OF_BYTE[byte] = crc


_fill_table()


cpdef Py_ssize_t group_of(str key, uint32_t groups) except -1:
    """The key group of `key`, in `range(groups)`: CRC-32 of its UTF-8 bytes, the same everywhere.

    >>> group_of("cart-1", 16)
    4
    """
    cdef Py_ssize_t size
    cdef const unsigned char* at = <const unsigned char*> PyUnicode_AsUTF8AndSize(key, &size)
    cdef const unsigned char* end = at + size
    cdef uint32_t crc = ~<uint32_t> 0
    while at < end:
        crc = (crc >> 8) ^ _CRC_OF_BYTE[(crc ^ at[0]) & 0xFF]
        at += 1
    return ~crc % groups


def sort_records(list records not None, list groups not None):
    """Append each record, a tuple with its key at the second place, to the list of its key group.

    >>> groups = [[], [], []]
    >>> sort_records([(5, "a", None), (6, "b", None), (7, "a", None)], groups)
    >>> groups
    [[], [(5, 'a', None), (7, 'a', None)], [(6, 'b', None)]]
    """
    cdef tuple record
    cdef Py_ssize_t count = len(groups)
    for record in records:
        (<list> groups[group_of(record[1], count)]).append(record)


def sort_columns(list times not None, list keys not None, list values not None, list groups not None):
    """Append `(time, key, value)` to the list of the key's group; the columns are of one length.

    >>> groups = [[], [], []]
    >>> sort_columns([5, 6], ["a", "b"], [None, None], groups)
    >>> groups
    [[], [(5, 'a', None)], [(6, 'b', None)]]
    """
    cdef Py_ssize_t index, count = len(groups)
    cdef str key
    for index in range(len(times)):
        key = keys[index]
        (<list> groups[group_of(key, count)]).append((times[index], key, values[index]))


def count_ends(bytes data not None):
    r"""How many line feeds there are, and how many of them stand between `}` and `{`.

    >>> count_ends(b'{}\n{}\n\n{"a":\n1}')
    (4, 1)
    """
    cdef const char* begin = data
    cdef const char* end = begin + len(data)
    cdef const char* at = begin
    cdef Py_ssize_t ends = 0, borders = 0
    while at < end:
        at = <const char*> memchr(at, b"\n", end - at)
        if at == NULL:
            break
        ends += 1
        if at > begin and at + 1 < end and at[-1] == b"}" and at[1] == b"{":
            borders += 1
        at += 1
    return ends, borders


def span_of(list times not None):
    """The earliest and the latest of these times, and whether they come in order.

    >>> span_of([5, 5, 7]), span_of([5, 7, 6])
    ((5, 7, True), (5, 7, False))
    """
    cdef long long time, earliest, latest, before
    cdef bint ascending = True
    earliest = latest = before = times[0]
    for time in times:
        if time < before:
            ascending = False
            if time < earliest:
                earliest = time
        elif time > latest:
            latest = time
        before = time
    return earliest, latest, ascending


def places_of(bytes mask not None, long long first):
    """The numbers of the bytes that are not 0, where that of the first byte is `first`.

    >>> places_of(b"\\1\\0\\1", 7)
    [7, 9]
    """
    cdef const unsigned char* byte = mask
    cdef Py_ssize_t number
    cdef list found = []
    for number in range(len(mask)):
        if byte[number]:
            found.append(first + number)
    return found


def sort_by_time(list records not None):
    """Put records, tuples with their time at the first place, into its order; equal ones stay as they are.

    Costs a look at each where they are in order already, as they mostly are.

    >>> records = [(7, "a"), (5, "b"), (5, "a")]
    >>> sort_by_time(records), records
    (None, [(5, 'b'), (5, 'a'), (7, 'a')])
    """
    if not records:
        return
    cdef tuple record = records[0]
    cdef long long time, before = record[0]
    for record in records:
        time = record[0]
        if time < before:
            records.sort(key=_TIME)
            return
        before = time


cdef inline bint _is_digit(char byte):
    return 48 <= byte <= 57


def has_long_number(bytes data not None):
    """Whether 19 decimal digits stand in a row somewhere: less are an integer of 64 bits, whatever its sign.

    Looks at every 19th byte, and around those that are digits.

    >>> has_long_number(b"-123456789012345678"), has_long_number(b"[-1234567890123456789]")
    (False, True)
    """
    cdef const char* begin = data
    cdef Py_ssize_t size = len(data), at = 18, first, end
    while at < size:
        if not _is_digit(begin[at]):
            at += 19
            continue
        first = at
        while first > 0 and _is_digit(begin[first - 1]):
            first -= 1
        end = at + 1
        while end < size and _is_digit(begin[end]):
            end += 1
        if end - first >= 19:
            return True
        at = end + 19
    return False


def has_long_fraction(bytes data not None):
    """Whether seven decimal digits follow a point somewhere: a fraction of a second finer than microseconds.

    >>> has_long_fraction(b'"00:00:01.123456Z"'), has_long_fraction(b'"00:00:01.1234567Z"')
    (False, True)
    """
    cdef const char* begin = data
    cdef const char* end = begin + len(data)
    cdef const char* at = begin
    cdef int count
    while at < end:
        at = <const char*> memchr(at, b".", end - at)
        if at == NULL:
            return False
        at += 1
        if end - at < 7:
            return False
        count = 0
        while count < 7 and _is_digit(at[count]):
            count += 1
        if count == 7:
            return True
    return False
