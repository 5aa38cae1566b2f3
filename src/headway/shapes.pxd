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

    @cython.locals(fitting=bint)
    cpdef bint fits(self, value, set seen) except -1
    cpdef bint fits_dict(self, dict value, set seen) except -1
    cpdef bint fits_list(self, list value, set seen) except -1


cpdef bint is_plain_key(key) except -1
cpdef bint is_repeated(container, set seen) except -1


cdef class SequenceShape(Shape):
    cdef object kind
    cdef bint mutable
    cdef Shape item

    cpdef bint fits(self, value, set seen) except -1
    @cython.locals(item=Shape)
    cpdef bint fits_list(self, list value, set seen) except -1
    @cython.locals(item=Shape)
    cpdef bint fits_tuple(self, tuple value, set seen) except -1


cdef class FixedTupleShape(Shape):
    cdef tuple items

    @cython.locals(item=Shape, number=Py_ssize_t)
    cpdef bint fits(self, value, set seen) except -1


cdef class DictShape(Shape):
    cdef Shape key
    cdef Shape item

    cpdef bint fits(self, value, set seen) except -1
    @cython.locals(key=Shape, item=Shape)
    cpdef bint fits_items(self, dict value, set seen) except -1


cdef class FieldsShape(Shape):
    cdef object kind
    cdef public bint frozen
    cdef bint strays
    cdef int depth
    cdef public tuple names
    cdef public tuple shapes

    @cython.locals(fitting=bint)
    cpdef bint fits(self, value, set seen) except -1
    @cython.locals(index=Py_ssize_t, shape=Shape)
    cpdef bint fits_fields(self, value, set seen) except -1


cdef class TypedDictShape(Shape):
    cdef public dict shapes
    cdef public object required

    @cython.locals(shape=Shape)
    cpdef bint fits(self, value, set seen) except -1


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
