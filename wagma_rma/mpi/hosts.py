"""Which ranks share a host."""

from mpi4py import MPI


def host_numbers(comm: MPI.Intracomm) -> tuple[int, ...]:
    """Return the host of each rank. Hosts are numbered 0, 1, ... by their lowest ranks. Collective."""
    host = comm.Split_type(MPI.COMM_TYPE_SHARED)
    lowest = comm.allgather(host.bcast(comm.rank))
    host.Free()
    numbers = {rank: number for number, rank in enumerate(sorted(set(lowest)))}
    return tuple(numbers[rank] for rank in lowest)
