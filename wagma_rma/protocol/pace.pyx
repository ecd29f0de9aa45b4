"""The time that a rank needs for itself between two steps: from the end of one to the beginning of the next.

It holds no waiting for other ranks. The median of the last three is what a step usually takes: one time that is out of
the ordinary (a compilation, a checkpoint, an evaluation, a preemption) changes nothing. Of fewer than three it is the
shortest.
"""

cimport cython


@cython.final
cdef class Pace:
    """The times of one rank between its steps. Local.

    It reads no clock: steps read it anyway, when they begin and when they end.
    """

    def __cinit__(self):
        self.ended = -1

    cdef void begin_step(self, double now) noexcept nogil:
        """Note that a group step begins."""
        if self.ended >= 0:
            self.between[self.oldest] = now - self.ended
            if self.between[1] == 0:
                self.between[1] = self.between[0]  # the first one, until there is a second one
            self.oldest = (self.oldest + 1) % SAMPLES
            self.ended = -1

    cdef void end_step(self, double now) noexcept nogil:
        """Note that a step ends, a group step or a synchronisation."""
        self.ended = now

    cdef double usual(self) noexcept nogil:
        """Return the median of the last three times, seconds; 0 if none is known."""
        cdef double low = min(self.between[0], self.between[1]), high = max(self.between[0], self.between[1])
        return max(low, min(high, self.between[2]))
