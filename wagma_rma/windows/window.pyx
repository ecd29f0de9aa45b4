"""The verbs that the protocol needs of any memory that ranks share.

A window is a piece of memory for each rank, of the same size at each. Its first part holds 64-bit *words*, which all
ranks change by atomic operations. The rest is *bulk memory*, which its owner writes and the others read.

``Window`` states the verbs and their meaning. ``SharedWindow`` has the memory of one host, ``RemoteWindow`` the memory
of many.
"""

cdef int refuse(Window window, str verb) except -1:
    raise TypeError(f"{type(window).__name__} has no verb {verb}()")


# Seconds, about a time slice. A rank that holds a claim, or an activation, for longer has been stopped or preempted.
cdef double LEAST_TAKE_OVER = 2e-3


cdef class Window:
    """Memory of several ranks, and the verbs on it.

    An abstract class: its subclasses override all verbs but is_near(). Words and bulk memory are addressed by rank and
    byte offset. Verbs run without the GIL. They are local unless the subclass says otherwise.
    """

    def __cinit__(self):
        self.least_take_over = LEAST_TAKE_OVER
        self.waiter = Waiter()

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        """Load `count` consecutive words, each of them atomically."""
        with gil:
            return refuse(self, "load")

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        """Add to a word, modulo 2^64."""
        with gil:
            return refuse(self, "fetch_add")

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        """Raise a word to `value` if it is smaller; both are below 2^63, since an MPI may take them for signed."""
        with gil:
            return refuse(self, "fetch_max")

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        """Replace a word by `desired` if it holds `expected`; *found == expected says that it did."""
        with gil:
            return refuse(self, "compare_and_swap")

    cdef int complete(self) except -1 nogil:
        """Complete all word operations begun so far, at this rank and at their targets."""
        with gil:
            return refuse(self, "complete")

    cdef char* own(self, int64_t offset) noexcept nogil:
        """Return the address of a byte of this rank's own memory."""
        return NULL

    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil:
        """Announce that a range of own() has been written. Others may see it only after the next write_fence()."""
        with gil:
            return refuse(self, "wrote")

    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil:
        """Begin a bulk read of a range of a rank's memory.

        After complete_reads(lane), *bytes points to the range, until the same (lane, source) is read again. Where the
        memory is mapped nothing is copied: the bytes are read when the caller uses them.

        Args:
            source: which of the reads of this lane, below the number that prepare_reads() was given.
        """
        with gil:
            return refuse(self, "read")

    cdef int complete_reads(self, int lane) except -1 nogil:
        """Complete all bulk reads of a lane."""
        with gil:
            return refuse(self, "complete_reads")

    cdef int prepare_reads(self, int sources, int64_t nbytes) except -1:
        """Allocate memory for `sources` reads in each lane, of at most `nbytes` bytes each."""
        return refuse(self, "prepare_reads")

    cdef bint is_near(self, int rank) noexcept nogil:
        """Return whether a rank is on this host, so that reading its bulk memory moves nothing over a network."""
        return True

    cdef int write_fence(self) except -1 nogil:
        """Make all bulk writes and words of this rank so far visible before any later write of it."""
        with gil:
            return refuse(self, "write_fence")

    cdef int read_fence(self) except -1 nogil:
        """Have all bulk reads so far done before any later verb begins."""
        with gil:
            return refuse(self, "read_fence")
