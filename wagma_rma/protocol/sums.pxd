"""The sums of one chunk: made here, or collected from their owner."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.model.leaf_pointers cimport LeafPointers
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.protocol.record cimport Record
from wagma_rma.protocol.results cimport Results
from wagma_rma.protocol.snapshots cimport Snapshots
from wagma_rma.windows.window cimport Window

@cython.final
cdef class Sums:
    cdef Window window
    cdef Layout layout
    cdef Snapshots snapshots
    cdef Record record
    cdef readonly Results results
    cdef bint fresh                     # this rank's contribution is the model it came with
    cdef bint mixes                     # the LATE formula applies
    cdef bint differs                   # the output gets the difference of the average to this rank's model
    cdef int64_t bytes_read             # of other ranks' bulk memory, at this step
    cdef int64_t bytes_over_network     # those that came from other hosts
    cdef const void** sources           # of the chunks in the lanes, per lane and member

    cdef void begin_step(self, bint fresh, bint mixes) noexcept nogil
    cdef int begin_sum(self, int lane, int c, LeafPointers pointers) except -1 nogil
    cdef int end_sum(self, int lane, int c, LeafPointers pointers) except -1 nogil
    cdef int begin_collecting(self, int lane, int c, int member) except -1 nogil
    cdef int end_collecting(self, int lane, int c, LeafPointers pointers) except -1 nogil
    cdef int read(self, int lane, int source, int member, int64_t offset, int64_t nbytes) except -1 nogil
    cdef int write_average(self, int c, char* sums, const void** sources, LeafPointers pointers) except -1 nogil
