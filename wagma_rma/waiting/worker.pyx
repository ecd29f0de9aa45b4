"""A thread of a rank that does one job at a time while the program goes on.

It sleeps while there is nothing to do, and takes Python's lock only where a job does. One thread begins a job and waits for
its end before it begins the next; what the two share is handed over with the job.
"""

import signal
import threading

from cpython.exc cimport PyErr_CheckSignals
from wagma_rma.waiting.ctrl_c cimport check_interrupt

cdef extern from "<semaphore.h>" nogil:
    int sem_init(sem_t* semaphore, int shared, unsigned value)
    int sem_destroy(sem_t* semaphore)
    int sem_post(sem_t* semaphore)
    int sem_wait(sem_t* semaphore)
    int sem_trywait(sem_t* semaphore)

cdef extern from *:
    """
    #include <semaphore.h>
    #include <time.h>

    static int wagma_wait_within(sem_t *semaphore, double seconds) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += (long)(seconds * 1e9);
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        return sem_timedwait(semaphore, &until);
    }

    static int wagma_raised(int result) { return result; }
    """
    int wagma_wait_within(sem_t* semaphore, double seconds) nogil
    int wagma_raised(int result) except -1  # raises what C code has left behind, if the result says so

cdef double LOOK_EVERY = 50e-3


cdef class Worker:
    """A thread that does one job at a time, from its first one on. Local."""

    def __cinit__(self):
        sem_init(&self.asked, 0, 0)
        sem_init(&self.done, 0, 0)

    def __dealloc__(self):
        sem_destroy(&self.asked)
        sem_destroy(&self.done)

    cdef int begin(self, Job job, void* owner) except -1 nogil:
        """Have `job(owner)` called by the thread. The job before must have been waited for."""
        if self.thread is None:
            with gil:
                self.start()
        self.job, self.owner = job, owner
        self.begun = True
        sem_post(&self.asked)
        return 0

    cdef int start(self) except -1:
        # A daemon: it holds nothing that a program would have to wait for at its end.
        self.thread = threading.Thread(target=self.serve, name="wagma_rma", daemon=True)
        self.thread.start()
        return 0

    def serve(self):
        """Do what the thread does."""
        # So that signals interrupt the main thread.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        cdef int result
        with nogil:
            while True:
                while sem_wait(&self.asked):
                    pass
                if self.ends:
                    break
                result = (<int (*)(void*) noexcept nogil> self.job)(self.owner)
                if result < 0:
                    with gil:
                        try:
                            wagma_raised(result)
                        except BaseException as error:
                            self.error = error
                sem_post(&self.done)

    cdef bint is_done(self, double seconds) noexcept nogil:
        """Return whether the job is over, after at most some seconds; once it is, the answer is yes for good."""
        if self.begun and (sem_trywait(&self.done) == 0 or (seconds > 0 and wagma_wait_within(&self.done, seconds) == 0)):
            self.begun = False
        return not self.begun

    def wait(self, look, end):
        """Wait until the job is over.

        Signal handlers run meanwhile. What they raise, or `look` does, does not end this wait, but the waits of the job.

        Args:
            look: called every 50 ms.
            end: called once, with what was raised: has the job end soon.

        Returns:
            What was raised, or None.
        """
        cdef bint done
        raised = None
        with nogil:
            done = self.is_done(0)
        while not done:
            if raised is None:
                try:
                    PyErr_CheckSignals()  # on the main thread
                    check_interrupt()  # on others
                    look()
                except BaseException as error:
                    raised = error
                    end(raised)
            with nogil:
                done = self.is_done(LOOK_EVERY)
        return raised

    def take_error(self):
        """Return what the last job has raised, or None, and forget it."""
        error, self.error = self.error, None
        return error

    def stop(self):
        """End the thread. A job must have been waited for."""
        if self.thread is not None and not self.ends:
            self.ends = True
            sem_post(&self.asked)
