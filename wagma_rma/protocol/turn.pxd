"""This rank's groups at the steps of a full turn."""

cimport cython

from libc.stdint cimport uint64_t

cdef struct Group:
    int size
    int me        # which member this rank is
    int* ranks    # of the members, ascending

@cython.final
cdef class Turn:
    cdef readonly int most_members
    cdef Group* groups    # at group step 1, 2, ... period
    cdef int* ranks       # the memory behind them
    cdef int period

    cdef Group* at(self, uint64_t number) noexcept nogil
