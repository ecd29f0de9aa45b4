"""Times of several ways to do the same, in turns within one run: noise of the machine hits all alike."""

import time

import numpy as np
from mpi4py import MPI


def times_of(comm, ways, turn, seconds):
    """Return the times of each way: for each turn the median of its calls, of the slowest rank."""
    for call in ways.values():
        for _ in range(3):
            comm.Barrier()
            call()
    rows, turns = [], None
    while turns is None or len(rows) < turns:
        row = np.empty((len(ways), turn))
        for way, call in enumerate(ways.values()):
            for i in range(turn):
                comm.Barrier()
                started = time.perf_counter()
                call()
                row[way, i] = time.perf_counter() - started
        rows.append(row)
        if turns is None:
            slowest = comm.allreduce(row.sum(), MPI.MAX)
            turns = int(min(2000, max(7, seconds / slowest)))
    times = np.array(rows[1:])
    comm.Allreduce(MPI.IN_PLACE, times, MPI.MAX)
    times = np.median(times, axis=2)
    return {way: times[:, i] for i, way in enumerate(ways)}
