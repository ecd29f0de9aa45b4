"""What an exchange leaves of a step when it overlaps with computing, against the same step without overlap.

    mpiexec -n 2 python -m benchmarks.overlap [--floats 25e6] [--compute 0.1] [--steps 20] [--json FILE]
    python -m benchmarks.namespaces --program overlap --rate 1e9 --floats 1e7 --compute 0.5 [...]

Pairs of ranks average after each `compute`: asleep, or busy on a core of their own without Python's lock.
Times are medians over the steps of the slowest rank. `call` is what average() takes, `waited` the part of it
in which it waits for others, or for the exchange before. `pass` is what a call with overlap can't save: it
reads the model and a difference, and writes the model twice, as two copies of the model do.

`--timeline` draws what rank 0 does in three steps with overlap, in which a thread of the program's own
computes while the main thread waits for the end of the exchange.
"""

import argparse
import os
import statistics
import threading
import time

import numpy as np
from mpi4py import MPI

from benchmarks import table
from wagma_rma import GroupAverager

COLUMNS = ("compute", "overlap", "step", "call", "waited", "pass", "fresh", "late")


def asleep(seconds):
    time.sleep(seconds)


def busy(seconds):
    """Compute without Python's lock."""
    square = np.full((300, 300), 1e-3)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        square @ square


COMPUTE = {"asleep": asleep, "busy": busy}


def slowest(comm, seconds):
    """Return the median of some times at the slowest rank."""
    return comm.allreduce(statistics.median(seconds), MPI.MAX)


def one_pass(comm, model, rounds=5):
    """Return the seconds of two copies of a model that all ranks make at the same time."""
    copies, times = [np.empty_like(model) for _ in range(2)], []
    for _ in range(rounds):
        comm.Barrier()
        began = time.perf_counter()
        for copy in copies:
            np.copyto(copy, model)
        times.append(time.perf_counter() - began)
    return slowest(comm, times[1:])


def measure(comm, floats, kind, seconds, overlap, steps):
    """Return a row of the table."""
    model = np.full(floats, comm.rank, np.float32)
    step_times, calls = [], []
    options = {"group_size": 2, "sync_period": steps + 3, "broadcast": False, "overlap": overlap}
    with GroupAverager(comm, model, **options) as averager:
        comm.Barrier()
        for step in range(steps + 2):
            began = time.perf_counter()
            COMPUTE[kind](seconds)
            called = time.perf_counter()
            averager.average(model, out=model)
            if step > 1:  # the first ones touch memory, and learn what steps take
                calls.append(time.perf_counter() - called)
                step_times.append(time.perf_counter() - began)
        counts = averager.statistics
    return {
        "compute": kind,
        "overlap": "yes" if overlap else "no",
        "step": slowest(comm, step_times),
        "call": slowest(comm, calls),
        "waited": comm.allreduce(counts.seconds_waited, MPI.MAX) / (steps + 2),
        "pass": one_pass(comm, model),
        "fresh": comm.allreduce(counts.fresh),
        "late": comm.allreduce(counts.late),
    }


def timeline(comm, floats, kind, seconds, steps=3):
    """Return when calls, exchanges and computing began and ended in the last steps, in seconds, by name."""
    model = np.full(floats, comm.rank, np.float32)
    spans = {"call": [], "exchange": [], "compute": []}
    with GroupAverager(comm, model, sync_period=1000, broadcast=False, overlap=True) as averager:
        comm.Barrier()
        for _ in range(steps + 2):
            began = time.perf_counter()
            averager.average(model, out=model)
            returned = time.perf_counter()
            computing = threading.Thread(target=COMPUTE[kind], args=(seconds,))
            computing.start()
            averager.state_dict()  # waits for the exchange
            exchanged = time.perf_counter()
            computing.join()
            spans["call"].append((began, returned))
            spans["exchange"].append((returned, exchanged))
            spans["compute"].append((returned, time.perf_counter()))
    first = spans["call"][-steps][0]
    return {name: [(a - first, b - first) for a, b in pairs[-steps:]] for name, pairs in spans.items()}


def drawn(spans, columns=90):
    """Return a timeline as lines of text."""
    end = max(until for pairs in spans.values() for _, until in pairs)
    lines = [f"rank 0, {end * 1e3:.0f} ms; a column is {end / columns * 1e3:.1f} ms"]
    for name, pairs in spans.items():
        cells = [" "] * columns
        for since, until in pairs:
            for i in range(int(since / end * columns), max(int(until / end * columns), 1)):
                cells[i] = "#"
        lines.append(f"{name:>9} |{''.join(cells)}|")
    return lines


def shown(value):
    return f"{value * 1e3:.1f} ms" if isinstance(value, float) else str(value)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--floats", type=float, default=25e6)
    parser.add_argument("--compute", type=float, default=0.1, help="seconds")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", help="file to write the rows to")
    parser.add_argument("--timeline", action="store_true", help="draw three steps, and measure nothing")
    chosen = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[comm.rank % len(cores)]})  # of its own, if there are enough
    if chosen.timeline:
        spans = timeline(comm, int(chosen.floats), "asleep", chosen.compute)
        if comm.rank == 0:
            print(*drawn(spans), sep="\n", flush=True)
        return
    rows = []
    table.say(comm, COLUMNS, 10)
    for kind in COMPUTE:
        for overlap in (False, True):
            rows.append(measure(comm, int(chosen.floats), kind, chosen.compute, overlap, chosen.steps))
            table.say(comm, [shown(rows[-1][name]) for name in COLUMNS], 10)
    table.write(comm, chosen.json, rows)


if __name__ == "__main__":
    main()
