"""A window on memory that this process has mapped: C11 atomics on the words, and bulk data read in place.

A subclass gives the addresses: of memory that processes share, or of memory that threads share.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from wagma_rma.kernels.atomics cimport (wagma_compare_and_swap, wagma_fence, wagma_fetch_add, wagma_fetch_max,
                                        wagma_load)


cdef bytes looked_at(char* place, int nbytes):
    """Return some words of memory that somebody may be writing."""
    cdef bytes found = PyBytes_FromStringAndSize(NULL, nbytes)
    cdef uint64_t* words = <uint64_t*> PyBytes_AS_STRING(found)
    cdef int i
    for i in range(nbytes // 8):
        words[i] = wagma_load(place + 8 * i)
    return found


cdef class MappedWindow(Window):
    """A window with every rank's memory mapped in this process. A subclass calls set_ranks() and then fills `base`."""

    cdef int set_ranks(self, int rank, int ranks, int64_t nbytes) except -1:
        """Set this rank, the number of ranks and their windows' size, and allocate the table `base`."""
        self.rank = rank
        self.ranks = ranks
        self.nbytes = nbytes
        self.lanes = 1
        self.base = <char**> calloc(ranks, sizeof(char*))
        if self.base is NULL:
            raise MemoryError(f"{type(self).__name__}: no memory for the table of ranks")
        return 0

    def __dealloc__(self):
        free(self.base)

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        cdef int i
        for i in range(count):
            values[i] = wagma_load(self.base[rank] + word + 8 * i)
        return 0

    def look(self, list ranks, int64_t offset, int nbytes, double seconds=0):
        """Return a range of each of some ranks' memory, as words loaded one after the other, from the first on.

        By any thread, at any time; the memory must not be given back meanwhile. Waits for nobody.

        Args:
            offset, nbytes: multiples of 8.
        """
        return [looked_at(self.base[rank] + offset, nbytes) for rank in ranks]

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        found[0] = wagma_fetch_add(self.base[rank] + word, addend)
        return 0

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        found[0] = wagma_fetch_max(self.base[rank] + word, value)
        return 0

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        found[0] = wagma_compare_and_swap(self.base[rank] + word, expected, desired)
        return 0

    cdef int complete(self) except -1 nogil:
        return 0

    cdef char* own(self, int64_t offset) noexcept nogil:
        return self.base[self.rank] + offset

    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil:
        return 0

    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil:
        bytes[0] = self.base[rank] + offset
        return 0

    cdef int complete_reads(self, int lane) except -1 nogil:
        return 0

    cdef int prepare_reads(self, int sources, int64_t nbytes) except -1:
        return 0

    # The two halves of a sequence lock (see atomics.h). They pair with each other: a rank that has read a byte which
    # was written after a write_fence() finds, after its read_fence(), the words that were written before.

    cdef int write_fence(self) except -1 nogil:
        wagma_fence()
        return 0

    cdef int read_fence(self) except -1 nogil:
        wagma_fence()
        return 0
