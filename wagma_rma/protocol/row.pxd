"""What a rank tells of its pace, to whoever looks."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.protocol.layout cimport ROW_WORDS

cdef enum:
    PLACES = 2      # where a row can stand at the same time
    HEAD_WORDS = 8  # that change at each step, in one line
    TIMES = 128     # the last compute times
    HOST_BYTES = 56
    # Places in a row, in words.
    TIMES_AT = HEAD_WORDS
    PROCESS_AT = TIMES_AT + TIMES // 4
    HOST_AT = PROCESS_AT + 1

cdef enum Activity:
    COMPUTING = 1
    AVERAGING = 2
    SYNCHRONIZING = 3
    CLOSING = 4
    CLOSED = 5
    BROKEN = 6
    LEFT = 7

@cython.final
cdef class Row:
    cdef (char*)[PLACES] places  # of the row, or NULL
    cdef object page             # keeps the memory of the second one
    cdef uint64_t[ROW_WORDS] words
    cdef uint64_t version        # how often the row has been written
    cdef Activity activity
    cdef uint64_t step           # the last one
    cdef readonly double began   # the last call, seconds on the clock
    cdef double ended            # the last call that has ended
    cdef bint has_returned       # from a call
    cdef bint goes_on            # the next call is a part of the last one, which has raised an exception
    cdef uint64_t times          # compute times so far
    cdef int64_t calls           # that were counted
    cdef int64_t exchanges       # of them those that averaged with a group
    cdef double compute, call, waited, late  # means
    cdef uint64_t synchronized   # the last synchronised step
    cdef readonly list synchronizations  # (step, time) of the last two

    cdef void begin(self, Activity activity, double now, bint joined=*) noexcept nogil
    cdef void end(self, uint64_t step, double now) noexcept nogil
    cdef void abandon(self, double now, bint goes_on) noexcept nogil
    cdef void count(self, double seconds, double waited) noexcept nogil
    cdef void count_exchange(self, bint late) noexcept nogil
    cdef void tell(self) noexcept nogil
