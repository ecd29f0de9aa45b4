"""Calls of an averager as a row sees them, one after another, without the GIL: for tests that read it meanwhile."""

from wagma_rma.protocol.row cimport AVERAGING, Row


def write_calls(Row row, begin, list compute, double seconds, double waited, list late, int repeats=1):
    """Have a row tell of some calls.

    Args:
        begin: when the first computation begins; None: when the last call ended.
        compute: seconds before each call.
        seconds, waited: of each call.
        late: whether each is LATE.
        repeats: how often they are made, one after another.
    """
    cdef double now = row.ended if begin is None else begin - compute[0] if compute else 0
    cdef double[1000] before
    cdef bint[1000] is_late
    cdef int i, n, count = len(compute)
    if count > 1000:
        raise ValueError("write_calls: at most 1,000 calls")
    for i in range(count):
        before[i], is_late[i] = compute[i], late[i]
    with nogil:
        for n in range(count * repeats):
            i = n % count
            now += before[i]
            row.begin(AVERAGING, now)
            now += seconds
            row.count(seconds, waited)
            row.count_exchange(is_late[i])
            row.end(row.step + 1, now)
