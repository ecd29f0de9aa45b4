"""What a rank tells of its pace, to whoever looks: a row in its window, which it alone writes, twice a step.

    version
    step : 36 | steps since the last synchronisation : 20 | activity : 8
    began           when its last call began, seconds on the clock of its host (float64)
    ended           when the last call that has ended did
    compute, call   means: seconds between two calls, and in a call (float32, the first in the lower half)
    waited, late    means: seconds of a call in which it waited; the share of its group steps that were LATE
    synchronized    when its last synchronisation ended
    times : 32 | version : 32
    times[32]       the last 128 times between two calls, four in a word, from the lowest bits up: the upper halves of
                    float32; the n-th stands at n mod 128
    process         waiting.processes
    host[7]         its name

The first eight words stand in one line. A writer changes the last of them first, and the first one last; so a reader that
goes from the first to the last, and finds one version in both, has read what belongs together. A time that it reads may
be newer. Means are of all calls, and from 100 calls on the older ones count less and less.
"""

cimport cython

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memcpy
from wagma_rma.kernels.atomics cimport wagma_release_fence, wagma_store_relaxed, wagma_store_release
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.protocol.words cimport STEP_BITS, mask
from wagma_rma.windows.window cimport Window

cdef enum:
    CALLS = 100  # that a mean is of, about
    SINCE_BITS = 20
    ACTIVITY_BITS = 64 - STEP_BITS - SINCE_BITS

BYTES = 8 * ROW_WORDS
ENDS = {"closed": CLOSED, "broken": BROKEN, "left": LEFT}  # of activities
MOST_TIMES = TIMES
ACTIVITIES = {
    COMPUTING: "computing",
    AVERAGING: "averaging",
    SYNCHRONIZING: "synchronizing",
    CLOSING: "closing",
    CLOSED: "closed",
    BROKEN: "broken",
    LEFT: "left",
}
FORMAT = f"<QQddffffdQ{2 * TIMES}sQ{HOST_BYTES}s"  # of the module struct


def unpacked_state(uint64_t word):
    """Return (step, steps since the last synchronisation, activity) of a row's second word."""
    return (word >> (64 - STEP_BITS), word >> ACTIVITY_BITS & mask(SINCE_BITS),
            ACTIVITIES.get(word & mask(ACTIVITY_BITS), "computing"))


cdef inline uint64_t bits(double value) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, &value, 8)
    return word


cdef inline uint64_t short_bits(double value) noexcept nogil:
    cdef float short = <float> value
    cdef uint64_t word = 0
    memcpy(&word, &short, 4)
    return word


cdef inline void approach(double* mean, double value, int64_t count) noexcept nogil:
    """Have a mean contain a value, the count-th."""
    mean[0] += (value - mean[0]) / min(count, CALLS)


@cython.final
cdef class Row:
    """The row of one rank. Local; for the thread that uses the averager.

    It reads no clock: steps read it anyway, when they begin and when they end.
    """

    def __cinit__(self, Window window, Layout layout):
        self.places[0] = window.own(layout.row)
        self.activity = COMPUTING
        self.synchronizations = []

    def show(self, page, int64_t offset):
        """Write the row to another place too.

        Args:
            page: memory that may be written, and stays where it is.
            offset: the place in it, a multiple of 8 bytes.
        """
        cdef Py_buffer memory
        PyObject_GetBuffer(page, &memory, PyBUF_WRITABLE)
        self.places[1] = <char*> memory.buf + offset
        self.page = page
        PyBuffer_Release(&memory)

    def open(self, uint64_t process, host, uint64_t step, double now):
        """Begin the row, at a synchronisation that ends now.

        Args:
            process: waiting.processes.own_process().
            host: its name; the first 55 bytes are kept.
        """
        cdef bytes name = host.encode()[:HOST_BYTES - 1]
        cdef const char* begin = name
        cdef int i, place
        self.words[PROCESS_AT] = process
        memcpy(&self.words[HOST_AT], begin, len(name) + 1)
        for place in range(PLACES):
            if self.places[place] is not NULL:
                for i in range(HEAD_WORDS, ROW_WORDS):
                    wagma_store_relaxed(self.places[place] + 8 * i, self.words[i])
        self.ended = now
        self.synchronize(step, now)
        self.tell()

    def forget_window(self):
        """Write no more into the window, whose memory is about to be given back."""
        self.places[0] = NULL

    def hide(self):
        """Write no more to the other place."""
        self.places[1] = NULL
        self.page = None

    def begin_close(self, double now):
        """Note that this rank begins to close the averager."""
        self.began = now
        self.set_activity(CLOSING)

    def set_activity(self, Activity activity):
        """Tell what this rank does now, or that it takes no further part."""
        self.activity = activity
        self.tell()

    cdef void begin(self, Activity activity, double now, bint joined=False) noexcept nogil:
        """Note that a call begins, or that one goes on as something else.

        Args:
            joined: the time since the last call is none of a step.
        """
        cdef uint64_t* word
        cdef int shift
        if self.activity == COMPUTING and self.goes_on:
            self.goes_on = False
        elif self.activity == COMPUTING:
            self.began = now
            if self.has_returned and not joined:  # what comes before the first call is no step
                word = &self.words[TIMES_AT + self.times % TIMES // 4]
                shift = 16 * (self.times % 4)
                word[0] = word[0] & ~(mask(16) << shift) | (short_bits(now - self.ended) + 0x8000) >> 16 << shift
                self.times += 1
                approach(&self.compute, now - self.ended, self.times)
        self.activity = activity
        self.tell()

    cdef void end(self, uint64_t step, double now) noexcept nogil:
        """Note that a call ends, which has done a step."""
        self.step = step
        self.ended = now
        self.has_returned = True
        self.activity = COMPUTING
        self.tell()

    cdef void abandon(self, double now, bint goes_on) noexcept nogil:
        """Note that a call, if one is under way, ends without a step.

        Args:
            goes_on: the next call is a part of it.
        """
        if self.activity != COMPUTING:
            self.end(self.step, now)
            self.goes_on = goes_on

    cdef void count(self, double seconds, double waited) noexcept nogil:
        """Count a call."""
        self.calls += 1
        approach(&self.call, seconds, self.calls)
        approach(&self.waited, waited, self.calls)

    cdef void count_exchange(self, bint late) noexcept nogil:
        """Count a group average."""
        self.exchanges += 1
        approach(&self.late, late, self.exchanges)

    def synchronize(self, uint64_t step, double now):
        """Note that a synchronisation ends."""
        self.synchronizations = [*self.synchronizations[-1:], (step, now)]
        self.words[6] = bits(now)
        self.step = self.synchronized = step

    cdef void tell(self) noexcept nogil:
        """Write what has changed."""
        cdef uint64_t since = 0, newest = TIMES_AT + (self.times + TIMES - 1) % TIMES // 4
        cdef int place, i
        cdef char* row
        cdef uint64_t* words = self.words
        self.version += 1
        since = self.step - self.synchronized
        words[0] = self.version & mask(32)
        words[1] = (self.step << SINCE_BITS | min(since, mask(SINCE_BITS))) << ACTIVITY_BITS | self.activity
        words[2] = bits(self.began)
        words[3] = bits(self.ended)
        words[4] = short_bits(self.call) << 32 | short_bits(self.compute)
        words[5] = short_bits(self.late) << 32 | short_bits(self.waited)
        words[7] = self.times << 32 | words[0]
        for place in range(PLACES):
            row = self.places[place]
            if row is NULL:
                continue
            wagma_store_relaxed(row + 8 * (HEAD_WORDS - 1), words[HEAD_WORDS - 1])
            wagma_release_fence()
            for i in range(1, HEAD_WORDS - 1):
                wagma_store_relaxed(row + 8 * i, words[i])
            wagma_store_relaxed(row + 8 * newest, words[newest])
            wagma_store_release(row, words[0])
