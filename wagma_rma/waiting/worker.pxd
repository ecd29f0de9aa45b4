"""A thread of a rank that does one job at a time while the program goes on."""

cdef extern from "<semaphore.h>" nogil:
    ctypedef struct sem_t:
        pass

ctypedef int (*Job)(void* owner) except -1 nogil

cdef class Worker:
    cdef sem_t asked, done
    cdef Job job
    cdef void* owner
    cdef bint begun            # a job has begun whose end nobody has seen yet
    cdef bint ends
    cdef readonly object thread
    cdef readonly object error # what the last job has raised

    cdef int start(self) except -1
    cdef int begin(self, Job job, void* owner) except -1 nogil
    cdef bint is_done(self, double seconds) noexcept nogil
