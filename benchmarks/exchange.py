"""A group step of all ranks against MPI's allreduce, and against the memory's limit, paired in one run.

    mpiexec -n 2 python -m benchmarks.exchange [--floats 100 1000 ...] [--dtypes float32 ...] [--json FILE]

All ranks come together and average in one group; pin each to a core (benchmarks/README.md says how).
Times are medians of the slowest rank's, ratios medians of the ratios of neighbours in time; above 1 says that
`wagma` is faster. Ways take turns of one call, or of ten where calls are so short (10,000 floats and less)
that bringing the code of another way into the caches is a large part of them; --turn 1 shows that.

wagma      average(model, out=model)
apart      average(model, out=other)
in window  model = average(model), of arrays that buffers() has lent
allreduce  MPI_Allreduce and the division that makes a mean of the sum
iallreduce MPI_Iallreduce, MPI_Wait, and the division
floor      the time in which the ranks together copy as many bytes as `wagma` must move: 5 times the model
           for each rank (publish: read and write it; sum: read a share of each member's, write the share of
           the sum, and of the average; collect: read and write what the others have summed), 3 times for
           `in window`, which publishes without copying
"""

import argparse

import ml_dtypes  # noqa: F401  (numpy knows bfloat16 then)
import numpy as np
from mpi4py import MPI

from benchmarks import table
from benchmarks.paired import times_of
from wagma_rma import GroupAverager

SIZES = [100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
COLUMNS = (
    "dtype",
    "floats",
    "wagma",
    "apart",
    "in window",
    "allreduce",
    "iallreduce",
    "/allred",
    "/iallred",
    "window/",
    "floor",
    "of floor",
    "window",
)
SECONDS = 3.0  # for each size
SYNC_PERIOD = 100  # one step in so many synchronises, which a median does not see
SMALL, CALLS = 10_000, 10  # floats up to which a way does so many calls when it is its turn
MOVED = {"wagma": 5, "in window": 3}  # models a rank reads and writes in a step


def measure(comm, count, dtype, turn, options):
    """Return the times of each way to average: for each turn the median of its calls, of the slowest rank."""
    model = np.zeros(count, dtype)
    other, total = np.empty_like(model), np.empty_like(model)
    peers = dtype in ("float32", "float64")  # MPI has no sum of 16-bit floats

    def allreduce():
        comm.Allreduce(model, total, MPI.SUM)
        np.divide(total, comm.size, out=model)

    def iallreduce():
        comm.Iallreduce(model, total, MPI.SUM).Wait()
        np.divide(total, comm.size, out=model)

    options = {"group_size": comm.size, "sync_period": SYNC_PERIOD, **options}
    with GroupAverager(comm, model, **options) as averager, GroupAverager(comm, model, **options) as lender:
        lent = lender.buffers()

        def in_window():
            nonlocal lent
            lent = lender.average(lent)

        ways = {
            "wagma": lambda: averager.average(model, out=model),
            "apart": lambda: averager.average(model, out=other),
            "in window": in_window,
            "copy": lambda: np.copyto(other, model),
        }
        if peers:
            ways |= {"allreduce": allreduce, "iallreduce": iallreduce}
        times = times_of(comm, ways, turn, SECONDS)
        del lent
        counts = averager.statistics
        fresh = counts.fresh / (counts.steps - counts.synchronized)
    return times, comm.allreduce(fresh, MPI.MIN)


def row_of(times, fresh):
    """Return medians, ratios and the floor."""
    row = {way: float(np.median(column)) for way, column in times.items()}
    for peer in ("allreduce", "iallreduce"):
        if peer in times:
            row[f"/{peer}"] = float(np.median(times[peer] / times["wagma"]))
            row[f"in window/{peer}"] = float(np.median(times[peer] / times["in window"]))
    # A copy moves two models a rank.
    row["floor"] = row["copy"] / 2 * MOVED["wagma"]
    for way, models in MOVED.items():
        row[f"{way} of floor"] = float(np.median(times["copy"] / 2 * models / times[way]))
    return row | {"fresh": fresh}


def shown(row):
    def seconds(way):
        return f"{row[way] * 1e3:.4f} ms" if way in row else "-"

    def ratio(name):
        return f"{row[name]:.2f}" if name in row else "-"

    ways = ("wagma", "apart", "in window", "allreduce", "iallreduce")
    return (
        row["dtype"], f"{row['floats']:,}", *map(seconds, ways),
        ratio("/allreduce"), ratio("/iallreduce"), ratio("in window/allreduce"), seconds("floor"),
        f"{100 * row['wagma of floor']:.0f} %", f"{100 * row['in window of floor']:.0f} %",
    )  # fmt: skip


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--floats", nargs="*", type=int, default=SIZES)
    parser.add_argument("--dtypes", nargs="*", default=["float32"])
    parser.add_argument("--turn", type=int, help="calls of a way at a time")
    parser.add_argument("--window", default="auto", choices=["auto", "shared", "remote"])
    parser.add_argument("--json", help="file to write the rows to")
    arguments = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    rows = []

    table.say(comm, COLUMNS)
    for dtype in arguments.dtypes:
        for count in arguments.floats:
            turn = arguments.turn or (CALLS if count <= SMALL else 1)
            times, fresh = measure(comm, count, dtype, turn, {"window": arguments.window})
            rows.append({"dtype": dtype, "floats": count, **row_of(times, fresh)})
            table.say(comm, shown(rows[-1]))
    table.write(comm, arguments.json, rows)


if __name__ == "__main__":
    main()
