cimport cython

from headway.state.layered cimport LayeredMap
from headway.state.queue cimport EntryQueue, is_before


@cython.final
cdef class TimerIndex:
    cdef public LayeredMap _map
    cdef Py_ssize_t _window
    cdef object _load_next
    cdef public tuple _end
    cdef public EntryQueue near
    cdef public dict _dead
    cdef public Py_ssize_t _count

    @cython.locals(near=bint)
    cpdef add(self, tuple entry)
    cpdef discard(self, tuple entry)
    @cython.locals(near=EntryQueue, dead=dict, entry=tuple)
    cpdef pop_due(self, long long limit_ms)
