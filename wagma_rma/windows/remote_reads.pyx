"""Bulk reads of a remote window from ranks of other hosts.

A read is one MPI_Rget into scratch memory, or several where the MPI is faster with short ones: its *pieces*. Each
lane has scratch memory and requests of its own, so the reads of several lanes are in flight at a time. (The window
reads the memory of ranks on this host in place, without this class.)
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from wagma_rma.kernels.memory cimport LINE
from wagma_rma.mpi.finalize_hook cimport RMA, handle_of
from wagma_rma.waiting.waiter cimport Wait

from mpi4py import MPI

from wagma_rma.mpi.abi import abi

cdef enum:
    # Open MPI over TCP sends as many bytes to the target as it gets from it, and twice as many from 128 kB on.
    OPENMPI_PIECE = 64 * 1024

# The longest sleeps between two polls of a read, seconds: its data moves only while MPI is called.
cdef double POLL_EVERY = 20e-6
cdef double POLL_SILENT_EVERY = 2e-3  # once its rank has been silent for SILENT_AFTER
cdef double SILENT_AFTER = 50e-3


cdef class RemoteReads:
    """Bulk reads of one rank. Local, but completing a read waits for the rank whose memory is read.

    Args:
        words: of the same window.
        lanes: of the window.
    """

    def __init__(self, RemoteWords words, int lanes):
        self.words = words
        self.lanes = lanes
        self.byte_type = handle_of(MPI.BYTE)

    cdef int prepare(self, int sources, int64_t nbytes) except -1:
        """Allocate memory for `sources` reads in each lane, of at most `nbytes` bytes each."""
        self.sources = sources
        self.source_bytes = (nbytes + LINE - 1) // LINE * LINE
        self.piece_bytes = OPENMPI_PIECE if abi() == "openmpi" else max(1, nbytes)
        self.pieces = <int> ((nbytes + self.piece_bytes - 1) // self.piece_bytes)
        self.release()
        self.scratch = <char*> calloc(max(1, self.lanes * sources * self.source_bytes), 1)
        self.requests = <Request*> calloc(max(1, self.lanes * sources * self.pieces), sizeof(Request))
        if self.scratch is NULL or self.requests is NULL:
            raise MemoryError(f"RemoteWindow: no memory for {self.lanes * sources * nbytes} bytes of reads in flight")
        return 0

    cdef void release(self) noexcept nogil:
        """Free the memory. No read may be in flight; MPI writes into the scratch memory until then."""
        free(self.scratch)
        free(self.requests)
        self.scratch, self.requests = NULL, NULL

    cdef int begin(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                   const void** bytes) except -1 nogil:
        """Begin to read from the bulk memory of a rank, at a byte offset in it; *bytes points to where the bytes go."""
        cdef int place = lane * self.sources + source, i
        cdef int64_t done = 0, count
        cdef Request* request
        bytes[0] = self.scratch + place * self.source_bytes
        if nbytes > 0:
            self.words.ring(rank)
        for i in range(self.pieces):
            request = &self.requests[place * self.pieces + i]
            self.complete_request(request)  # of a read that was interrupted
            count = min(self.piece_bytes, nbytes - done)
            if count <= 0:
                continue
            request.rank = rank
            self.words.check(RMA.get(<char*> bytes[0] + done, <int> count, self.byte_type, rank, offset + done,
                                     self.window, &request.handle), "MPI_Rget", rank)
            request.active = True
            self.words.count_read(rank, 1)
            done += count
        self.words.perform_bells()
        return 0

    cdef int complete(self, int lane) except -1 nogil:
        """Complete all reads of a lane."""
        cdef int i
        for i in range(lane * self.sources * self.pieces, (lane + 1) * self.sources * self.pieces):
            self.complete_request(&self.requests[i])
        return 0

    cdef int complete_request(self, Request* request) except -1 nogil:
        """Wait until a request is complete."""
        cdef Wait wait
        cdef int done = 0
        if not request.active:
            return 0
        wait = self.words.waiter.begin(0)
        wait.rank = request.rank
        wait.longest = POLL_EVERY
        while True:
            self.words.check(RMA.test(&request.handle, &done), "MPI_Rget", request.rank)
            if done:
                request.active = False
                self.words.count_read(request.rank, -1)
                self.words.give_up_at = 0
                return 0
            self.words.ring(request.rank)  # again: a long read is many messages
            self.words.perform_bells()
            if self.words.waiter.now() - wait.since > SILENT_AFTER:
                wait.longest = POLL_SILENT_EVERY
            self.words.waiter.pause(&wait)
            self.words.give_up()
