"""Runs the ranks of a simulation one at a time, in the order that a schedule gives."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef extern from "<semaphore.h>" nogil:
    ctypedef struct sem_t:
        pass
    int sem_init(sem_t* semaphore, int shared, unsigned value)
    int sem_destroy(sem_t* semaphore)
    int sem_post(sem_t* semaphore)
    int sem_wait(sem_t* semaphore)

cdef enum Policy:
    DULL = 0
    RANDOM = 1
    ROUND_ROBIN = 2
    PRIORITIES = 3

cdef enum Verb:
    LOAD = 0
    FETCH_ADD = 1
    FETCH_MAX = 2
    COMPARE_AND_SWAP = 3
    VERBS = 4

cdef class Scheduler:
    cdef readonly int ranks
    cdef readonly object schedule
    cdef readonly int64_t turns      # so far
    cdef readonly int64_t most_turns
    cdef readonly str over           # why the simulation has ended; None while it goes on
    cdef bint ending                 # the same, without the GIL
    cdef bint running
    cdef dict errors                 # what ranks have raised
    cdef bint stops, interrupts      # whether the schedule has any
    cdef readonly bint silences      # whether the schedule has any
    cdef list interruptions          # that have not happened yet

    # The baton: the thread that holds it runs; each of the others waits for its own semaphore.
    cdef sem_t* batons
    cdef bint* finished              # per rank
    cdef int64_t* stopped_until      # per rank, turns
    cdef int64_t* operations         # per rank and verb, so far
    cdef double* clocks              # per rank, seconds

    # Choices.
    cdef const uint8_t* drawn
    cdef int64_t drawn_count
    cdef uint8_t* taken              # all choices made, to repeat the run
    cdef int64_t taken_count, taken_room
    cdef int policy
    cdef uint64_t random             # state of the generator
    cdef int64_t seldom              # RANDOM: one in so many turns changes the rank that runs
    cdef int64_t span                # turns: see Schedule
    cdef int64_t since               # ROUND_ROBIN: turns since the last change
    cdef int64_t* priorities         # PRIORITIES: per rank
    cdef int64_t lowest              # priority so far
    cdef int64_t* changes            # turns at which the rank that runs falls to the lowest priority
    cdef int change_count

    cdef uint64_t draw(self) noexcept nogil
    cdef int choose(self, int options) except -1 nogil
    cdef bint flip(self) except -1 nogil
    cdef int record_choice(self, int choice, int options) except -1 nogil
    cdef int count_operation(self, int rank, int verb) except -1 nogil
    cdef int stop(self, stop) except -1
    cdef int turn(self, int rank, bint pausing) except -1 nogil
    cdef int next_rank(self, int rank, bint pausing) except -2 nogil
    cdef int preferred(self, int rank, int* candidates, int count, bint pausing) noexcept nogil
    cdef int wait_for_baton(self, int rank) except -1 nogil
    cdef int end(self, str reason) except -1
    cdef object interruption(self, int rank)
    cdef object silence(self, int rank, int64_t trip)
