"""The record in which the members of a group meet."""

cimport cython

from libc.stdint cimport uint64_t
from wagma_rma.protocol.calls cimport Calls
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.protocol.snapshots cimport Snapshots
from wagma_rma.protocol.turn cimport Group, Turn
from wagma_rma.waiting.waiter cimport Waiter
from wagma_rma.windows.window cimport Window

@cython.final
cdef class Record:
    cdef Window window
    cdef Waiter waiter
    cdef Layout layout
    cdef Snapshots snapshots
    cdef Calls calls
    cdef Turn turn
    cdef uint64_t group_period    # steps from one group step to the next
    cdef uint64_t step            # whose record this is
    cdef uint64_t number          # of that step among the group steps, from 1
    cdef Group* group             # at that step
    cdef int home                 # the rank whose window holds the record
    cdef uint64_t state           # as last seen
    cdef bint was_open            # when this rank looked first
    cdef bint waiting             # whether this rank is in a wait for the record to open
    cdef int joined               # members that are known not to come, since they have joined
    cdef bint initiated           # this rank has moved it to ACTIVATING
    cdef double seconds_waited    # for it to open
    cdef uint64_t* contributions  # their words
    cdef uint64_t* found          # room for a word of each member
    cdef uint64_t* swapped

    cdef int select(self, uint64_t step) except -1 nogil
    cdef int arrive(self) except -1 nogil
    cdef int wait_until_open(self, int quorum, double patience) except -1 nogil
    cdef bint has_quorum(self, int quorum) noexcept nogil
    cdef int swap_state(self, int phase, int arrivals, bint* swapped) except -1 nogil
    cdef int activate(self) except -1 nogil
    cdef int load_contributions(self, bint opened) except -1 nogil
    cdef int unpin_all(self) except -1 nogil
    cdef uint64_t own_age(self) noexcept nogil
