cimport cython


@cython.final
cdef class EntryQueue:
    cdef list _run
    cdef Py_ssize_t _head
    cdef list _heap
    cdef public tuple first

    cpdef push(self, tuple entry)
    @cython.locals(run=list, head=Py_ssize_t)
    cpdef pop(self)
    cpdef _find_first(self)
