cimport cython

from headway.types.shapes cimport Shape, is_repeated


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
    cdef bint is_struct
    cdef int depth
    cdef public tuple names
    cdef public tuple shapes

    cpdef bint fits(self, value, set seen) except -1
    @cython.locals(index=Py_ssize_t, shape=Shape)
    cpdef bint fits_fields(self, value, set seen) except -1
    @cython.locals(parts=tuple, index=Py_ssize_t, shape=Shape)
    cpdef bint fits_struct(self, value, set seen) except -1


cdef class TypedDictShape(Shape):
    cdef int depth
    cdef public dict shapes
    cdef public object required

    cpdef bint fits(self, value, set seen) except -1
    @cython.locals(shape=Shape)
    cpdef bint fits_declared(self, dict value, set seen) except -1


