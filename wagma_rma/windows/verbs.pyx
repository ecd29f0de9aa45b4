"""The verbs of a window for Python, at Python's speed: for measurements, diagnosis and tests, not for the protocol.

``python -m wagma_rma`` and ``progress_choice`` measure with it; ``wagma_rma.testing`` checks windows with it.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from wagma_rma.waiting.waiter cimport Wait
from wagma_rma.windows.window cimport Window

from cpython.bytes cimport PyBytes_FromStringAndSize


cdef class Verbs:
    """The verbs of a window. Each operation on words is complete when its method returns.

    Args:
        window: any Window.
        sources, nbytes: arguments of prepare_reads().
    """

    cdef readonly Window window
    cdef int sources
    cdef const void** bytes  # per lane and source: where a read's bytes are
    cdef dict sizes          # the bytes of each read of a lane, by lane

    def __cinit__(self, Window window, int sources=1, int64_t nbytes=0):
        self.window = window
        self.sources = sources
        self.sizes = {}
        self.bytes = <const void**> calloc(window.lanes * sources, sizeof(void*))
        window.prepare_reads(sources, nbytes)

    def __dealloc__(self):
        free(self.bytes)

    def load(self, int rank, int64_t word, int count=1):
        """Return the values of `count` words."""
        cdef uint64_t* values = <uint64_t*> calloc(count, 8)
        try:
            with nogil:
                self.window.load(rank, word, count, values)
                self.window.complete()
            return [values[i] for i in range(count)]
        finally:
            free(values)

    def fetch_add(self, int rank, int64_t word, uint64_t addend):
        """Add to a word, and return what it held before."""
        return self.several([("fetch_add", rank, word, addend)])[0]

    def fetch_max(self, int rank, int64_t word, uint64_t value):
        """Raise a word to a value, and return what it held before."""
        return self.several([("fetch_max", rank, word, value)])[0]

    def compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired):
        """Replace a word if it holds `expected`, and return what it held before."""
        return self.several([("compare_and_swap", rank, word, expected, desired)])[0]

    def several(self, operations):
        """Begin all operations, complete them together, and return what each word held before.

        Args:
            operations: (verb, rank, word, values...) of each; "load" has no values.
        """
        cdef uint64_t* found = <uint64_t*> calloc(max(1, len(operations)), 8)
        cdef uint64_t value, desired
        cdef int i, rank
        cdef int64_t word
        try:
            for i, (verb, at, where, *values) in enumerate(operations):
                rank, word = at, where
                value, desired = [*values, 0, 0][:2]
                if verb == "load":
                    with nogil:
                        self.window.load(rank, word, 1, &found[i])
                elif verb == "fetch_add":
                    with nogil:
                        self.window.fetch_add(rank, word, value, &found[i])
                elif verb == "fetch_max":
                    with nogil:
                        self.window.fetch_max(rank, word, value, &found[i])
                else:
                    assert verb == "compare_and_swap"
                    with nogil:
                        self.window.compare_and_swap(rank, word, value, desired, &found[i])
            with nogil:
                self.window.complete()
            return [found[i] for i in range(len(operations))]
        finally:
            free(found)

    def write(self, int64_t offset, bytes data):
        """Write into this rank's bulk memory. Others may see it only after the next write_fence()."""
        cdef const char* source = data
        cdef int64_t nbytes = len(data)
        with nogil:
            memcpy(self.window.own(offset), source, nbytes)
            self.window.wrote(offset, nbytes)

    def read(self, int rank, int64_t offset, int64_t nbytes):
        """Return a range of a rank's bulk memory."""
        return self.reads(0, [(rank, offset, nbytes)])[0]

    def reads(self, int lane, ranges):
        """Read ranges, each (rank, offset, nbytes), in one lane, and return their bytes."""
        self.start_reads(lane, ranges)
        return self.complete_reads(lane)

    def start_reads(self, int lane, ranges):
        """Begin to read ranges, each (rank, offset, nbytes), in one lane."""
        cdef int source, rank
        cdef int64_t offset, nbytes
        for source, (rank, offset, nbytes) in enumerate(ranges):
            with nogil:
                self.window.read(lane, source, rank, offset, nbytes, &self.bytes[lane * self.sources + source])
        self.sizes[lane] = [nbytes for _, _, nbytes in ranges]

    def complete_reads(self, int lane):
        """Complete the reads of a lane, and return their bytes."""
        cdef int i
        with nogil:
            self.window.complete_reads(lane)
        return [
            PyBytes_FromStringAndSize(<const char*> self.bytes[lane * self.sources + i], nbytes)
            for i, nbytes in enumerate(self.sizes[lane])
        ]

    def write_fence(self):
        """Make all bulk writes and words of this rank so far visible before any later write of it."""
        with nogil:
            self.window.write_fence()

    def read_fence(self):
        """Have all bulk reads so far done before any later verb begins."""
        with nogil:
            self.window.read_fence()

    def pause(self, double until=0, int times=1):
        """Pause some times in one wait. Return the seconds that it took on the waiter's clock."""
        cdef Wait wait = self.window.waiter.begin(until)
        cdef int i
        with nogil:
            for i in range(times):
                self.window.waiter.pause(&wait)
        return self.window.waiter.now() - wait.since
