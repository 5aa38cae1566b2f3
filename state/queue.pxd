cimport cython


@cython.final
cdef class EntryQueue:
    cdef list _run
    cdef Py_ssize_t _head
    cdef long long _last_ms
    cdef list _heap
    cdef public tuple first
    cdef public long long first_ms

    @cython.locals(at_ms="long long")
    cpdef push(self, tuple entry)
    @cython.locals(run=list, head=Py_ssize_t)
    cpdef pop(self)
    @cython.locals(first=tuple, first_ms="long long", entry=tuple, at_ms="long long")
    cpdef _find_first(self)
