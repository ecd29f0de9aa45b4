"""Copies of leaves that lie on a device, and not in this host's memory."""

from libc.stdint cimport int64_t, uint64_t

cdef class DeviceLeaves:
    cdef readonly Copies copies
    cdef readonly uint64_t stream, flag
    cdef readonly list sources, targets
    cdef readonly bint moved

cdef class Copies:
    cdef int begin(self, DeviceLeaves leaves) except -1
    cdef int end(self) except -1
    cdef int begin_down(self, int i, char* place, int64_t nbytes) except -1 nogil
    cdef int complete_down(self) except -1 nogil
    cdef int begin_up(self, int i, int64_t offset, const char* place, int64_t nbytes) except -1 nogil
    cdef int begin_flag(self, bint value) except -1 nogil
    cdef int pass_on(self, int i, int64_t nbytes) except -1 nogil
