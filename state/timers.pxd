cimport cython

from headway.state.layered cimport LayeredMap
from headway.state.queue cimport EntryQueue


@cython.final
cdef class TimerIndex:
    cdef public LayeredMap _map
    cdef object _window
    cdef object _load_next
    cdef public tuple _end
    cdef public EntryQueue near
    cdef public set _dead
    cdef public Py_ssize_t _count

    cpdef add(self, tuple entry)
    cpdef discard(self, tuple entry)
    @cython.locals(near=EntryQueue, dead=set, entry=tuple)
    cpdef pop_due(self, limit_ms)
