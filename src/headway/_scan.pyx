# cython: language_level=3
"""Loops over bytes and numbers, in C. Their twins in Python are in `headway.scanning`."""

from libc.string cimport memchr


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
