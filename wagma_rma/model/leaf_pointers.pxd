"""Pointers to the leaves of the caller's model, as the protocol sees it."""

cimport numpy as cnp

from wagma_rma.model.copies cimport Copies, DeviceLeaves

cpdef bint is_like(object array, cnp.ndarray example) except -1

cdef class LeafPointers:
    cdef readonly int count
    cdef const char** sources  # where each leaf of the layout lies in the caller's model; NULL: it is to be fetched
    cdef char** targets        # where its average goes
    cdef Copies copies         # where the leaves lie on a device: sources are NULL, targets in memory of this host; or None
    cdef bint moved            # the device has added what was pending, if it was given that
    cdef bint entangled        # writing a target may change the source of another leaf
    cdef list held             # the arrays behind the pointers
    cdef list order            # which leaf of the model comes i-th in the layout

    cdef int fetch(self, int i) except -1
