cimport cython

from headway.state.rows cimport Row, RowTable


@cython.final
cdef class OperatorContext:
    cdef public object operator
    cdef public object name
    cdef public object rank
    cdef public RowTable table
    cdef public object on_event
    cdef public object on_timer
    cdef public object emit
    cdef public object key
    cdef public object time
    cdef public object wall_ms
    cdef public Row row
    cdef object _shared
    cdef object _after_ms
    cdef dict _losses
    cdef dict _sides

    cpdef handle_timer(self, Row row, time_ms, name)
    @cython.locals(row=Row)
    cpdef set_timer(self, name, at)
