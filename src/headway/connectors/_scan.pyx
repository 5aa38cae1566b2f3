# cython: language_level=3
"""Scanning bytes for line ends. The twin in Python is in `headway.connectors.lines`."""

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
