"""What is left of averagers that have been closed."""

import gc
import os
from pathlib import Path

import numpy as np
from mpi4py import MPI

import wagma_rma
from wagma_rma.mpi import hosts
from wagma_rma.windows.shared import SHARED_MEMORY


def held():
    """Return kB of resident memory, kB and files in the host's shared memory, open files."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    room = os.statvfs(SHARED_MEMORY)
    shared = (room.f_blocks - room.f_bfree) * room.f_frsize
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    return [memory // 1024, shared // 1024, len(os.listdir(SHARED_MEMORY)), len(os.listdir("/proc/self/fd"))]


def averager(comm):
    """Make an averager, do a group step and a synchronisation, and close it."""
    model = {"w": np.full(2000, comm.rank, np.float32), "b": np.zeros(10)}
    with wagma_rma.GroupAverager(comm, model, group_size=comm.size, sync_period=2) as averager:
        averager.average(model, out=model)
        averager.average(model, out=model)


def bare(comm):
    """Make and free with MPI alone what an averager makes and frees."""
    ours, request = comm.Idup()
    request.Wait()
    where = hosts.host_numbers(ours)
    info = MPI.Info.Create()
    info.Set("alloc_shared_noncontig", "true")
    host = ours.Split(where[ours.rank], ours.rank) if max(where) else ours
    windows = [MPI.Win.Allocate_shared(100_000, 1, info, host)]
    info.Free()
    if host is not ours:
        windows.append(MPI.Win.Create(windows[0].tomemory(), 1, MPI.INFO_NULL, ours))
        windows.append(MPI.Win.Allocate(20_000, 1, MPI.INFO_NULL, ours))
        ours.Dup().Free()
    for window in windows:
        window.Lock_all(MPI.MODE_NOCHECK)
    for rank in range(host.size):
        windows[0].Shared_query(rank)
    ours.Barrier()
    for window in reversed(windows):
        window.Unlock_all()
        window.Free()
    if host is not ours:
        host.Free()
    ours.Free()


def cycles(comm, what, warm_up, count, samples):
    """Do `what` `warm_up`, then `count` times; return what is held in between and `samples` times more."""
    work = {"averager": averager, "bare": bare}[what]
    seen = []
    for done in range(warm_up + count + 1):
        if done >= warm_up and (done - warm_up) % (count // samples) == 0:
            gc.collect()
            comm.Barrier()
            seen.append(held())
            comm.Barrier()
        if done < warm_up + count:
            work(comm)
    return seen
