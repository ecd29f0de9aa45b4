"""Where everything lies in a window.

A window begins with words (the header, then the records), followed by the snapshots and the results:

    header    published, result_tag[3], retired[slots] | latest | entered
    record[k] state | finished, contribution[members], chunk[chunks]
    snapshot  one section per kind of element, the leaves of that kind end to end
    result    the same sections in accumulators: float32 for 16-bit elements

What the words mean stands in ``words``. A record begins a cache line, and so does what follows a bar: whoever pins a
snapshot has at hand what it takes to unpin it (with up to 4 slots), and whoever waits for a record to open does not take
the line away in which it is filled. A chunk is a range of one section.
"""

from libc.stdlib cimport calloc, free

cdef extern from *:
    """
    #include <unistd.h>

    static long wagma_last_cache(void) {
    #ifdef _SC_LEVEL3_CACHE_SIZE
        return sysconf(_SC_LEVEL3_CACHE_SIZE);
    #else
        return 0;
    #endif
    }
    """
    long wagma_last_cache()  # bytes of this core's last cache; 0 or less if that can't be told

cdef enum:
    LINE = 64    # bytes of a cache line
    PAGE = 4096

# A chunk of this many bytes stays in a second-level cache between its summation and its collection; a chunk
# smaller than LEAST costs more in atomics than another member's help brings.
CHUNK_BYTES = 256 * 1024
LEAST_CHUNK_BYTES = 16 * 1024
# What is written of a model of so many bytes bypasses the caches (benchmarks/README.md). Snapshots and sums are read by other
# cores next, which take longer to get them from this core's caches than from memory. The caller reads the output
# itself, perhaps at once, so there it pays where little of it would be left in the caches; an output in place has
# been read, as the model, and is all but written already while the last cache holds it beside what else a step moves.
STREAM_WINDOW = 256 * 1024
STREAM_OUTPUT = 6 * 1024 * 1024
STREAM_IN_PLACE = max(STREAM_OUTPUT, wagma_last_cache() // 8)
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

    Local and pure: equal arguments give equal layouts on every rank, but for what is streamed.
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

        self.streams_window = snapshot >= STREAM_WINDOW
        self.streams_output = snapshot >= STREAM_OUTPUT
        self.streams_in_place = snapshot >= STREAM_IN_PLACE

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
        self.result_tag = 8
        self.retired = self.result_tag + 8 * RESULTS
        self.latest = up(self.retired + 8 * slots, LINE)
        self.entered = self.latest + LINE
        self.first_record = self.entered + LINE
        self.record_bytes = LINE + up(8 + 8 * group_size + 8 * self.chunks, LINE)
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

    def offsets(self):
        """Return where in a snapshot each leaf begins, bytes, in the order of the model."""
        found = [0] * self.leaf_count
        for i in range(self.leaf_count):
            found[self.order[i]] = self.leaf_place(i)
        return found

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

    cdef int64_t leaf_place(self, int i) noexcept nogil:
        """Return where in a snapshot the i-th leaf begins, bytes."""
        cdef Section* section = &self.sections[self.leaves[i].kind]
        return section.snapshot + self.leaves[i].begin * section.width

    cdef int64_t snapshot(self, int slot) noexcept nogil:
        return self.first_snapshot + slot * self.snapshot_bytes

    cdef int64_t result(self, uint64_t step) noexcept nogil:
        return self.first_result + <int64_t> (step % RESULTS) * self.result_bytes

    # The words of the record of a step, at its home.

    cdef int64_t state(self, uint64_t step) noexcept nogil:
        return self.first_record + <int64_t> (step % <uint64_t> self.records) * self.record_bytes

    cdef int64_t finished(self, uint64_t step) noexcept nogil:
        return self.state(step) + LINE

    cdef int64_t contribution(self, uint64_t step, int member) noexcept nogil:
        return self.finished(step) + 8 + 8 * member

    cdef int64_t chunk_word(self, uint64_t step, int c) noexcept nogil:
        return self.contribution(step, self.group_size + c)
