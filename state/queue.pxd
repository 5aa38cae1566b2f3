cimport cython


cpdef bint is_before(tuple one, tuple other)


@cython.final
cdef class EntryQueue:
    cdef list _run
    cdef Py_ssize_t _head
    cdef list _heap
    cdef public tuple first
    cdef public long long first_ms

    cpdef push(self, tuple entry)
    @cython.locals(run=list, head=Py_ssize_t)
    cpdef pop(self)
    @cython.locals(first=tuple)
    cpdef _find_first(self)
