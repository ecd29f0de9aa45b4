"""The models that a rank publishes, and the pins that keep them."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.kernels.streaming cimport Streaming
from wagma_rma.model.leaf_pointers cimport LeafPointers
from wagma_rma.protocol.calls cimport Calls
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.waiting.waiter cimport Waiter
from wagma_rma.windows.window cimport Window

@cython.final
cdef class Snapshots:
    cdef Window window
    cdef Waiter waiter
    cdef Layout layout
    cdef Calls calls
    cdef readonly Streaming streaming
    cdef uint64_t* retired      # room to load this rank's words
    cdef uint64_t current_step  # step and slot of the newest snapshot
    cdef int current_slot
    cdef uint64_t pins_settled  # the pins field when this rank published last
    cdef uint64_t ignored       # what an unpin finds
    cdef char* lent             # per slot: whether the caller has it
    cdef int reserved           # slot with the model of the synchronisation under way, or -1
    cdef int mean               # slot with its mean
    cdef char* spare            # a private model, for leaves that are entangled
    cdef char* unpublished      # another one: of a step that can't publish
    cdef readonly bint overlaps
    cdef char* difference       # with `overlaps`: of what the last group step has brought, laid out as a result
    cdef object pages           # the memory behind it
    cdef bint pending           # it is to be added to the next model
    cdef bint given             # a device has it, to add it to that
    cdef int mean_part          # of the region: where the leaves of no snapshot are, as they were synchronised last
    cdef int mean_divisor       # what they are to be divided by
    cdef char* own              # this rank's model of its last step: a snapshot, or `unpublished`
    cdef double seconds_waited  # for the last slot

    cdef int publish(self, uint64_t step, LeafPointers pointers, double patience) except -1 nogil
    cdef int pass_on(self, LeafPointers pointers, int first) except -1 nogil
    cdef int copy_source(self, LeafPointers pointers, int i, char* place, bint stream) except -1 nogil
    cdef int restore(self, LeafPointers pointers) except -1 nogil
    cdef int restore_mean(self, LeafPointers pointers) except -1 nogil
    cdef int bring(self, LeafPointers pointers, int first, int last, char* base) except -1 nogil
    cdef int answer(self, LeafPointers pointers, int i, const char* place) except -1 nogil
    cdef int give(self, LeafPointers pointers, int i, int64_t begin, const char* place, int64_t count) except -1 nogil
    cdef bint streams(self, LeafPointers pointers, int i) noexcept nogil
    cdef int pin(self, int rank, uint64_t* found) except -1 nogil
    cdef int unpin(self, int rank, int slot) except -1 nogil

    cdef int lent_slot_of(self, LeafPointers pointers) noexcept nogil
    cdef int free_slot(self, double patience) except -2 nogil
    cdef int write(self, int slot, LeafPointers pointers, bint outputs) except -1 nogil
    cdef bint moves(self, LeafPointers pointers) noexcept nogil
    cdef int gather(self, LeafPointers pointers, bint outputs) except -1 nogil
    cdef void move(self, LeafPointers pointers, int i, char* place, bint outputs) noexcept nogil
    cdef char* difference_of(self, int i) noexcept nogil
    cdef int make_move(self, LeafPointers pointers) except -1 nogil
    cdef int fetch_source(self, LeafPointers pointers, int i) except -1 nogil
    cdef int64_t leaf_bytes(self, int i) noexcept nogil
    cdef int widen(self, LeafPointers pointers, int part, int first) except -1 nogil
    cdef int name_newest(self, uint64_t step, int slot) except -1 nogil
    cdef int reserve(self, LeafPointers pointers) except -1 nogil
    cdef int begin_mean(self, bint others_read) noexcept nogil
    cdef int publish_mean(self, uint64_t step) except -1 nogil
    cdef char* sums_of(self, int part, int section) noexcept nogil
