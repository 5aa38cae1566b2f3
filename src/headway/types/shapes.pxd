cimport cython


cdef class Shape:
    cdef public object expects

    cpdef bint fits(self, value, set seen) except -1


cdef class ExactShape(Shape):
    cdef object kind

    cpdef bint fits(self, value, set seen) except -1


cdef class TextShape(Shape):
    cpdef bint fits(self, value, set seen) except -1


cdef class IntShape(Shape):
    cpdef bint fits(self, value, set seen) except -1


@cython.locals(number="long long")
cpdef bint fits_64_bits(value) except -1


cdef class MomentShape(Shape):
    cpdef bint fits(self, value, set seen) except -1


cdef class ClockShape(Shape):
    cpdef bint fits(self, value, set seen) except -1


cdef class AnyShape(Shape):
    cdef int depth

    cpdef bint fits(self, value, set seen) except -1
    cpdef bint fits_dict(self, dict value, set seen) except -1
    cpdef bint fits_list(self, list value, set seen) except -1


cpdef bint is_plain_key(key) except -1
cpdef bint is_repeated(container, set seen) except -1


cdef class UnionShape(Shape):
    cdef tuple options

    @cython.locals(option=Shape)
    cpdef bint fits(self, value, set seen) except -1


cdef class LiteralShape(Shape):
    cdef object values

    cpdef bint fits(self, value, set seen) except -1


cdef class LimitedShape(Shape):
    cdef Shape inner
    cdef object passes

    cpdef bint fits(self, value, set seen) except -1


@cython.locals(shape=Shape)
cpdef bint all_fit(Shape shape, list values) except -1


cdef class Floats:
    cdef tuple names

    cpdef settle(self, state)
