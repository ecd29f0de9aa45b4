"""Where everything lies in a window.

A window begins with words (the header, then the records), followed by the snapshots and the results:

    header    published | latest | entered | retired[slots] | result_tag[3]
    record[k] state, finished | contribution[members] | chunk[chunks]
    snapshot  one section per kind of element, the leaves of that kind end to end
    result    the same sections in accumulators: float32 for 16-bit elements

What the words mean stands in ``words``. Each word of the header but `retired` and `result_tag`, and each record,
begins a cache line of its own. A chunk is a range of one section.
"""

from libc.stdlib cimport calloc, free

cdef enum:
    LINE = 64    # bytes of a cache line
    PAGE = 4096

# A chunk of this many bytes stays in a second-level cache between its summation and its collection; a chunk
# smaller than LEAST costs more in atomics than another member's help brings.
CHUNK_BYTES = 256 * 1024
LEAST_CHUNK_BYTES = 16 * 1024
# What is written of a model of so many bytes, into a snapshot or into the caller's memory, bypasses the caches: nothing of
# it would be left there when it is used again. Below, streaming a snapshot costs others that read it up to a tenth, and
# streaming what the caller reads next twice the step (benchmarks/README.md).
STREAM_SNAPSHOT = 8 * 1024 * 1024
STREAM_OUTPUT = 24 * 1024 * 1024
# Over a network a chunk costs round trips instead; it is so much larger there that they are a small part of it.
NETWORK_FACTOR = 8

WIDTHS = (8, 4, 2, 2)
SUM_WIDTHS = (8, 4, 4, 4)


cdef int64_t up(int64_t n, int64_t unit) noexcept nogil:
    return (n + unit - 1) // unit * unit


def chunk_elements(count, width, group_size, network=False):
    """Return how many elements a chunk of a section of `count` elements of `width` bytes holds.

    Each member gets the same number of chunks where there is enough to share.
    """
    nbytes = count * width
    factor = NETWORK_FACTOR if network else 1
    chunks = max(1, -(-nbytes // (CHUNK_BYTES * factor)))
    if nbytes >= group_size * LEAST_CHUNK_BYTES * factor:
        chunks = -(-chunks // group_size) * group_size
    return int(up(max(1, -(-count // chunks)), LINE // 2))


cdef class Layout:
    """Offsets of all that a window holds, in bytes from its beginning.

    Args:
        kinds: the kind of each leaf of the model: 0 float64, 1 float32, 2 float16, 3 bfloat16.
        counts: the elements of each leaf.
        group_size: the most members that a group has; 1 needs no records.
        records: how many records; at least as many as steps from one synchronisation to the next.
        slots: how many snapshots.
        network: chunks go over a network.

    Local and pure: equal arguments give equal layouts on every rank.
    """

    def __cinit__(self, kinds, counts, int group_size, int64_t records, int slots, bint network=False):
        cdef int i, c, kind
        cdef Section* section
        self.group_size = group_size
        self.records = records
        self.slots = slots
        self.leaf_count = len(kinds)
        self.order = sorted(range(self.leaf_count), key=lambda leaf: kinds[leaf])

        # Sections and their chunks.
        cdef int64_t snapshot = 0, result = 0
        for kind in range(SECTIONS):
            section = &self.sections[kind]
            section.width = WIDTHS[kind]
            section.sum_width = SUM_WIDTHS[kind]
            section.snapshot = snapshot
            section.result = result
            section.first_chunk = self.chunks
            for i in range(self.leaf_count):
                if kinds[i] == kind:
                    section.count += counts[i]
            if section.count:
                section.chunk_count = chunk_elements(section.count, section.width, group_size, network)
                section.chunks = (section.count + section.chunk_count - 1) // section.chunk_count
                self.chunk_bytes = max(self.chunk_bytes, section.chunk_count * section.sum_width)
            self.chunks += section.chunks
            snapshot = up(snapshot + section.count * section.width, LINE)
            result = up(result + section.count * section.sum_width, LINE)
        if not self.chunks:
            # A record must be finished by someone even if there is nothing to sum.
            self.chunks = self.sections[0].chunks = self.sections[0].chunk_count = 1
            for kind in range(1, SECTIONS):
                self.sections[kind].first_chunk = 1

        self.streams_snapshot = snapshot >= STREAM_SNAPSHOT
        self.streams_output = snapshot >= STREAM_OUTPUT

        # Leaves, and where each chunk meets them.
        self.leaves = <Leaf*> calloc(max(1, self.leaf_count), sizeof(Leaf))
        self.first_leaf = <int*> calloc(self.chunks, sizeof(int))
        if self.leaves is NULL or self.first_leaf is NULL:
            raise MemoryError("Layout: no memory for the table of leaves")
        cdef int64_t[SECTIONS] filled = [0, 0, 0, 0]
        for i in range(self.leaf_count):
            kind = kinds[self.order[i]]
            self.leaves[i].kind = kind
            self.leaves[i].begin = filled[kind]
            self.leaves[i].count = counts[self.order[i]]
            filled[kind] += self.leaves[i].count
        cdef Chunk chunk
        i = 0
        for c in range(self.chunks):
            chunk = self.chunk(c)
            while i < self.leaf_count and (self.leaves[i].kind < chunk.kind or (
                    self.leaves[i].kind == chunk.kind
                    and self.leaves[i].begin + self.leaves[i].count <= chunk.begin)):
                i += 1
            self.first_leaf[c] = i

        # The window, from its beginning.
        self.published = 0
        self.latest = LINE
        self.entered = 2 * LINE
        self.retired = 3 * LINE
        self.result_tag = up(self.retired + 8 * slots, LINE)
        self.first_record = up(self.result_tag + 8 * RESULTS, LINE)
        self.record_bytes = up(2 * 8 + 8 * group_size + 8 * self.chunks, LINE)
        self.words_bytes = up(self.first_record + self.record_bytes * records, PAGE)
        self.snapshot_bytes = up(snapshot, PAGE)
        self.first_snapshot = self.words_bytes
        self.sums_bytes = result
        self.result_bytes = up(result, PAGE)
        self.first_result = self.first_snapshot + self.snapshot_bytes * slots
        self.nbytes = self.first_result + self.result_bytes * RESULTS

    def __dealloc__(self):
        free(self.leaves)
        free(self.first_leaf)

    cdef Chunk chunk(self, int c) noexcept nogil:
        """Return the range of chunk `c`."""
        cdef Chunk chunk
        cdef Section* section
        chunk.kind = 0
        while c >= self.sections[chunk.kind].first_chunk + self.sections[chunk.kind].chunks:
            chunk.kind += 1
        section = &self.sections[chunk.kind]
        chunk.begin = (c - section.first_chunk) * section.chunk_count
        chunk.count = min(section.chunk_count, section.count - chunk.begin)
        return chunk

    cdef int64_t snapshot(self, int slot) noexcept nogil:
        return self.first_snapshot + slot * self.snapshot_bytes

    cdef int64_t result(self, uint64_t step) noexcept nogil:
        return self.first_result + <int64_t> (step % RESULTS) * self.result_bytes

    # The words of the record of a step, at its home.

    cdef int64_t state(self, uint64_t step) noexcept nogil:
        return self.first_record + <int64_t> (step % <uint64_t> self.records) * self.record_bytes

    cdef int64_t finished(self, uint64_t step) noexcept nogil:
        return self.state(step) + 8

    cdef int64_t contribution(self, uint64_t step, int member) noexcept nogil:
        return self.state(step) + 16 + 8 * member

    cdef int64_t chunk_word(self, uint64_t step, int c) noexcept nogil:
        return self.state(step) + 16 + 8 * (self.group_size + c)
