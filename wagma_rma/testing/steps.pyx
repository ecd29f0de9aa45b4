"""Many steps of one rank without Python in between.

Python's lock orders the actions of the threads that hold it. ThreadSanitizer would miss races between ranks that take
it at each step, so here a rank does its steps without it.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from wagma_rma.kernels.clock cimport wagma_sleep
from wagma_rma.model.leaf_pointers cimport LeafPointers
from wagma_rma.protocol.protocol cimport Protocol, Step
from wagma_rma.protocol.turn cimport Group
from wagma_rma.protocol.words cimport contribution_age

cdef struct Result:
    Step step
    float low, high  # of the average


cdef double chance(uint64_t* state) noexcept nogil:
    """Return the next of a sequence of numbers from 0 to 1."""
    state[0] = state[0] * 6364136223846793005ULL + 1442695040888963407ULL
    return (state[0] >> 11) / 9007199254740992.0


def take_steps(Protocol protocol, uint64_t first, uint64_t last, float[::1] model, float[::1] out, uint64_t seed,
               double longest_sleep):
    """Do the steps `first` to `last` with models whose elements are all 64 * step + rank. None may synchronise.

    Args:
        model, out: at odd steps the average is written to `model`, at even steps to `out`; where exchanges overlap
            with computing, always to `out`.
        longest_sleep: seconds; three in ten steps begin with a sleep of at most this.

    Returns:
        (report as of Protocol.report(), least and greatest element of the average) of each step.
    """
    cdef int64_t i, size = model.shape[0], n, count = last - first + 1
    cdef int m, members = protocol.layout.group_size
    cdef uint64_t step
    cdef float value
    cdef float* average
    cdef Result* result
    cdef Result* results = <Result*> calloc(count, sizeof(Result))
    cdef uint64_t* words = <uint64_t*> calloc(count * members, sizeof(uint64_t))
    cdef LeafPointers pointers = LeafPointers([0])
    try:
        if results is NULL or words is NULL:
            raise MemoryError("take_steps: no memory for the results")
        pointers.sources[0] = <const char*> &model[0]
        with nogil:
            for n in range(count):
                step = first + n
                if chance(&seed) < 0.3:
                    wagma_sleep(chance(&seed) * longest_sleep)
                value = step * 64 + <uint64_t> protocol.window.rank
                for i in range(size):
                    (<float*> pointers.sources[0])[i] = value
                average = &model[0] if step % 2 and not protocol.overlaps else &out[0]
                pointers.targets[0] = <char*> average
                protocol.group_step(step, pointers)
                if protocol.rest_under_way:
                    # The caller's memory is its own meanwhile.
                    for i in range(size):
                        (<float*> pointers.sources[0])[i] = -1
                    while not protocol.worker.is_done(1.0):
                        pass
                    protocol.rest_under_way = False
                result = &results[n]
                result.step = protocol.now
                result.low = result.high = average[0]
                for i in range(size):
                    result.low = min(result.low, average[i])
                    result.high = max(result.high, average[i])
                for m in range(protocol.record.group.size):
                    words[n * members + m] = protocol.record.contributions[m]
        return [report_of(protocol, &results[n], words + n * members) for n in range(count)]
    finally:
        free(results)
        free(words)


cdef tuple report_of(Protocol protocol, Result* result, uint64_t* words):
    """Return an entry of the result of take_steps()."""
    cdef Group* group = protocol.turn.at(result.step.source_step // protocol.group_period)
    report = dict(result.step)
    report["group"] = tuple([group.ranks[m] for m in range(group.size)])
    report["ages"] = tuple([contribution_age(words[m]) for m in range(group.size)])
    return report, result.low, result.high
