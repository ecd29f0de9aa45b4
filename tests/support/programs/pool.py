"""What the tests of the pool have its ranks do."""

import ctypes
import logging
import os
import signal
import sys
import time
import warnings
from pathlib import Path

from tests.support.changes import changed
from wagma_rma.waiting import watch


def who(comm, number=0):
    """Return (rank, ranks, process id, sum of a number over the ranks)."""
    return comm.rank, comm.size, os.getpid(), comm.allreduce(number)


def raises(comm, rank):
    """Raise at one rank while the others wait for it."""
    print(f"rank {comm.rank} was here", flush=True)
    if comm.rank == rank:
        raise ValueError(f"rank {rank} fails")
    comm.Barrier()


def exits(comm, rank):
    """Call sys.exit at one rank, which is no better than any other exception."""
    if comm.rank == rank:
        sys.exit("out of here")


def dies(comm, rank, how):
    """Die at one rank while the others wait for it."""
    os.write(1, b"written by C\n")
    if comm.rank == rank:
        if how == "segmentation fault":
            ctypes.string_at(0)
        elif how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(7)
    comm.Barrier()


def hangs(comm, rank):
    """Never return at one rank."""
    while comm.rank == rank:
        time.sleep(0.01)


def no_json(comm):
    """Return what can't be sent."""
    return object()


def warns(comm):
    """Warn of something, which is an error."""
    warnings.warn("careful", stacklevel=1)


def changes(comm):
    """Change what belongs to the whole process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("wagma_rma").addHandler(logging.NullHandler())
    logging.getLogger("wagma_rma").propagate = False
    warnings.simplefilter("ignore")
    os.environ["CHANGED"] = "yes"
    os.chdir("/")
    signal.setitimer(signal.ITIMER_REAL, 1000)


def process(comm):
    """Return what belongs to the whole process."""
    logger = logging.getLogger("wagma_rma")
    return [
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        len(logger.handlers),
        logger.propagate,
        [kind for kind, *_ in warnings.filters],
        "CHANGED" in os.environ,
        str(Path.cwd()),
        signal.getitimer(signal.ITIMER_REAL)[0],
    ]


def changes_the_library(comm, puts_back):
    """Change a constant of the library, and put it back or not."""
    if puts_back:
        with changed(watch, WARN_EVERY=1.0):
            pass
    else:
        watch.WARN_EVERY = 1.0


def cpu(comm):
    """Return the CPU seconds that this process has used."""
    return time.process_time()
