"""Where everything lies in a window.

A window begins with words (the header, then the records), followed by the snapshots, the results, the messages
and the row:

    header    published, result_tag[3], retired[slots] | latest | entered, departure, process, contributed, progress
              | note[8] | reached, said, refusing, summed, node | gathered, refused, called | counted[places]
              | heard[peers]
    record[k] state | finished, contribution[members], chunk[chunks]
    snapshot  one section for each dtype, the leaves of that dtype end to end
    result    the same sections, of sums: float32 for 16-bit dtypes
    region    of the leaves that synchronisations alone average, in the type of sums: this rank's contribution, the totals;
              across hosts partial sums too
    message   the text of an error
    row       what this rank tells of its pace (``row``)

What the words hold stands in ``words``. A record begins a cache line, and so does what follows a bar:

- `published` and `retired` share a line (with up to 4 slots), so that a rank that pins a snapshot has the line at
  hand when it unpins;
- `state` has a line of its own, so that ranks that wait for it do not pull away the line that others write; for the
  same reason `gathered` does not share the line of `reached`.

A chunk is a range of one section.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset
from wagma_rma.kernels.memory cimport LINE, PAGE

from wagma_rma.kernels.dtypes import DTYPES

# A chunk of this many bytes stays in a second-level cache between its summation and its collection. For a chunk
# smaller than LEAST_CHUNK_BYTES the atomic operations cost more than another member's help saves.
CHUNK_BYTES = 256 * 1024
LEAST_CHUNK_BYTES = 16 * 1024
# Over a network a chunk costs round trips; it is so much larger there that these are a small part of its time.
NETWORK_FACTOR = 8


cdef int64_t up(int64_t n, int64_t unit) noexcept nogil:
    return (n + unit - 1) // unit * unit


def most_children(int hosts):
    """Return how many hosts a node of a tree of so many hosts has below it, at most."""
    return min(ARITY, hosts - 1)


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
        dtypes: the number of each leaf's dtype (kernels.dtypes).
        counts: the elements of each leaf.
        group_size: the most members that a group has; 1 needs no records.
        records: how many records; at least as many as group steps from one synchronisation to the next.
        slots: how many snapshots.
        network: chunks go over a network.
        synchronized: whether each leaf is averaged at synchronisations only; (): none is.
        children: most hosts below a node (``barrier``).
        peers: most ranks with which one exchanges sums between hosts (``rounds``).

    Local and pure: equal arguments give equal layouts on every rank.
    """

    def __cinit__(self, dtypes, counts, int group_size, int64_t records, int slots, bint network=False,
                  synchronized=(), int children=0, int peers=0):
        cdef int i, c, number
        cdef Section* section
        if len(DTYPES) != WAGMA_DTYPES:
            raise TypeError(f"Layout: kernels.dtypes has {len(DTYPES)} dtypes, kernels.h {WAGMA_DTYPES}")
        self.group_size = group_size
        self.records = records
        self.slots = slots
        self.leaf_count = len(dtypes)
        numbers = [dtype + WAGMA_DTYPES * any(synchronized[leaf:leaf + 1]) for leaf, dtype in enumerate(dtypes)]
        self.order = sorted(range(self.leaf_count), key=lambda leaf: numbers[leaf])
        self.group_leaves = sum([number < WAGMA_DTYPES for number in numbers])

        # Sections and their chunks.
        cdef int64_t snapshot = 0, result = 0
        for number in range(SECTIONS):
            if number == WAGMA_DTYPES:
                self.model_bytes, self.snapshot_bytes = snapshot, up(snapshot, PAGE)
                self.sums_bytes, self.result_bytes = result, up(result, PAGE)
                snapshot, result = self.snapshot_bytes, 0
            section = &self.sections[number]
            section.width = DTYPES[number % WAGMA_DTYPES].width
            section.sum_width = DTYPES[number % WAGMA_DTYPES].sum_width
            section.snapshot = snapshot
            section.result = result
            section.first_chunk = self.chunks
            for i in range(self.leaf_count):
                if numbers[i] == number:
                    section.count += counts[i]
            if section.count:
                section.chunk_count = chunk_elements(section.count, section.width, group_size, network)
                if number < WAGMA_DTYPES:
                    section.chunks = (section.count + section.chunk_count - 1) // section.chunk_count
                self.chunk_bytes = max(self.chunk_bytes, section.chunk_count * section.sum_width)
            self.chunks += section.chunks
            snapshot = up(snapshot + section.count * section.width, LINE)
            result = up(result + section.count * section.sum_width, LINE)
        self.private_bytes = snapshot
        self.region_bytes = up(result, PAGE)
        if not self.chunks:
            # A record has a chunk to finish even if there is nothing to sum.
            self.chunks = self.sections[0].chunks = self.sections[0].chunk_count = 1
            for number in range(1, SECTIONS):
                self.sections[number].first_chunk = 1

        # Leaves, and the first leaf of each chunk.
        # One entry more, of no section: the first leaf of a chunk without elements may be past the last leaf.
        self.leaves = <Leaf*> calloc(self.leaf_count + 1, sizeof(Leaf))
        self.first_leaf = <int*> calloc(self.chunks, sizeof(int))
        if self.leaves is NULL or self.first_leaf is NULL:
            raise MemoryError("Layout: no memory for the table of leaves")
        self.leaves[self.leaf_count].section = SECTIONS
        cdef int64_t[SECTIONS] filled
        memset(filled, 0, sizeof(filled))
        for i in range(self.leaf_count):
            number = numbers[self.order[i]]
            self.leaves[i].section = number
            self.leaves[i].begin = filled[number]
            self.leaves[i].count = counts[self.order[i]]
            filled[number] += self.leaves[i].count
        cdef Chunk chunk
        i = 0
        for c in range(self.chunks):
            chunk = self.chunk(c)
            while i < self.leaf_count and (self.leaves[i].section < chunk.dtype or (
                    self.leaves[i].section == chunk.dtype
                    and self.leaves[i].begin + self.leaves[i].count <= chunk.begin)):
                i += 1
            self.first_leaf[c] = i

        # The window, from its beginning.
        self.published = 0
        self.result_tag = 8
        self.retired = self.result_tag + 8 * RESULTS
        self.latest = up(self.retired + 8 * slots, LINE)
        self.entered = self.latest + LINE
        self.departure = self.entered + 8
        self.process = self.departure + 8
        self.contributed = self.process + 8
        self.progress = self.contributed + 8
        self.note = self.entered + LINE
        self.reached = self.note + up(8 * NOTE_WORDS, LINE)
        self.said = self.reached + 8
        self.refusing = self.said + 8
        self.summed = self.refusing + 8
        self.node = self.summed + 8
        self.gathered = self.reached + LINE
        self.refused = self.gathered + 8
        self.called = self.refused + 8
        # With one host a node has no places: its own ranks complete it.
        self.places, self.peers = 1 + children if children else 0, peers
        self.counted = self.gathered + LINE
        self.heard = self.counted + up(8 * self.places, LINE)
        self.first_record = self.heard + up(8 * peers, LINE)
        self.record_bytes = LINE + up(8 + 8 * group_size + 8 * self.chunks, LINE)
        self.words_bytes = up(self.first_record + self.record_bytes * records, PAGE)
        self.first_snapshot = self.words_bytes
        self.first_result = self.first_snapshot + self.snapshot_bytes * slots
        self.first_region = self.first_result + self.result_bytes * RESULTS
        self.region_parts = 4 if network else 2
        self.first_message = self.first_region + self.region_parts * self.region_bytes
        self.row = self.first_message + up(2 * MESSAGE_BYTES, LINE)
        self.nbytes = up(self.row + 8 * ROW_WORDS, PAGE)

    def __dealloc__(self):
        free(self.leaves)
        free(self.first_leaf)

    def offsets(self):
        """Return where in a snapshot each leaf begins, bytes, in the order of the model; -1 if it is in none."""
        found = self.private_offsets()
        for i in range(self.group_leaves, self.leaf_count):
            found[self.order[i]] = -1
        return found

    def private_offsets(self):
        """Return where in a private model each leaf begins, bytes, in the order of the model."""
        found = [0] * self.leaf_count
        for i in range(self.leaf_count):
            found[self.order[i]] = self.leaf_place(i)
        return found

    cdef Chunk chunk(self, int c) noexcept nogil:
        """Return the range of chunk `c`."""
        cdef Chunk chunk
        cdef Section* section
        chunk.dtype = 0
        while c >= self.sections[chunk.dtype].first_chunk + self.sections[chunk.dtype].chunks:
            chunk.dtype += 1
        section = &self.sections[chunk.dtype]
        chunk.begin = (c - section.first_chunk) * section.chunk_count
        chunk.count = min(section.chunk_count, section.count - chunk.begin)
        return chunk

    cdef int64_t leaf_place(self, int i) noexcept nogil:
        """Return where in a snapshot the i-th leaf begins, bytes; if it is in none, where in a private model."""
        cdef Section* section = &self.sections[self.leaves[i].section]
        return section.snapshot + self.leaves[i].begin * section.width

    cdef int64_t snapshot(self, int slot) noexcept nogil:
        return self.first_snapshot + slot * self.snapshot_bytes

    cdef int64_t region(self, int part) noexcept nogil:
        """Return where a part of the region begins: REGION_MODEL, REGION_TOTALS or REGION_PARTIAL."""
        return self.first_region + part * self.region_bytes

    cdef int64_t message(self, uint64_t barrier) noexcept nogil:
        return self.first_message + <int64_t> (barrier % 2) * MESSAGE_BYTES

    # What a group step uses, by the step's number among the group steps (Record.number).

    cdef int64_t result(self, uint64_t number) noexcept nogil:
        return self.first_result + <int64_t> (number % RESULTS) * self.result_bytes

    cdef int64_t tag(self, uint64_t number) noexcept nogil:
        return self.result_tag + 8 * <int64_t> (number % RESULTS)

    # The words of its record, at the record's home.

    cdef int64_t state(self, uint64_t number) noexcept nogil:
        return self.first_record + <int64_t> (number % <uint64_t> self.records) * self.record_bytes

    cdef int64_t finished(self, uint64_t number) noexcept nogil:
        return self.state(number) + LINE

    cdef int64_t contribution(self, uint64_t number, int member) noexcept nogil:
        return self.finished(number) + 8 + 8 * member

    cdef int64_t chunk_word(self, uint64_t number, int c) noexcept nogil:
        return self.contribution(number, self.group_size + c)
