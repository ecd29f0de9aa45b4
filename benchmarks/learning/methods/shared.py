"""Memory that all ranks of a host share, for the methods that take what others have left there."""

import contextlib
import fcntl
import os
import tempfile

import numpy as np
from mpi4py import MPI


class Shared:
    """A float32 vector of each rank, and one counter of all.

    Locks are the kernel's, on bytes of a file: MPI's own need a target that is awake.

    Args:
        comm: ranks of one host.
        length: elements of this rank's vector.

    Making it is collective, and so is close().

    Raises:
        ValueError: the ranks are on several hosts.
    """

    def __init__(self, comm, length):
        host = comm.Split_type(MPI.COMM_TYPE_SHARED)
        together = host.size == comm.size
        host.Free()
        if not together:
            raise ValueError("this method is written for ranks of one host; start all of them on one")
        self._comm = comm
        self._vectors = MPI.Win.Allocate_shared(4 * length, 4, comm=comm)
        self._counter = MPI.Win.Allocate_shared(8 if comm.rank == 0 else 0, 8, comm=comm)
        self.vectors = [
            np.frombuffer(self._vectors.Shared_query(rank)[0], np.float32) for rank in range(comm.size)
        ]
        self.counter = np.frombuffer(self._counter.Shared_query(0)[0], np.int64)
        self.vectors[comm.rank][:] = 0
        if comm.rank == 0:
            self.counter[:] = 0
            file, path = tempfile.mkstemp()
            comm.bcast(path)
        else:
            file = os.open(comm.bcast(None), os.O_RDWR)
        self._file = file
        comm.Barrier()
        if comm.rank == 0:
            os.unlink(path)

    @contextlib.contextmanager
    def locked(self, *ranks):
        """Own the vectors of some ranks in the block."""
        # In the order of their numbers: then no two ranks wait for each other.
        with contextlib.ExitStack() as stack:
            for rank in sorted(set(ranks)):
                stack.enter_context(self._byte(1 + rank))
            yield

    def counting(self):
        """Own the counter in the block."""
        return self._byte(0)

    @contextlib.contextmanager
    def _byte(self, number):
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, number)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)

    def close(self):
        self._comm.Barrier()
        os.close(self._file)
        self.vectors, self.counter = [], None
        self._vectors.Free()
        self._counter.Free()
