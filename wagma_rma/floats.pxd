"""Floating-point arithmetic as the standard has it, whatever thread one is called on."""

cdef extern from "<fenv.h>" nogil:
    ctypedef struct fenv_t:
        pass

cdef class DefaultFloats:
    cdef fenv_t before  # what to go back to

    cdef void enter(self) noexcept nogil
    cdef void leave(self) noexcept nogil
