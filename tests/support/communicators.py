"""A communicator of ranks that are threads of this process: the collectives that the library uses."""

import time

from mpi4py import MPI

PATIENT = 60.0  # seconds: a guard against hangs only


class ThreadComm:
    """One rank's end. Each collective completes when all ranks have begun it, in the same order.

    Args:
        board: a dict that all ranks share.
    """

    def __init__(self, board, rank, size):
        self.rank, self.size = rank, size
        self._board, self._calls = board, 0

    def _begin(self, mine, finish=lambda parts: None):
        parts = self._board.setdefault(self._calls, {})
        self._calls += 1
        parts[self.rank] = mine
        return Request(parts, self.size, finish)

    def Ibarrier(self):
        return self._begin(None)

    def allgather(self, mine):
        parts = []
        wait_for(self._begin(mine, parts.extend).Test)
        return parts

    def bcast(self, mine, root=0):
        parts = self._begin(mine).parts
        wait_for(lambda: root in parts)  # and for nobody else, as MPI may
        return parts[root]

    def Split_type(self, kind):
        """Return a communicator of this rank alone."""
        assert kind == MPI.COMM_TYPE_SHARED
        return ThreadComm({}, 0, 1)

    def Free(self):
        pass


class Request:
    """A collective that this rank has begun."""

    def __init__(self, parts, size, finish):
        self.parts, self._size, self._finish = parts, size, finish

    def Test(self):
        if len(self.parts) < self._size:
            return False
        self._finish([self.parts[rank] for rank in range(self._size)])
        return True


def wait_for(test):
    limit = time.monotonic() + PATIENT
    while not test():
        assert time.monotonic() < limit, "a rank has not begun this collective"
        time.sleep(1e-4)


def communicators(size):
    """Return the ends of all ranks."""
    board = {}
    return [ThreadComm(board, rank, size) for rank in range(size)]
