"""Plain MPI programs that show what the hosts of tests/support/hosts.py are."""

import os
import socket
import statistics
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI


def where(comm):
    """Return what tells this rank's host from others: its names, and the files of all ranks in /dev/shm."""
    shared = comm.Split_type(MPI.COMM_TYPE_SHARED)
    mine = Path(f"/dev/shm/rank.{comm.rank}")
    mine.touch()
    comm.Barrier()
    seen = sorted(int(path.suffix[1:]) for path in Path("/dev/shm").glob("rank.*"))
    comm.Barrier()
    return {
        "hostname": socket.gethostname(),
        "ipc": os.readlink("/proc/self/ns/ipc"),
        "shared": shared.size,
        "seen": seen,
    }


def sums(comm, size):
    """Return whether each element of an allreduce is right, three times over."""
    ranks = np.arange(comm.size, dtype=np.float64)
    places, out = np.arange(size, dtype=np.float64), np.empty(size)
    right = []
    for step in range(3):
        comm.Allreduce(places * (comm.rank + step), out)
        right.append(bool((out == places * (ranks + step).sum()).all()))
    return right


def exchange(comm):
    """Exchange until a file "last" appears, telling each round in a file that the test maps.

    Returns (rounds, wrong sums, additions to rank 0's counter by all ranks): a round is an allreduce and a
    fetch-and-op.
    """
    directory = Path(os.environ["RANKS_DIRECTORY"])
    done = np.memmap(directory / f"progress.{comm.rank}", np.int64, "w+", shape=(1,))
    window = MPI.Win.Allocate(8, 1, comm=comm)
    window.Lock_all(MPI.MODE_NOCHECK)
    one, before, total = np.ones(1, np.int64), np.zeros(1, np.int64), np.zeros(2, np.int64)
    if comm.rank == 0:
        np.frombuffer(window, np.int64)[0] = 0
        window.Sync()
    comm.Barrier()
    rounds, wrong, last = 0, 0, 0
    while not last:
        stop = comm.rank == 0 and (directory / "last").exists()
        comm.Allreduce(np.array([rounds + comm.rank, stop]), total)
        last = total[1]
        wrong += int(total[0] != rounds * comm.size + comm.size * (comm.size - 1) // 2)
        window.Fetch_and_op(one, before, 0, 0, MPI.SUM)
        window.Flush(0)
        rounds += 1
        done[0] = rounds
    comm.Barrier()
    window.Fetch_and_op(one, before, 0, 0, MPI.NO_OP)
    window.Flush(0)
    comm.Barrier()
    window.Unlock_all()
    window.Free()
    return rounds, wrong, int(before[0])


def flood(comm, size, times=1):
    """Send `size` bytes from rank 0 to the last rank; return the seconds from request to arrival, at best."""
    data, go = np.zeros(size, np.uint8), np.zeros(1)
    last, seconds = comm.size - 1, []
    for _ in range(times):
        comm.Barrier()
        began = time.monotonic()
        if comm.rank == last:
            comm.Send(go, 0)
            comm.Recv(data, 0)
        elif comm.rank == 0:
            comm.Recv(go, last)
            comm.Send(data, last)
        seconds.append(time.monotonic() - began)
    return min(seconds)


def fail(comm, rank):
    """Raise at one rank while the others wait for it."""
    if comm.rank == rank:
        raise ValueError(f"rank {rank} fails")
    comm.Barrier()


def wait(comm):
    """Wait until killed."""
    while True:
        time.sleep(1)


def latency(comm, repeats=1000, size=4 << 20):
    """Return median microseconds of what rank 0 does with the last rank while that waits in MPI.

    That is a round trip, a fetch-and-op, and a get of `size` bytes.
    """
    last = comm.size - 1
    word, one, before = np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1, np.int64)
    data = np.zeros(size, np.uint8)
    window = MPI.Win.Allocate(size, 1, comm=comm)
    window.Lock_all(MPI.MODE_NOCHECK)

    def round_trip():
        if comm.rank == 0:
            comm.Send(word, last)
            comm.Recv(word, last)
        else:
            comm.Recv(word, 0)
            comm.Send(word, 0)

    def fetch_and_op():
        window.Fetch_and_op(one, before, last, 0, MPI.SUM)
        window.Flush(last)

    def get():
        window.Get(data, last)
        window.Flush(last)

    def median(operation, repeats=repeats):
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            operation()
            seconds.append(time.perf_counter() - began)
        return 1e6 * statistics.median(seconds[repeats // 10 :])

    comm.Barrier()
    found = None
    if comm.rank == 0:
        found = [median(round_trip), median(fetch_and_op), median(get, repeats // 50)]
        comm.Send(word, last)
    elif comm.rank == last:
        median(round_trip)
        comm.Recv(word, 0)
    comm.Barrier()
    window.Unlock_all()
    window.Free()
    return found
