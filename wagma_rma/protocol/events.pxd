"""What each step of a rank was like, for a trace."""

cimport cython

from libc.stdint cimport int64_t, uint32_t, uint64_t

# All fields have eight bytes; their names stand in FIELDS.
cdef struct Event:
    uint64_t step
    uint64_t source_step
    int64_t outcome      # the number of a report.Outcome
    double began         # the call, seconds on the clock
    double published     # its model
    double opened        # its record, and from then on it exchanges; 0: it has waited for none
    double exchanged     # it has the average
    double ended         # the call
    double waited        # seconds
    int64_t bytes_read
    int64_t bytes_over_network
    int64_t initiated
    int64_t members      # of the group, whose ages are known
    int64_t skipped

@cython.final
cdef class Events:
    cdef Event* events
    cdef uint32_t* ages          # of the contributions, for each event
    cdef int64_t capacity
    cdef int group_size
    cdef readonly int64_t count  # so far

    cdef Event* add(self, const uint64_t* contributions, int members) noexcept nogil
    cdef bytes turned(self, const char* begin, int64_t width, int64_t first, int64_t kept)
