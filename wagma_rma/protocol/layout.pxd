"""Where everything lies in a window."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.kernels.kernels cimport WAGMA_DTYPES

cdef enum:
    RESULTS = 3   # result slots
    NOTE_WORDS = 8
    # Hosts below a node: with one level less, a barrier takes two round trips less; the last rank pays for each host.
    ARITY = 16
    MESSAGE_BYTES = 1792  # of an error that a rank tells the others
    ROW_WORDS = 48        # of what a rank tells of its pace
    # Of the leaves that are averaged in groups, one for each dtype; then of those that synchronisations alone average.
    SECTIONS = 2 * WAGMA_DTYPES
    # Parts of the region of the latter: this rank's contribution, and results.
    REGION_MODEL = 0
    REGION_TOTALS = 1
    REGION_PARTIAL = 2  # and the next one; across hosts

cdef struct Section:
    int64_t count          # elements
    int64_t snapshot       # where they begin in a snapshot, bytes; synchronisations alone: in a private model
    int64_t result         # where their sums begin in a result, or in a part of the region, bytes
    int64_t chunk_count    # elements in each chunk but the last
    int first_chunk        # its chunks are first_chunk .. first_chunk + chunks - 1
    int chunks
    int width              # bytes of an element
    int sum_width          # bytes of an element of its sums

cdef struct Chunk:
    int dtype              # of its section
    int64_t begin          # its first element in the section
    int64_t count          # elements

cdef struct Leaf:
    int section            # its number; a chunk's dtype is the number of the chunk's section too
    int64_t begin          # its first element in the section
    int64_t count          # elements

cdef class Layout:
    cdef Section[SECTIONS] sections
    cdef Leaf* leaves              # in the order of the sections, then of the model
    cdef int* first_leaf           # per chunk: the first leaf with elements in it
    cdef readonly int leaf_count
    cdef readonly int group_leaves # the first so many leaves are averaged in groups
    cdef readonly list order       # order[i]: which leaf of the model leaves[i] is
    cdef readonly int chunks       # per model, at least 1
    cdef readonly int group_size   # members that a record has room for
    cdef readonly int slots        # snapshots
    cdef readonly int records      # the n-th group step uses record n mod records
    cdef readonly int64_t published, latest, entered, retired, result_tag  # words, byte offsets
    cdef readonly int64_t departure, process, note
    cdef readonly int64_t contributed, progress
    cdef readonly int64_t reached, said, refusing, summed, node, gathered, refused, called, counted  # of a host
    cdef readonly int64_t heard                      # of a rank, from each peer
    cdef readonly int places, peers                  # at a node; of a rank
    cdef readonly int64_t record_bytes, first_record
    cdef readonly int64_t words_bytes                # all words lie below this
    cdef readonly int64_t model_bytes                # of a snapshot, without its padding to a page
    cdef readonly int64_t snapshot_bytes, first_snapshot
    cdef readonly int64_t result_bytes, first_result
    cdef readonly int64_t sums_bytes                 # of a result, without its padding to a page
    cdef readonly int64_t private_bytes              # of a model in private memory: a snapshot, then the other leaves
    cdef readonly int64_t region_bytes, first_region # a part of the region of the other leaves, and its beginning
    cdef readonly int64_t chunk_bytes                # most bytes that a chunk has in a snapshot or result
    cdef readonly int region_parts
    cdef readonly int64_t first_message, row
    cdef readonly int64_t nbytes

    cdef Chunk chunk(self, int c) noexcept nogil
    cdef int64_t leaf_place(self, int i) noexcept nogil
    cdef int64_t region(self, int part) noexcept nogil
    cdef int64_t snapshot(self, int slot) noexcept nogil
    cdef int64_t message(self, uint64_t barrier) noexcept nogil
    cdef int64_t result(self, uint64_t number) noexcept nogil
    cdef int64_t tag(self, uint64_t number) noexcept nogil
    cdef int64_t state(self, uint64_t number) noexcept nogil
    cdef int64_t finished(self, uint64_t number) noexcept nogil
    cdef int64_t contribution(self, uint64_t number, int member) noexcept nogil
    cdef int64_t chunk_word(self, uint64_t number, int c) noexcept nogil
