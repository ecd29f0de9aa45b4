"""Barriers of all ranks, on a tree of hosts."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.windows.window cimport Window

cdef struct Node:
    int leader                # the rank of this host whose window holds the host's words
    int parent                # host, or -1
    int first_child, children # hosts
    int64_t ranks             # of this host and of those below it

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
    cdef bint synchronises             # this rank has come to synchronise that step, and has not joined
    cdef readonly bint all_joined      # nobody has come to synchronise
    cdef readonly int refuser          # -1, MISMATCH, or the lowest rank that refuses the last barrier
    cdef uint64_t quorum               # arrivals that call the others; the number of ranks: nobody is called
    cdef uint64_t sync_period          # a call is to a multiple of it
    cdef uint64_t agreed_before        # what this leader has told the hosts below
    cdef uint64_t ignored              # what an operation finds

    # What is still to be done for the last barrier.
    cdef int due, at                   # what, and at which node
    cdef uint64_t added                # to `reached`
    cdef uint64_t newest, code         # what the arrivals that are added have said
    cdef uint64_t calls                # the step to which a quorum calls, or 0
    cdef bint complete, any_joined     # whether a node has gathered all its ranks; whether any has joined
    cdef readonly bint lost            # an exception has left it open whether an addition has happened

    cdef bint hear(self, int host) except -1 nogil
    cdef int go_on(self, bint near) except -1 nogil
    cdef int after_addition(self, uint64_t found) noexcept nogil
    cdef uint64_t look(self) except? 0 nogil
    cdef bint say_newest(self, int host, uint64_t newest) except -1 nogil
    cdef uint64_t claim(self, int host) except? 0 nogil
    cdef int tell_end(self) except -1 nogil
    cdef int tell(self, int first, int count, uint64_t before, uint64_t agreed, uint64_t gathered) except -1 nogil
    cdef uint64_t refusal(self, int host) except? 0 nogil
    cdef uint64_t load_word(self, int host, int64_t word) except? 0 nogil
    cdef bint is_enough(self, uint64_t reached) noexcept nogil
    cdef uint64_t met(self) except? 0 nogil
    cdef int call(self, uint64_t step) except -1 nogil
