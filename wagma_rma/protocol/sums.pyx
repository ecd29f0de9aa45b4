"""The sums of one chunk: made here from the members' snapshots, or collected from the member that has made them.

Either way the average goes into the caller's output in passing: W / |G|, or (W + own model) / (|G| + 1) where this rank
was LATE. Source: the equations in GroupAverager.average.
"""

cimport cython

from libc.stdlib cimport calloc, free
from wagma_rma.kernels.kernels cimport wagma_average, wagma_output, wagma_sum
from wagma_rma.protocol.layout cimport Chunk, Leaf, Section
from wagma_rma.protocol.words cimport contribution_slot


@cython.final
cdef class Sums:
    """Sums and collects chunks of one record, one chunk a lane. Nothing here waits but for bulk reads."""

    def __cinit__(self, Window window, Layout layout, Snapshots snapshots, Record record):
        self.window = window
        self.layout = layout
        self.snapshots = snapshots
        self.record = record
        self.results = Results(window, layout)
        self.sources = <const void**> calloc(window.lanes * layout.group_size, sizeof(void*))
        if self.sources is NULL:
            raise MemoryError("Sums: no memory for the table of sources")
        window.prepare_reads(layout.group_size, layout.chunk_bytes)

    def __dealloc__(self):
        free(self.sources)

    cdef void begin_step(self, bint fresh, bint mixes) noexcept nogil:
        """Begin the exchange of a record."""
        self.fresh = fresh
        self.mixes = mixes
        self.bytes_read = self.bytes_over_network = 0
        self.results.begin_step()

    cdef int begin_sum(self, int lane, int c, LeafPointers pointers) except -1 nogil:
        """Begin to read a chunk of every contribution."""
        cdef Chunk chunk = self.layout.chunk(c)
        cdef Section* section = &self.layout.sections[chunk.dtype]
        cdef Leaf* leaf = &self.layout.leaves[self.layout.first_leaf[c]]
        cdef int64_t nbytes = chunk.count * section.width
        cdef int m, slot
        for m in range(self.record.group.size):
            slot = contribution_slot(self.record.contributions[m])
            self.read(lane, m, m, self.layout.snapshot(slot) + section.snapshot + chunk.begin * section.width, nbytes)
            if (m == self.record.group.me and self.fresh and not pointers.entangled and leaf.section == chunk.dtype
                    and leaf.begin + leaf.count >= chunk.begin + chunk.count):
                # The caller still has what was published, in nearer caches: no element of the output is written
                # before its sum is made.
                self.sources[lane * self.layout.group_size + m] = (
                    pointers.sources[self.layout.first_leaf[c]] + (chunk.begin - leaf.begin) * section.width)
        return 0

    cdef int end_sum(self, int lane, int c, LeafPointers pointers) except -1 nogil:
        """Sum the chunk that a lane reads into this rank's result, and write the average into the caller's output.

        Another member may turn out to own the chunk: its sums are then collected, and overwrite the output.
        """
        cdef Chunk chunk = self.layout.chunk(c)
        cdef Section* section = &self.layout.sections[chunk.dtype]
        cdef int64_t place = (self.layout.result(self.record.number) + section.result
                              + chunk.begin * section.sum_width)
        self.results.begin_write(self.record)
        self.window.complete_reads(lane)
        self.write_average(c, self.window.own(place), &self.sources[lane * self.layout.group_size], pointers)
        return self.results.end_write(place, chunk.count * section.sum_width)

    cdef int begin_collecting(self, int lane, int c, int member) except -1 nogil:
        """Begin to read the sums of a chunk from the other member that owns them."""
        cdef Chunk chunk = self.layout.chunk(c)
        cdef Section* section = &self.layout.sections[chunk.dtype]
        cdef int64_t begin = self.results.begin_read(self.record, member)
        return self.read(lane, 0, member, begin + section.result + chunk.begin * section.sum_width,
                         chunk.count * section.sum_width)

    cdef int end_collecting(self, int lane, int c, LeafPointers pointers) except -1 nogil:
        """Write the average of the sums that a lane reads into the caller's output."""
        self.window.complete_reads(lane)
        self.write_average(c, <char*> self.sources[lane * self.layout.group_size], NULL, pointers)
        return 0

    cdef int read(self, int lane, int source, int member, int64_t offset, int64_t nbytes) except -1 nogil:
        """Begin to read from a member into a place of a lane, and count the bytes if they are another rank's."""
        cdef int rank = self.record.group.ranks[member]
        if rank != self.window.rank:
            self.bytes_read += nbytes
            if not self.window.is_near(rank):
                self.bytes_over_network += nbytes
        return self.window.read(lane, source, rank, offset, nbytes,
                                &self.sources[lane * self.layout.group_size + source])

    cdef int write_average(self, int c, char* sums, const void** sources, LeafPointers pointers) except -1 nogil:
        """Write a chunk of the average into the caller's output, leaf by leaf.

        Args:
            sums: of the chunk.
            sources: the chunk in each contribution, to be summed first (the pointers are moved); NULL: it is summed.
        """
        cdef Chunk chunk = self.layout.chunk(c)
        cdef Section* section = &self.layout.sections[chunk.dtype]
        cdef int i = self.layout.first_leaf[c], m
        cdef Leaf* leaf
        cdef const char* own
        cdef int64_t begin, count, width
        cdef wagma_output output
        # With overlap the output holds differences, in the type of the sums.
        width = section.sum_width if self.differs else section.width
        output.divisor = self.record.group.size + self.mixes
        while i < self.layout.leaf_count:
            leaf = &self.layout.leaves[i]
            if leaf.section != chunk.dtype or leaf.begin >= chunk.begin + chunk.count:
                return 0
            begin = max(chunk.begin, leaf.begin)
            count = min(chunk.begin + chunk.count, leaf.begin + leaf.count) - begin
            output.stream = self.snapshots.streams(pointers, i)
            output.out = pointers.targets[i] + (begin - leaf.begin) * width
            own = self.snapshots.own + section.snapshot + begin * section.width
            output.own = own if self.mixes else NULL
            output.before = own if self.differs else NULL
            if sources is NULL:
                wagma_average(chunk.dtype, sums, count, &output)
            else:
                wagma_sum(chunk.dtype, sums, sources, self.record.group.size, count, self.snapshots.streaming.window,
                          &output)
                for m in range(self.record.group.size):
                    sources[m] = <const char*> sources[m] + count * section.width
            if not self.differs:
                self.snapshots.give(pointers, i, begin - leaf.begin, <char*> output.out, count)
            sums += count * section.sum_width
            i += 1
        return 0
