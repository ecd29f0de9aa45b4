"""The word by which a quorum of arrivals calls the other ranks to a synchronisation.

A rank loads the word of its host together with the first words of a step, and with each look at a record that is not open.
So a call costs it no round trip.
"""

cimport cython

from wagma_rma.protocol.layout cimport Layout


@cython.final
cdef class Calls:
    """The calls that one rank hears. Local.

    Args:
        leader: the rank in whose window the word of this host lies; -1: nobody is called.
    """

    def __cinit__(self, Window window, Layout layout, int leader=-1):
        self.window = window
        self.leader = leader
        self.word = layout.called

    cdef int begin_look(self) except -1 nogil:
        """Begin to load the word; is_called() may be asked after complete()."""
        if self.leader >= 0:
            return self.window.load(self.leader, self.word, 1, &self.called)
        return 0

    cdef bint is_called(self, uint64_t step) noexcept nogil:
        """Return whether this rank was called, when it looked last, to a step after the last synchronisation.

        Args:
            step: any group step since. A call is to the next multiple of the period, so one that is older is to an
                earlier step.
        """
        return self.called >= step
