cimport cython

from headway.types.shapes cimport Shape


cdef class TriggerEncoder:
    cdef str _identity
    cdef object _begun
    cdef object _encode
    cdef list _shapes
    cdef object _fitting
    cdef object _made
    cdef object _producer
    cdef object _kind
    cdef bint _is_trigger
    cdef bytes _common
    cdef object _target
    cdef object _id_by
    cdef bint _is_delivered
    cdef bint _has_subject
    cdef bint _keeps_order
    cdef dict _ordinals
    cdef long long _minute
    cdef bytes _minute_text

    cpdef encode(self, time_ms, subject, ordinal, origin, value)
    cpdef encode_keyed(self, time_ms, subject, origin, value)
    @cython.locals(shape=Shape)
    cdef bint _fits(self, value) except -1
    cpdef _encode_checked(self, time_ms, subject, ordinal, origin, value)
    @cython.locals(minute="long long", rest_ms="long long")
    cdef bytes _time_text(self, long long time_ms)
