from headway.types.shapes cimport Shape
from headway.state.rows cimport Row, RowTable
from headway.state.timers cimport TimerIndex


cdef class RowGuard:
    cdef public Row row
    cdef RowTable _table
    cdef TimerIndex _timers
    cdef object _encode
    cdef object _decode
    cdef Shape _shape
    cdef bint _sees_repeats
    cdef bytes _state
    cdef object _touched_ms
    cdef tuple _first
    cdef dict _others
    cdef object _logs
    cdef object _logs_before

    cpdef keep(self, Row row)
    cpdef check(self, Row row)
