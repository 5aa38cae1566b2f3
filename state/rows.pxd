cimport cython

from headway.types.shapes cimport Shape
from headway.state.timers cimport TimerIndex


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Row:
    cdef public object key
    cdef public object state
    cdef public object touched_ms
    cdef public bint stored
    cdef public bint dirty
    cdef public object timer
    cdef public long long due_ms
    cdef public long long at_ms
    cdef public dict others
    cdef public bytes value
    cdef public object logs

    cpdef tuple find_timer(self, name)
    cpdef put_timer(self, name, long long due_ms, long long at_ms)
    @cython.locals(times=tuple)
    cpdef bint put_off(self, name, long long due_ms) except -1
    cpdef drop_timer(self, name)


@cython.final
cdef class RowTable:
    cdef public str name
    cdef public object rank
    cdef public dict young
    cdef public dict pending
    cdef public bint has_stored
    cdef public object settle
    cdef Shape _shape
    cdef bint _sees_repeats
    cdef public dict _old
    cdef public dict _dirty
    cdef object _new_state
    cdef object _database
    cdef object _stored
    cdef bytes _prefix
    cdef public object logs
    cdef TimerIndex _timers
    cdef object _encode
    cdef object _values
    cdef bytes _head
    cdef bytes _fresh
    cdef public object budget

    @cython.locals(row=Row)
    cpdef Row fetch(self, key)
    cpdef mark(self, Row row)
    cpdef forget(self, Row row)
    @cython.locals(times=tuple)
    cpdef set_timer(self, Row row, name, due_ms)
    @cython.locals(times=tuple)
    cpdef cancel_timer(self, Row row, name)
    @cython.locals(row=Row, times=tuple)
    cpdef due_row(self, tuple entry)
    cpdef _load(self, key)
    @cython.locals(row=Row, value=bytes, prefix=bytes, head=bytes, fresh=bytes, fresh_end=bytes, has_timers=bint, is_fresh=bint, before=bytes, change=long, start=Py_ssize_t, start_before=Py_ssize_t, shape=Shape, sees_repeats=bint, grown=long, count=long, size=long)
    cpdef encode_dirty(self, dict into, dict moved)
