cimport cython

from headway.state.timers cimport TimerIndex


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Row:
    cdef public str key
    cdef public object state
    cdef public dict timers
    cdef public object touched_ms
    cdef public bint stored
    cdef public bint dirty


@cython.final
cdef class RowTable:
    cdef public str name
    cdef public object rank
    cdef public dict young
    cdef public dict pending
    cdef public dict _old
    cdef public dict _dirty
    cdef object _new_state
    cdef object _database
    cdef object _stored
    cdef bytes _prefix
    cdef TimerIndex _timers
    cdef object _encode
    cdef object _decode
    cdef bytes _fresh
    cdef object _sample_rows
    cdef object _sample_bytes
    cdef object _budget
    cdef object _young_max

    @cython.locals(row=Row)
    cpdef Row fetch(self, str key)
    cpdef mark(self, Row row)
    cpdef forget(self, Row row)
    @cython.locals(timers=dict, timer=list)
    cpdef set_timer(self, Row row, str name, due_ms)
    @cython.locals(timers=dict)
    cpdef cancel_timer(self, Row row, str name)
    @cython.locals(row=Row, key=str, name=str, timer=list)
    cpdef due_row(self, tuple entry)
    @cython.locals(timers=dict)
    cpdef _drop_timer(self, Row row, str name)
    cpdef _load(self, str key)
    @cython.locals(row=Row, key=str, value=bytes, prefix=bytes, fresh=bytes, fresh_end=bytes, grown=long, size=long)
    cpdef encode_dirty(self, dict into)
