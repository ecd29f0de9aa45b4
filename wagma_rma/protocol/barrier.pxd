"""Barriers of all ranks, on a tree of hosts."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.protocol.layout cimport NODE_WORDS, Layout
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
    cdef uint64_t since                # the synchronisation from which `newest` and `agreed` count steps
    cdef bint synchronises             # this rank has come to synchronise that step, and has not joined
    cdef readonly bint all_joined      # nobody has come to synchronise
    cdef readonly int refuser          # -1, MISMATCH, or the lowest rank that refuses the last barrier
    cdef uint64_t quorum               # arrivals that call the others; the number of ranks: nobody is called
    cdef uint64_t sync_period          # a call is to a multiple of it
    cdef uint64_t gathered, agreed     # how a barrier has ended
    cdef uint64_t* words               # room to load those of a node
    cdef uint64_t ignored              # what an operation finds

    # What is still to be told of the last barrier.
    cdef int at, place                 # at which node, and at which place there; NOWHERE
    cdef bint complete                 # all ranks below have arrived
    cdef uint64_t newest, code         # then: what they have said
    cdef int64_t count                 # how many have arrived that had not joined
    cdef uint64_t calls                # the step to which a quorum calls, or 0
    cdef readonly bint lost            # an exception has left it open whether this rank has been counted in

    cdef bint is_elastic(self) noexcept nogil
    cdef bint look(self) except -1 nogil
    cdef bint has_ended(self, int host, uint64_t number) except -1 nogil
    cdef int count_in(self, uint64_t added) except -1 nogil
    cdef int go_on(self, bint near) except -1 nogil
    cdef int say(self) except -1 nogil
    cdef bint gather(self) except -1 nogil
    cdef int tell(self, int first, int count) except -1 nogil
    cdef uint64_t called_for(self) except? 0 nogil
    cdef bint is_called(self) except -1 nogil
    cdef int call(self) except -1 nogil
