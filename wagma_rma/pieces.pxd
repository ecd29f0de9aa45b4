"""The caller's arrays, as the protocol sees them."""

cdef class Pieces:
    cdef readonly int count
    cdef const char** sources  # where each leaf of the layout lies in the caller's model
    cdef char** targets        # where its average goes
    cdef list held             # the arrays behind the pointers
