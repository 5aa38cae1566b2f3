cimport cython

from headway.state.groups cimport group_of


@cython.final
cdef class Router:
    cdef list _lists
    cdef dict _list_of

    @cython.locals(list_of=dict, group_records=list, record=tuple)
    cpdef sort_in(self, records)
    cpdef list _find(self, key)
