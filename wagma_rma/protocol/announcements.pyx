"""What ranks say of themselves in their words: how far they have come in a synchronisation and in the run, and whether
they have departed from it.

The words `entered` and `departure` of a rank only grow; ``words`` says what they hold.
"""

from array import array

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy
from wagma_rma.protocol.layout cimport MESSAGE_BYTES, NOTE_WORDS
from wagma_rma.protocol.words cimport published_step

from wagma_rma.protocol.words import CLOSED, entered_step, pack_note, read_note


cdef class Announcements:
    """The words of all ranks that tell their progress, and this rank's own."""

    def __cinit__(self, Window window, Layout layout):
        self.window = window
        self.layout = layout

    def announce(self, uint64_t word):
        """Raise this rank's `entered` word. Local."""
        self.raise_own(self.layout.entered, word)

    def announce_departure(self, uint64_t word, text=""):
        """Raise this rank's `departure` word. Local.

        Args:
            text: for the note that goes with it, if there is none yet; its first 56 bytes are kept.
        """
        cdef int i
        if text:
            for i, part in enumerate(pack_note(text, NOTE_WORDS)):
                self.raise_own(self.layout.note + 8 * i, part)
        self.raise_own(self.layout.departure, word)

    def announce_process(self, uint64_t word):
        """Tell which process this rank is. Local."""
        self.raise_own(self.layout.process, word)

    def entered(self, ranks):
        """Return the `entered` word of each of some ranks, in one round trip."""
        return self.loaded(ranks, self.layout.entered)

    def published(self, ranks):
        """Return the steps of some ranks' newest snapshots, in one round trip: they have reached at least those."""
        return [published_step(word) for word in self.loaded(ranks, self.layout.published)]

    def departures(self, ranks):
        """Return the `departure` word of each of some ranks, in one round trip."""
        return self.loaded(ranks, self.layout.departure)

    def note(self, rank):
        """Return the text that a rank has left with its `departure` word."""
        return read_note([self.loaded([rank], self.layout.note + 8 * i)[0] for i in range(NOTE_WORDS)])

    def tell_error(self, uint64_t barrier, text):
        """Write what this rank has found wrong, for ranks that meet it at a barrier. Local.

        Args:
            text: its first 1,791 bytes are kept.
        """
        cdef bytes encoded = text.encode()[:MESSAGE_BYTES - 1]
        cdef const char* begin = encoded
        cdef int64_t place = self.layout.message(barrier)
        memcpy(self.window.own(place), begin, len(encoded) + 1)
        self.window.wrote(place, MESSAGE_BYTES)

    def told_error(self, int rank, uint64_t barrier):
        """Return what a rank has found wrong at a barrier that is over, in one bulk read."""
        cdef const void* found
        cdef int64_t place = self.layout.message(barrier)
        with nogil:
            self.window.read(0, 0, rank, place, MESSAGE_BYTES, &found)
            self.window.complete_reads(0)
        return (<const char*> found).decode(errors="ignore")

    def processes(self, ranks):
        """Return the `process` word of each of some ranks, in one round trip."""
        return self.loaded(ranks, self.layout.process)

    def reached(self, ranks):
        """Return the newest steps that some ranks are known to have reached."""
        entered = [0 if word >= CLOSED else entered_step(word) for word in self.entered(ranks)]
        return list(map(max, entered, self.published(ranks)))

    cdef int raise_own(self, int64_t at, uint64_t word) except -1:
        """Raise a word of this rank."""
        cdef uint64_t found
        with nogil:
            self.window.fetch_max(self.window.rank, at, word, &found)
            self.window.complete()
        return 0

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
