"""The verbs that the protocol needs of any memory that ranks share.

A window is a piece of memory per rank, of the same size at each. A part of it is 64-bit words, which
ranks meet in by atomics only; the rest is bulk memory, which its owner writes and the others read.

``Window`` states the verbs and their meaning, and owns what all windows share: the clock and the way of
waiting. ``SharedWindow`` is the memory of one host, ``RemoteWindow`` that of many.
"""

cdef int abstract(Window window, str verb) except -1:
    raise TypeError(f"{type(window).__name__} has no verb {verb}()")


# A rank that holds a claim, or an activation, for longer has been stopped or preempted: a time slice or so.
cdef double LEAST_TAKE_OVER = 2e-3


cdef class Window:
    """Memory of several ranks, and the verbs on it.

    Not used by itself: a subclass gives the verbs their memory. Words and bulk memory are addressed by
    rank and byte offset. Verbs run without the GIL and are local unless the subclass says otherwise.
    """

    def __cinit__(self):
        self.least_take_over = LEAST_TAKE_OVER
        self.waiter = Waiter()

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        """Load `count` consecutive words, each of them atomically."""
        with gil:
            return abstract(self, "load")

    cdef int store(self, int rank, int64_t word, uint64_t value) except -1 nogil:
        """Store a word atomically. Only before anyone else can meet it: no other verb mixes with it."""
        with gil:
            return abstract(self, "store")

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        """Add to a word, modulo 2^64."""
        with gil:
            return abstract(self, "fetch_add")

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        """Raise a word to `value` if it is smaller; both are below 2^63, since an MPI may take them for signed."""
        with gil:
            return abstract(self, "fetch_max")

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        """Swap a word if it holds `expected`; *found == expected says that the swap was made."""
        with gil:
            return abstract(self, "compare_and_swap")

    cdef int complete(self) except -1 nogil:
        """Complete all word operations started so far, at this rank and at their targets."""
        with gil:
            return abstract(self, "complete")

    cdef char* own(self, int64_t offset) noexcept nogil:
        """Point into this rank's own memory."""
        return NULL

    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil:
        """Say that a range of own() has been written; nobody need see it before the next write_fence()."""
        with gil:
            return abstract(self, "wrote")

    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil:
        """Start a bulk read: *bytes holds the range after complete_reads(lane), until the same (lane, source)
        is read again. Where the memory is mapped nothing is copied: the bytes are then read as they are used."""
        with gil:
            return abstract(self, "read")

    cdef int complete_reads(self, int lane) except -1 nogil:
        """Complete the bulk reads of a lane."""
        with gil:
            return abstract(self, "complete_reads")

    cdef int prepare_reads(self, int sources, int64_t nbytes) except -1:
        """Make room for reads from `sources` ranks in each lane, of at most `nbytes` each."""
        return abstract(self, "prepare_reads")

    cdef bint is_near(self, int rank) noexcept nogil:
        """Say whether the bulk memory of a rank is on this host, so that reading it moves nothing over a network."""
        return True

    cdef int write_fence(self) except -1 nogil:
        """Make all bulk writes and words of this rank so far visible before any later write of it."""
        with gil:
            return abstract(self, "write_fence")

    cdef int read_fence(self) except -1 nogil:
        """Have all bulk reads so far made before any later verb."""
        with gil:
            return abstract(self, "read_fence")
