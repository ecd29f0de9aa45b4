"""Which ranks share a host."""

from mpi4py import MPI

from wagma_rma.mpi.abi import abi


def host_numbers(comm: MPI.Intracomm) -> tuple[int, ...]:
    """Return the host of each rank. Hosts are numbered 0, 1, ... by their lowest ranks. Collective."""
    host = comm.Split_type(MPI.COMM_TYPE_SHARED)
    lowest = comm.allgather(host.allgather(comm.rank)[_first_of_my_world(host)])
    host.Free()
    numbers = {rank: number for number, rank in enumerate(sorted(set(lowest)))}
    return tuple(numbers[rank] for rank in lowest)


def _first_of_my_world(host: MPI.Comm) -> int:
    """Return the lowest rank of a host that can share memory with this one. Local.

    MPICH gives ranks of different worlds, some of which were spawned, no shared memory, as if each world were
    on a host of its own.
    """
    if abi() != "mpich" or host.size == 1:
        return 0
    group, world = host.Get_group(), MPI.COMM_WORLD.Get_group()
    known = MPI.Group.Translate_ranks(group, list(range(host.size)), world)
    group.Free()
    world.Free()
    return next(rank for rank, there in enumerate(known) if there != MPI.UNDEFINED)
