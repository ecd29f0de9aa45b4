"""Floating-point arithmetic as the standard has it, whatever thread one is called on.

XLA runs host callbacks on threads that flush subnormal numbers to zero. Ranks that average on such a thread and
ranks that do not would end a step with different bits, so every step sets the default environment for itself.
"""

cdef extern from "wagma_rma/kernels/floats.h" nogil:
    void wagma_floats_enter(wagma_floats* before)
    void wagma_floats_leave(const wagma_floats* before)


cdef class DefaultFloats:
    """A context in which this thread rounds to nearest and keeps subnormal numbers. Not to be nested."""

    cdef void enter(self) noexcept nogil:
        wagma_floats_enter(&self.before)

    cdef void leave(self) noexcept nogil:
        wagma_floats_leave(&self.before)

    def __enter__(self):
        self.enter()

    def __exit__(self, error_type, error, traceback):
        self.leave()
