"""Which writes bypass the caches."""

from libc.stdint cimport int64_t

cdef class Streaming:
    cdef readonly bint window    # snapshots and sums, which ranks on other cores read next
    cdef readonly bint output    # the caller's output
    cdef readonly bint in_place  # the caller's output where it is the model itself
