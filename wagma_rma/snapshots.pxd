"""The models that a rank publishes, and the pins that keep them."""

from libc.stdint cimport uint64_t
from wagma_rma.layout cimport Layout
from wagma_rma.pieces cimport Pieces
from wagma_rma.window cimport Window

cdef class Snapshots:
    cdef Window window
    cdef Layout layout
    cdef uint64_t* retired      # room to load this rank's words
    cdef uint64_t current_step  # step and slot of the newest snapshot
    cdef int current_slot
    cdef uint64_t pins_settled  # the pins field at the last publishing
    cdef uint64_t ignored       # what an unpin finds
    cdef char* lent             # per slot: whether the caller has it
    cdef char* spare            # a private model, for a step that can't publish
    cdef char* own              # this rank's model of its last step: a snapshot, or the spare
    cdef double seconds_waited  # for the last slot

    cdef int publish(self, uint64_t step, Pieces pieces, double patience) except -1 nogil
    cdef int restore(self, Pieces pieces) except -1 nogil
    cdef bint streams(self, Pieces pieces, int i) noexcept nogil
    cdef int pin(self, int rank, uint64_t* found) except -1 nogil
    cdef int unpin(self, int rank, int slot) except -1 nogil

    cdef int lent_slot_of(self, Pieces pieces) noexcept nogil
    cdef int free_slot(self, double patience) except -2 nogil
    cdef int write(self, int slot, Pieces pieces) except -1 nogil
    cdef int gather(self, Pieces pieces) except -1 nogil
    cdef int move_on(self, uint64_t step, int slot) except -1 nogil
    cdef char* accumulators(self, int result, int kind) noexcept nogil
