"""Ranks that are alone in their worlds, and ranks that only share no communicator."""

import logging

import numpy as np
from mpi4py import MPI

from wagma_rma import GroupAverager


def warnings_of(comm):
    """Return what making an averager on a communicator logs, and the size of the world."""
    logged = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    logger = logging.getLogger("wagma_rma")
    logger.addHandler(handler)
    try:
        GroupAverager(comm, np.zeros(3)).close()
    finally:
        logger.removeHandler(handler)
    return logged, MPI.COMM_WORLD.size


def each_apart(comm):
    """Return what an averager on COMM_SELF, in a larger world, logs."""
    return warnings_of(MPI.COMM_SELF)


if __name__ == "__main__":
    for line in warnings_of(MPI.COMM_WORLD)[0]:
        print(f"warned: {line}", flush=True)
    print(f"world of {MPI.COMM_WORLD.size}", flush=True)
