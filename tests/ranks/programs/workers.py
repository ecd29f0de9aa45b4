"""A rank that trains on what its worker processes prepare: python -m tests.ranks.programs.workers fork

Imported again by each worker that is not forked, so nothing here but main() imports MPI.
"""

import multiprocessing
import os
import sys

import numpy as np

BATCHES, WORKERS = 25, 2


def prepare(batch):
    """Return a batch, who has prepared it, and whether MPI was started there."""
    return np.full(1000, batch, np.float32), os.getpid(), "mpi4py.MPI" in sys.modules


def main(context):
    from mpi4py import MPI

    from wagma_rma import GroupAverager

    comm = MPI.COMM_WORLD
    model = np.zeros(1000, np.float32)
    pids, with_mpi, wrong = set(), False, 0
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": 7, "timeout": 60}
    with GroupAverager(comm, model, **options) as averager:
        averager.average(model, out=model)
        with multiprocessing.get_context(context).Pool(WORKERS) as pool:
            for batch, pid, mpi in pool.imap(prepare, range(BATCHES)):
                pids.add(pid)
                with_mpi |= mpi
                model[:] = batch + comm.rank
                averager.average(model, out=model)
                wrong += int((model != batch + (comm.size - 1) / 2).sum())
        averager.synchronize(model, out=model)
        step = averager.step
    others = os.getpid() not in pids and 1 <= len(pids) <= WORKERS
    print(f"{context}: step {step}, {wrong} wrong, workers {others}, MPI in them {with_mpi}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
