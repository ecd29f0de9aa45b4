"""Copies between CUDA devices and this host."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.model.copies cimport Copies, DeviceLeaves

cdef extern from "wagma_rma/devices/cuda.h" nogil:
    struct wagma_cuda:
        int (*init)(unsigned flags) noexcept nogil
        int (*device_get)(int* device, int ordinal) noexcept nogil
        int (*context_retain)(void** context, int device) noexcept nogil
        int (*context_release)(int device) noexcept nogil
        int (*pointer_attribute)(void* value, int attribute, uint64_t pointer) noexcept nogil
        int (*push_context)(void* context) noexcept nogil
        int (*pop_context)(void** context) noexcept nogil
        int (*host_register)(void* memory, size_t nbytes, unsigned flags) noexcept nogil
        int (*host_unregister)(void* memory) noexcept nogil
        int (*copy_down)(void* to, uint64_t source, size_t nbytes, void* stream) noexcept nogil
        int (*copy_up)(uint64_t to, const void* source, size_t nbytes, void* stream) noexcept nogil
        int (*copy_across)(uint64_t to, uint64_t source, size_t nbytes, void* stream) noexcept nogil
        int (*event_create)(void** event, unsigned flags) noexcept nogil
        int (*event_record)(void* event, void* stream) noexcept nogil
        int (*event_query)(void* event) noexcept nogil
        int (*event_destroy)(void* event) noexcept nogil
        int (*error_name)(int error, const char** name) noexcept nogil
        int (*error_string)(int error, const char** text) noexcept nogil

cdef class Driver:
    cdef wagma_cuda calls
    cdef readonly str library
    cdef str where

    cdef int check(self, int error, const char* call) except -1 nogil

cdef class CudaCopies(Copies):
    cdef Driver driver
    cdef wagma_cuda* calls    # the driver's
    cdef int count            # of leaves
    cdef list order           # order[i] is the leaf of the model that comes i-th in the layout
    cdef list memory          # of this host: (address, bytes)
    cdef readonly list room
    cdef object held
    cdef list registered      # addresses of as many of its pieces
    cdef uint64_t* sources    # addresses on the device, in the order of the layout
    cdef uint64_t* targets
    cdef uint64_t flag
    cdef int device
    cdef void* context        # the device's primary one, which this object retains; NULL before the first step
    cdef void* stream
    cdef void* down           # events: all copies down, and all copies up, that have begun
    cdef void* up
    cdef bint going_up        # copies up of the last step may still read this host's memory
    cdef bint in_step

    cdef int find_device(self) except -1
    cdef int leave_device(self) except -1
    cdef int enter(self) except -1
    cdef void leave(self) noexcept
    cdef int settle(self) except -1
    cdef int register(self) except -1
    cdef int wait_for(self, void* event) except -1 nogil
