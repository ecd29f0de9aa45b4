"""Floating-point arithmetic as the standard has it, whatever thread one is called on."""

cdef extern from "wagma_rma/kernels/floats.h" nogil:
    ctypedef struct wagma_floats:
        pass

cdef class DefaultFloats:
    cdef wagma_floats before  # what to go back to

    cdef void enter(self) noexcept nogil
    cdef void leave(self) noexcept nogil
