"""What a rank takes of its core while it waits and while nothing happens, beside MPI's own waiting.

    mpiexec -n 2 python -m benchmarks.cpu [--seconds 2] [--window remote] [--json FILE]

The last rank comes late by so many seconds. Shown is the others' CPU time over that, of all threads.

asleep       the rank sleeps, with an averager open (over a network its thread serves others)
quorum       it waits in a group step with a quorum of all
synchronise  it waits in a synchronisation
allreduce    it waits in MPI_Allreduce
"""

import argparse
import time

import numpy as np
from mpi4py import MPI

from benchmarks import table
from wagma_rma import GroupAverager

COLUMNS = ("waits in", "of a core")


def measure(comm, call, seconds):
    """Return the share of a core that the ranks in time take while they wait in a call, on average."""
    comm.Barrier()
    if comm.rank == comm.size - 1:
        time.sleep(seconds)
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    shares = comm.gather(cpu / wall)
    return float(np.mean(shares[:-1])) if shares else None


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--window", default="auto", choices=["auto", "shared", "remote"])
    parser.add_argument("--json", help="file to write the rows to")
    arguments = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    model, total = np.zeros(1000, np.float32), np.empty(1000, np.float32)
    with GroupAverager(
        comm, model, group_size=comm.size, quorum=comm.size, sync_period=100, window=arguments.window
    ) as averager:
        averager.average(model, out=model)
        calls = {
            "asleep": lambda: time.sleep(arguments.seconds),
            "quorum": lambda: averager.average(model, out=model),
            "synchronise": lambda: averager.synchronize(model, out=model),
            "allreduce": lambda: comm.Allreduce(model, total),
        }
        rows = {name: measure(comm, call, arguments.seconds) for name, call in calls.items()}
    table.say(comm, COLUMNS)
    for name, share in rows.items():
        table.say(comm, (name, f"{100 * share:.1f} %" if share is not None else ""))
    table.write(comm, arguments.json, rows)


if __name__ == "__main__":
    main()
