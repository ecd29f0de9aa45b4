"""Barriers of all ranks, on a tree of hosts."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.windows.window cimport Window

cdef struct Node:
    int leader                # the rank of this host whose window holds the host's words
    int parent                # host, or -1
    int place                 # where this host tells what it has gathered, at its parent; 0: a host's own ranks
    int first_child, children # hosts
    int64_t ranks             # of this host

@cython.final
cdef class Barrier:
    cdef Window window
    cdef Layout layout
    cdef Node* nodes          # by host
    cdef tuple host_of        # the number of each rank's host
    cdef int hosts
    cdef int host             # this rank's
    cdef bint leads           # this rank is its host's leader
    cdef readonly uint64_t number      # of the barrier that this rank has arrived at last
    cdef uint64_t passed               # of the last one that it has found over
    cdef readonly uint64_t step        # that the last barrier is for
    cdef uint64_t since                # the last synchronisation, from which what is said counts steps
    cdef bint synchronises             # this rank has come to synchronise that step, and has not joined
    cdef readonly bint all_joined      # nobody has come to synchronise
    cdef readonly int refuser          # -1, MISMATCH, or the lowest rank that refuses the last barrier
    cdef uint64_t quorum               # arrivals that call the others; the number of ranks: nobody is called
    cdef uint64_t sync_period          # a call is to a multiple of it
    cdef uint64_t* counts              # room to load `counted` of all places
    cdef uint64_t ignored              # what an operation finds

    # What has come together at the last barrier, and is still to be told.
    cdef int at, place                 # to which node, and of which place there; NOWHERE
    cdef bint complete                 # all ranks below have arrived
    cdef uint64_t said, code           # then: what they have said, and the code of the lowest that refuses, or 0
    cdef int64_t count                 # how many have arrived that had not joined
    cdef uint64_t calls                # the step to which a quorum calls, or 0
    cdef readonly bint lost            # an exception has left it open whether this rank has been counted in

    cdef bint is_elastic(self) noexcept nogil
    cdef bint has_ended(self, int host, uint64_t number) except -1 nogil
    cdef int count_in(self, uint64_t added) except -1 nogil
    cdef int go_on(self, bint near) except -1 nogil
    cdef bint set_mark(self) except -1 nogil
    cdef bint contradicts(self, uint64_t said) noexcept nogil
    cdef int refuse(self, int leader, uint64_t code) except -1 nogil
    cdef bint learn_code(self, int leader) except -1 nogil
    cdef int tell(self, int first, int count) except -1 nogil
    cdef uint64_t load_word(self, int rank, int64_t word) except? 0 nogil
    cdef uint64_t called_for(self) except? 0 nogil
    cdef bint is_called(self) except -1 nogil
    cdef int tell_count(self) except -1 nogil
    cdef int sum_counts(self) except -1 nogil
    cdef int call(self) except -1 nogil
