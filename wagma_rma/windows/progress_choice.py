"""Whether the ranks of a remote window need progress threads.

The MPI standard has no query for it, so it is measured: does an operation on a rank that sleeps outside MPI
complete before that rank calls MPI again?
"""

import time

from mpi4py import MPI

from wagma_rma.windows.verbs import Verbs
from wagma_rma.windows.window import Window

NBYTES = 64  # of the bulk reads that are tried
# Seconds that the targets sleep. The others begin to operate after a third of it. If an operation takes two
# thirds, it has waited for its target to wake up, or this rank was late itself.
SLEEP = 60e-3


def choose_progress(
    window: Window, comm: MPI.Intracomm, hosts: tuple[int, ...], words_bytes: int, wanted: str
) -> tuple[str, str]:
    """Return "thread" or "none", and the reason. Collective; all ranks return the same.

    Args:
        window: a remote window over the ranks of `comm`, on which no thread makes progress yet.
        hosts: the host of each rank.
        words_bytes: where bulk memory begins in the window.
        wanted: "thread" or "none", which is then the answer, or "auto".
    """
    if wanted != "auto":
        return wanted, "as asked for"
    if max(hosts) == 0:
        return "none", "all ranks share a host"
    if _operations_wait(window, comm, hosts, words_bytes):
        return "thread", "an operation on a rank that computes waits for it"
    return "none", "an operation on a rank that computes does not wait for it"


def _operations_wait(window: Window, comm: MPI.Intracomm, hosts: tuple[int, ...], words_bytes: int) -> bool:
    """Return whether an operation waits until its target calls MPI, for any two ranks. Collective."""
    verbs = Verbs(window, 1, NBYTES)
    nbytes = min(NBYTES, window.nbytes - words_bytes)
    waited = False
    for phase in range(2):  # first the hosts with even numbers sleep, then the others
        sleepers = [rank for rank, host in enumerate(hosts) if host % 2 == phase]
        target = sleepers[window.rank % len(sleepers)]
        # The first round is not timed: its operations may have to make a connection. There are two timed
        # rounds, because a target that leaves the barrier late is still in MPI when the operations arrive.
        for seconds in (0.0, SLEEP, SLEEP):
            comm.Barrier()
            if window.rank in sleepers:
                time.sleep(seconds)
                continue
            started = window.waiter.time()
            time.sleep(seconds / 3)
            verbs.load(target, 0)
            verbs.read(target, words_bytes, nbytes)
            waited = waited or (seconds > 0 and window.waiter.time() - started > 2 * seconds / 3)
    return bool(comm.allreduce(waited, MPI.LOR))
