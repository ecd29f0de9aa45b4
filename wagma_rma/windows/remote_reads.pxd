"""Bulk reads of a remote window from ranks of other hosts."""

from libc.stdint cimport int64_t
from wagma_rma.mpi.rma cimport wagma_handle
from wagma_rma.windows.remote_words cimport RemoteWords

cdef struct Request:
    wagma_handle handle
    int rank             # whose memory is read
    bint active          # begun, and not complete

cdef class RemoteReads:
    cdef RemoteWords words         # rings, counts reads in flight, raises errors and interruptions
    cdef wagma_handle window, byte_type
    cdef int lanes, sources
    cdef char* scratch             # where the bytes go, per lane and source
    cdef int64_t source_bytes      # of scratch for one source
    cdef Request* requests         # per lane, source and piece
    cdef int pieces                # of the longest read
    cdef int64_t piece_bytes       # most bytes of a piece

    cdef int prepare(self, int sources, int64_t nbytes) except -1
    cdef void release(self) noexcept nogil
    cdef int begin(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                   const void** bytes) except -1 nogil
    cdef int complete(self, int lane) except -1 nogil
    cdef int complete_request(self, Request* request) except -1 nogil
