"""Communicators of fewer ranks than were started, one after another."""

import time

from mpi4py import MPI


def powers_of_two(ranks):
    """Return 2, 4, 8 and so on, up to the number of ranks."""
    return [1 << k for k in range(1, ranks.bit_length())]


def of_first(comm, sizes):
    """Yield (ranks, communicator of the first so many ranks) for each size; COMM_NULL at the others.

    Collective. The communicator is freed when the next one is asked for.
    """
    for ranks in sizes:
        some = comm.Split(0 if comm.rank < ranks else MPI.UNDEFINED, comm.rank)
        yield ranks, some
        if some != MPI.COMM_NULL:
            some.Free()
        # Those who take no part sleep; in a barrier they would take the others' cores.
        together = comm.Ibarrier()
        while not together.Test():
            time.sleep(0.01)
