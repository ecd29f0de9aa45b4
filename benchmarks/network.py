"""A group step over a window against MPI_Allreduce over the same network, paired in one run.

    mpiexec -n 4 python -m benchmarks.network [--window remote] [--json FILE]

The group is all ranks, so both compute the same. Times are medians over the steps, of the slowest rank where
all come together, and of the slowest in time where the last comes 100 ms late: what the straggler costs the
others. MPI_Allreduce is timed with the division that makes a mean of its sum. `network` is what a rank reads
from other hosts in a step, on average, and `rate` that through the time of a step.
"""

import argparse
import statistics
import time

import numpy as np
from mpi4py import MPI

from benchmarks import table
from wagma_rma import GroupAverager

SIZES = {"4 kB": 1000, "1 MB": 1 << 18, "100 MB": 25 * (1 << 20)}
LATE = 0.1  # seconds
COLUMNS = ("size", "ranks come", "wagma", "allreduce", "ratio", "fresh", "late", "network", "rate")


def timed(comm, late, call):
    """Return the seconds of a call at the slowest rank that is in time."""
    comm.Barrier()
    straggles = late and comm.rank == comm.size - 1
    if straggles:
        time.sleep(LATE)
    started = time.perf_counter()
    call()
    seconds = 0.0 if straggles else time.perf_counter() - started
    return comm.allreduce(seconds, MPI.MAX)


def measure(comm, count, late, steps, options):
    """Return a row of the table."""
    model = np.full(count, comm.rank, np.float32)
    total = np.empty_like(model)

    def allreduce():
        comm.Allreduce(model, total, MPI.SUM)
        np.divide(total, comm.size, out=model)

    ours, theirs = [], []
    # One step more than is measured: the first makes connections, and touches memory.
    with GroupAverager(
        comm, model, group_size=comm.size, sync_period=steps + 2, broadcast=False, **options
    ) as averager:
        for step in range(steps + 1):
            pair = (
                timed(comm, late, lambda: averager.average(model, out=model)),
                timed(comm, late, allreduce),
            )
            if step:
                ours.append(pair[0])
                theirs.append(pair[1])
        counts = averager.statistics
    totals = comm.allreduce(np.array([counts.fresh, counts.late, counts.bytes_over_network]))
    network = float(totals[2]) / comm.size / (steps + 1)
    return {
        "ranks come": f"last {LATE * 1e3:.0f} ms late" if late else "together",
        "wagma": statistics.median(ours),
        "allreduce": statistics.median(theirs),
        "ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
        "fresh": int(totals[0]),
        "late": int(totals[1]),
        "network": network,
        "rate": network / statistics.median(ours),
    }


def shown(name, value):
    if name in ("wagma", "allreduce"):
        return f"{value * 1e3:.3f} ms"
    if name == "ratio":
        return f"{value:.2f}"
    if name == "network":
        return f"{value / 1e6:.3f} MB"
    if name == "rate":
        return f"{value / 1e6:.0f} MB/s"
    return str(value)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--window", default="auto", choices=["auto", "shared", "remote"])
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--json", help="file to write the rows to")
    arguments = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    rows = []
    table.say(comm, COLUMNS, 14)
    for size in arguments.sizes:
        steps = {"4 kB": 200, "1 MB": 50, "100 MB": 7}[size]
        for late in (False, True):
            options = {"window": arguments.window}
            row = measure(comm, SIZES[size], late, min(steps, 20) if late else steps, options)
            rows.append({"size": size, **row})
            table.say(comm, [shown(name, rows[-1][name]) for name in COLUMNS], 14)
    table.write(comm, arguments.json, rows)


if __name__ == "__main__":
    main()
