"""Programs that end without close(), by an exception, or beside traffic of their own."""

import gc
import os
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

from tests.support.signals import until
from wagma_rma import GroupAverager
from wagma_rma.testing.probe import Probe

kept = []


def shared_files():
    """Return the names of the files in /dev/shm that this process has mapped."""
    with open("/proc/self/maps") as maps:
        paths = {line.rstrip().partition("/dev/shm/")[2] for line in maps}
    return sorted({path.removesuffix(" (deleted)") for path in paths if path})


def unclosed(comm, how):
    """Leave an averager as it is: "alive", "collected" as garbage, or "stepping" (others may lag).

    Returns the names of the files in /dev/shm that only the averager has mapped.
    """
    before = set(shared_files())
    averager = GroupAverager(comm, np.zeros(100_000), sync_period=4)
    files = sorted(set(shared_files()) - before)
    for _ in range(4):
        averager.average(np.ones(100_000))
    if how == "stepping":
        time.sleep(0.1 * comm.rank)
        averager.average(np.ones(100_000))
    if how == "collected":
        del averager
        gc.collect()
    else:
        kept.append(averager)
    return files


def exception(comm, others):
    """Rank 1 raises an exception of the user's while the others synchronise, step, or close."""
    averager = GroupAverager(comm, np.zeros(1000), sync_period=100_000, patience=0)
    averager.average(np.ones(1000))
    if comm.rank == 1:
        probe = Probe(averager)
        # The others have come to where they wait, or step.
        until(lambda: all(probe.has_arrived(rank, 2) or probe.published([rank]) > [3] for rank in (0, 2)))
        Path(os.environ["RANKS_DIRECTORY"], "raised").write_text(str(time.time()))
        raise ZeroDivisionError("the user's own")
    if others == "synchronize":
        averager.synchronize(np.ones(1000))
    elif others == "close":
        averager.close()
    else:
        while True:
            averager.average(np.ones(1000))


def traffic(comm):
    """Have receives of any source and tag, and a barrier, open all the time, on the averager's communicator.

    Returns what came in them; expected: [rank of the sender, tag, number] and nothing else.
    """
    other = (comm.rank + 1) % comm.size
    numbers = np.full(3, -1.0)
    request = comm.Irecv(numbers, MPI.ANY_SOURCE, MPI.ANY_TAG)
    came, probed = [], 0
    model = np.full(50_000, float(comm.rank))
    averager = GroupAverager(comm, model, broadcast=False, group_size=comm.size, sync_period=5)
    barrier = comm.Ibarrier()
    for step in range(1, 21):
        averager.average(model)
        if step == 3:
            # Left for others to find with a probe of anything.
            comm.Isend(np.full(3, 100.0 + comm.rank), other, 0).Wait()
        if step == 10:
            barrier.Wait()
            barrier = comm.Ibarrier()
            while not request.Test():
                time.sleep(0.001)
            came.append([*numbers.tolist()])
        probed += comm.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG)
    barrier.Wait()
    comm.Barrier()  # or a rank that still probes would find what comes next
    status = MPI.Status()
    comm.Sendrecv(np.full(3, 200.0 + comm.rank), other, 32_000, numbers, status=status)
    came.append([status.source, status.tag, *numbers.tolist()])
    total = comm.allreduce(1)
    mean = averager.synchronize(model)
    averager.close()
    left = comm.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG)
    return {"came": came, "probed": probed, "total": total, "mean": np.unique(mean).tolist(), "left": left}
