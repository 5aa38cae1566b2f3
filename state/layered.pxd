cimport cython


@cython.final
cdef class LayeredMap:
    cdef public dict changes
    cdef public dict _pending
    cdef public list _far
    cdef public list _pending_far
    cdef object _database
    cdef object _family
    cdef bytes _prefix
    cdef bytes _end
    cdef object _encode
    cdef object _decode

    @cython.locals(changes=dict)
    cpdef put(self, tuple position, bytes value, bint far)
    @cython.locals(changes=dict)
    cpdef remove(self, tuple position)
