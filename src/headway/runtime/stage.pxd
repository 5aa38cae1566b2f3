cimport cython

from headway.runtime.context cimport OperatorContext
from headway.state.queue cimport EntryQueue
from headway.state.rows cimport Row, RowTable
from headway.state.timers cimport TimerIndex


cdef class StageTask:
    cdef dict __dict__
    cdef public TimerIndex timers
    cdef public list contexts
    cdef long long _left
    cdef public object attempt

    @cython.locals(row=Row, table=RowTable, young=dict, near=EntryQueue, at_ms="long long")
    cpdef _run_single(self, list records, OperatorContext context)
    @cython.locals(near=EntryQueue, entries=list, record=tuple, at_ms="long long")
    cpdef _run_many(self, list records)
    @cython.locals(timers=TimerIndex, entry=tuple, context=OperatorContext, row=Row)
    cpdef bint _fire_timers(self, long long limit_ms)
