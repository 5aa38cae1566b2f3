cimport cython


@cython.final
cdef class LayeredMap:
    cdef public dict changes
    cdef public dict _pending
    cdef public list _far
    cdef public list _pending_far
    cdef object _database
    cdef object _family
    cdef list _prefixes
    cdef object _encode
    cdef object _decode
    cdef object _first_in

    cpdef put(self, tuple position, bytes value, bint far)
    cpdef remove(self, tuple position)
