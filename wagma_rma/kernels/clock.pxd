"""The clock, and the ways in which a thread gives up its core; see clock.h."""

cdef extern from "wagma_rma/kernels/clock.h" nogil:
    double wagma_now()
    void wagma_relax()
    void wagma_yield()
    int wagma_sleep(double seconds)
