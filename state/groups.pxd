cpdef group_of(key, groups)
