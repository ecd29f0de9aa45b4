"""What each step of a rank was like, for a trace: the newest steps are kept, in memory that is taken once.

Times are moments of one step, in the order of Event's fields. Where the exchange goes on behind the program's back, the
call ends before the record is open.
"""

cimport cython

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from wagma_rma.protocol.words cimport contribution_age

FIELDS = ("step", "source_step", "outcome", "began", "published", "opened", "exchanged", "ended", "waited", "bytes_read",
          "bytes_over_network", "initiated", "members", "skipped")


@cython.final
cdef class Events:
    """The newest steps of one rank. Local; for the thread that uses the averager.

    Args:
        group_size: the most members that a group has.
        capacity: how many steps are kept.
    """

    def __cinit__(self, int group_size, int64_t capacity):
        self.group_size, self.capacity = group_size, capacity
        # The system gives the memory as it is used.
        self.events = <Event*> calloc(capacity, sizeof(Event))
        self.ages = <uint32_t*> calloc(capacity * group_size, sizeof(uint32_t))
        if self.events is NULL or self.ages is NULL:
            raise MemoryError(f"trace: no memory for {capacity} steps")

    def __dealloc__(self):
        free(self.events)
        free(self.ages)

    cdef Event* add(self, const uint64_t* contributions, int members) noexcept nogil:
        """Return the place of a further step, with zeros but for the ages of its group."""
        cdef int64_t place = self.count % self.capacity
        cdef Event* event = &self.events[place]
        cdef int m
        memset(event, 0, sizeof(Event))
        event.members = members
        for m in range(members):
            self.ages[place * self.group_size + m] = <uint32_t> contribution_age(contributions[m])
        self.count += 1
        return event

    def add_synchronization(self, uint64_t step, double began, double ended, double waited, int64_t skipped,
                            int64_t bytes_read, int64_t bytes_over_network, int64_t outcome):
        """Add a step of all ranks."""
        cdef Event* event = self.add(NULL, 0)
        event.step = event.source_step = step
        event.began = event.published = began
        event.opened = began + waited
        event.exchanged = event.ended = ended
        event.waited, event.skipped = waited, skipped
        event.bytes_read, event.bytes_over_network = bytes_read, bytes_over_network
        event.outcome = outcome

    def kept(self):
        """Return (events, ages) of the steps that are kept, the oldest first, as bytes of Event and of uint32[group_size]."""
        cdef int64_t first = max(0, self.count - self.capacity) % self.capacity, kept = min(self.count, self.capacity)
        return (self.turned(<const char*> self.events, sizeof(Event), first, kept),
                self.turned(<const char*> self.ages, 4 * self.group_size, first, kept))

    cdef bytes turned(self, const char* begin, int64_t width, int64_t first, int64_t kept):
        """Return `kept` entries of a ring, from the first one on."""
        cdef int64_t head = min(kept, self.capacity - first)
        return (PyBytes_FromStringAndSize(begin + first * width, head * width)
                + PyBytes_FromStringAndSize(begin, (kept - head) * width))
