"""What a missing read fence allows, for the bulk reads of one simulated rank.

Until the fence that follows a bulk read,

- a load may find what its word held before the read began;
- the processor may still be reading. If a source changes now, what the rank has computed from it is spoiled.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy
from wagma_rma.testing.simulated_memory cimport SimulatedMemory


cdef bint overlap(int64_t offset, int64_t nbytes, int64_t other, int64_t other_nbytes) noexcept nogil:
    """Return whether two ranges of bytes have any in common."""
    return offset < other + other_nbytes and other < offset + nbytes


cdef void garble(char* data, int64_t nbytes) noexcept nogil:
    """Change every byte of a range."""
    cdef int64_t i
    for i in range(nbytes):
        data[i] = data[i] ^ 0x55


cdef class Ranges:
    """A list of ranges of bytes."""

    def __dealloc__(self):
        free(self.entries)

    cdef int add(self, Range entry) except -1 nogil:
        if self.count == self.room:
            self.room = max(64, 2 * self.room)
            self.entries = <Range*> realloc(self.entries, self.room * sizeof(Range))
            if self.entries is NULL:
                with gil:
                    raise MemoryError("SimulatedWindow: no memory for a table")
        self.entries[self.count] = entry
        self.count += 1
        return 0


cdef class UnfencedReads:
    """The bulk reads of one rank that no read fence has followed yet.

    Args:
        memory: of all ranks. A rank that changes its bulk memory calls spoil() of all.
        rank: this one.
    """

    def __cinit__(self, SimulatedMemory memory, int rank):
        self.rank = rank
        self.ranks = memory.ranks
        self.words_bytes = memory.words_bytes
        self.base = memory.base
        self.in_flight, self.unfenced, self.sums = Ranges(), Ranges(), Ranges()
        self.old_words = <uint64_t*> calloc(max(1, self.ranks * self.words_bytes), 1)
        if self.old_words is NULL:
            raise MemoryError(f"SimulatedWindow: no memory for {self.ranks * self.words_bytes} bytes")
        memory.unfenced[rank] = self

    def __dealloc__(self):
        free(self.old_words)

    cdef int begin(self, int lane, int rank, int64_t offset, int64_t nbytes) except -1 nogil:
        """Begin a read."""
        cdef int r
        if not self.may_be_old:
            self.may_be_old = True
            for r in range(self.ranks):
                memcpy(<char*> self.old_words + r * self.words_bytes, self.base[r], self.words_bytes)
        return self.in_flight.add(Range(lane, rank, offset, nbytes))

    cdef int complete(self, int lane) except -1 nogil:
        """Complete the reads of a lane."""
        cdef int i, left = 0
        self.unfenced.count = self.sums.count = 0
        for i in range(self.in_flight.count):
            if self.in_flight.entries[i].lane == lane:
                self.unfenced.add(self.in_flight.entries[i])
            else:
                self.in_flight.entries[left] = self.in_flight.entries[i]
                left += 1
        self.in_flight.count = left
        return 0

    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil:
        """Note a bulk write of this rank: a sum of what it has read, perhaps."""
        return self.sums.add(Range(0, self.rank, offset, nbytes)) if self.unfenced.count else 0

    cdef uint64_t old(self, int target, int64_t word) noexcept nogil:
        """Return what a word held when the first read since the last fence began."""
        return self.old_words[target * (self.words_bytes // 8) + word // 8]

    cdef void spoil(self, int rank, int64_t offset, int64_t nbytes) noexcept nogil:
        """Spoil what this rank has written since it read a range that another rank changes now."""
        cdef int i
        cdef Range* source
        cdef Range* written
        if rank == self.rank:
            return
        for i in range(self.unfenced.count):
            source = &self.unfenced.entries[i]
            if source.rank == rank and overlap(source.offset, source.nbytes, offset, nbytes):
                break
        else:
            return
        for i in range(self.sums.count):
            written = &self.sums.entries[i]
            garble(self.private + written.offset, written.nbytes)
            garble(self.base[self.rank] + written.offset, written.nbytes)
        self.sums.count = 0

    cdef void fence(self) noexcept nogil:
        """Have all reads so far done."""
        self.may_be_old = False
        self.unfenced.count = self.sums.count = 0
