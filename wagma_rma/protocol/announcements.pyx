"""What ranks say of themselves in their words: how far they have come in a synchronisation, and in the run.

The `entered` word of a rank only grows; ``words`` says what it holds.
"""

from array import array

from libc.stdint cimport uint64_t
from wagma_rma.protocol.words cimport published_step

from wagma_rma.protocol.words import CLOSED, entered_step


cdef class Announcements:
    """The words of all ranks that tell their progress, and this rank's own."""

    def __cinit__(self, Window window, Layout layout):
        self.window = window
        self.layout = layout

    def announce(self, uint64_t word):
        """Raise this rank's `entered` word. Local."""
        cdef uint64_t found
        with nogil:
            self.window.fetch_max(self.window.rank, self.layout.entered, word, &found)
            self.window.complete()

    def entered(self, ranks):
        """Return the `entered` word of each of some ranks, in one round trip."""
        return self.loaded(ranks, self.layout.entered)

    def published(self, ranks):
        """Return the steps of some ranks' newest snapshots, in one round trip: they have reached at least those."""
        return [published_step(word) for word in self.loaded(ranks, self.layout.published)]

    def reached(self, ranks):
        """Return the newest steps that some ranks are known to have reached."""
        entered = [0 if word >= CLOSED else entered_step(word) for word in self.entered(ranks)]
        return list(map(max, entered, self.published(ranks)))

    cdef list loaded(self, ranks, int64_t word):
        """Return a word of each of some ranks, loaded in one round trip."""
        found = array("Q", [0]) * len(ranks)
        cdef uint64_t[::1] words = found
        cdef int i, rank
        for i, rank in enumerate(ranks):
            self.window.load(rank, word, 1, &words[i])
        with nogil:
            self.window.complete()
        return found.tolist()
