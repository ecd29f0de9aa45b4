"""Floating-point arithmetic as the standard has it, whatever thread one is called on.

XLA runs host callbacks on threads that flush subnormal numbers to zero. Ranks that average on such a thread and
ranks that do not would end a step with different bits, so every step sets the default environment for itself.
"""

cdef extern from "<fenv.h>" nogil:
    ctypedef struct fenv_t:
        pass
    const fenv_t* FE_DFL_ENV
    int fegetenv(fenv_t* environment)
    int fesetenv(const fenv_t* environment)


cdef class DefaultFloats:
    """A context in which this thread rounds to nearest and keeps subnormal numbers. Not to be nested."""

    cdef fenv_t before

    def __enter__(self):
        fegetenv(&self.before)
        fesetenv(FE_DFL_ENV)

    def __exit__(self, kind, error, traceback):
        fesetenv(&self.before)
