"""What a group step costs against ranks, group size and model size, and the model that predicts it.

    mpiexec -n 8 python -m benchmarks.scaling [--json FILE]

On one host, all ranks together. The model: a step takes

    t = words + switch * max(0, P - cores) + bytes * 5 * N * max(1, P / cores)

where `words` are the atomics of a step, `switch` is what it costs to give a core to another rank, and 5 N are
the bytes that a rank reads and writes (exchange.py), through a core that P / cores ranks share. Group size is
not in it: a member more costs some words in a record. The three constants are fitted to all rows together, by
least squares of the relative errors; `error` is what is left in a row.
"""

import argparse
import os
import time

import numpy as np
from mpi4py import MPI

from benchmarks import table
from wagma_rma import GroupAverager

FLOATS = [1000, 100_000, 1_000_000, 10_000_000]
COLUMNS = ("ranks", "group", "floats", "measured", "predicted", "error")
SYNC_PERIOD = 100


def measure(comm, group_size, count):
    """Return the median seconds of a step, of the slowest rank."""
    model = np.zeros(count, np.float32)
    steps = int(np.clip(2e7 / count, 7, 300))
    seconds = []
    options = {"group_size": group_size, "quorum": group_size, "sync_period": SYNC_PERIOD}
    with GroupAverager(comm, model, **options) as averager:
        for step in range(1, steps + 3):
            comm.Barrier()
            started = time.perf_counter()
            averager.average(model, out=model)
            took = comm.allreduce(time.perf_counter() - started, MPI.MAX)
            if step > 2 and step % SYNC_PERIOD:
                seconds.append(took)
    return float(np.median(seconds))


def terms(ranks, count, cores):
    """Return what the constants are multiplied with."""
    return [1.0, max(0.0, ranks - cores), 5 * 4 * count * max(1.0, ranks / cores)]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="file to write the rows to")
    arguments = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    cores = len(os.sched_getaffinity(0))
    rows = []
    ranks = 2
    while ranks <= comm.size:
        some = comm.Split(0 if comm.rank < ranks else MPI.UNDEFINED, comm.rank)
        for group_size in (size for size in (2, 4, 8) if size <= ranks):
            for count in FLOATS:
                seconds = measure(some, group_size, count) if some != MPI.COMM_NULL else None
                rows.append({"ranks": ranks, "group": group_size, "floats": count, "seconds": seconds})
        if some != MPI.COMM_NULL:
            some.Free()
        # Those who take no part sleep; in a barrier they would take the others' cores.
        together = comm.Ibarrier()
        while not together.Test():
            time.sleep(0.01)
        ranks *= 2
    if comm.rank == 0:
        measured = np.array([row["seconds"] for row in rows])
        matrix = np.array([terms(row["ranks"], row["floats"], cores) for row in rows])
        constants, *_ = np.linalg.lstsq(matrix / measured[:, None], np.ones(len(rows)), rcond=None)
        table.say(comm, COLUMNS)
        for row, predicted in zip(rows, matrix @ constants, strict=True):
            row["predicted"] = float(predicted)
            table.say(
                comm,
                (
                    str(row["ranks"]),
                    str(row["group"]),
                    f"{row['floats']:,}",
                    f"{row['seconds'] * 1e3:.3f} ms",
                    f"{predicted * 1e3:.3f} ms",
                    f"{100 * (predicted / row['seconds'] - 1):+.0f} %",
                ),
            )
        words, switch, nbytes = constants
        print(f"{words * 1e6:.1f} us, {switch * 1e6:.1f} us a switch, {1e-9 / nbytes:.1f} GB/s a core")
    table.write(comm, arguments.json, rows)


if __name__ == "__main__":
    main()
