"""The sums of a synchronisation: of all ranks, within hosts and between them."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.model.leaf_pointers cimport LeafPointers
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.protocol.snapshots cimport Snapshots
from wagma_rma.windows.window cimport Window

cdef struct Range:
    int64_t begin, end   # elements of a section

cdef struct Piece:
    int section
    int64_t begin, count # elements of the section
    int first, sources   # its places among the sources

cdef struct Source:
    int rank             # whose window is read
    int which            # of its snapshots, or of its results

@cython.final
cdef class Reduction:
    cdef Window window
    cdef Layout layout
    cdef Snapshots snapshots
    cdef list near             # the ranks of this host
    cdef bint callers          # the caller still has the model that this rank has contributed
    cdef bint moved            # a pending move has made it another model
    cdef bint whole            # each rank sums the whole model for itself
    cdef int columns           # parts of the model that ranks of a host sum: each rank one, in rank order
    cdef int column            # this rank's, or -1
    cdef int host              # this rank's
    cdef dict peers            # the rank of this column at each host with which this one exchanges sums, in order
    cdef list waiting          # (stage, rank, place): the rank waits for this one's stage, at a place of its `heard`
    cdef int stage, told       # of this rank's column; and the one that the others have been told
    cdef object plan           # of this host (rounds.Plan)
    cdef uint64_t barrier      # the number of the one at which the ranks have come to this synchronisation
    cdef uint64_t summed       # columns of this host that have been summed, of all synchronisations so far
    cdef readonly int64_t bytes_read, bytes_over_network  # of other ranks' memory, in the last synchronisation
    cdef uint64_t ignored      # what an operation finds

    # The transfer under way: all pieces, and where each is read.
    cdef Piece* pieces
    cdef int piece_count, piece_room
    cdef Source* sources
    cdef int source_count, source_room
    cdef int most_sources      # that a piece has
    cdef const void** bytes    # of the pieces in the lanes, per lane and source

    cdef Range part_of(self, int section, int column, tuple digits)
    cdef int perform(self, int number) except -1
    cdef int begin_transfer(self) noexcept
    cdef int add_contributions(self) except -1
    cdef int add_source(self, int rank, int which) except -1
    cdef int64_t sums_at(self, int result, int section) noexcept nogil
    cdef int add_pieces(self, int column, tuple digits, int first, int sources, int64_t largest=*) except -1
    cdef int transfer(self, int kind, int result, LeafPointers pointers) except -1 nogil
    cdef int begin_piece(self, int lane, Piece* piece, int kind, LeafPointers pointers) except -1 nogil
    cdef int read_callers(self, const void** bytes, Piece* piece, LeafPointers pointers) noexcept nogil
    cdef int end_piece(self, int lane, Piece* piece, int kind, int result, LeafPointers pointers) except -1 nogil
    cdef int write_mean(self, Piece* piece, int kind, const void** bytes, LeafPointers pointers) except -1 nogil
    cdef int tell_stage(self) except -1
