"""Synchronisations, and agreements of ranks, that a timeout or Ctrl-C cuts short."""

import signal
import time

import numpy as np

import wagma_rma
from tests.support.signals import until
from wagma_rma import GroupAverager
from wagma_rma.mpi.agreement import agree
from wagma_rma.testing.probe import Probe


class Cut:
    """A barrier or a reduction one of whose tests is waited for until Ctrl-C has cut that short.

    Args:
        part: the real one.
        test: the method.
        after: how many waits for this test come true before.

    Attributes:
        through: whether Ctrl-C has; set by the caller.
    """

    def __init__(self, part, test, after=0):
        self._part, self._test, self._after = part, test, after
        self._pressed = self.through = False

    def __getattr__(self, name):
        real = getattr(self._part, name)
        return (lambda *arguments: self._look(real, arguments)) if name == self._test else real

    def _look(self, real, arguments):
        if self._after:
            done = real(*arguments)
            self._after -= done
            return done
        if not self._pressed:
            self._pressed = True
            signal.raise_signal(signal.SIGINT)
        return self.through and real(*arguments)


def then_average(comm):
    """Rank 0's synchronize() times out; it tries to go on with average(), and then completes it."""
    model = np.full(4, float(comm.rank + 1))
    told = ""
    averager = GroupAverager(comm, np.zeros(4), sync_period=10)
    if comm.rank == 0:
        averager.timeout = 0.3
        try:
            averager.synchronize(model)
        except wagma_rma.SynchronizationTimeout:
            try:
                averager.average(100 * model)
            except RuntimeError as error:
                told = str(error)
        averager.timeout = None
        comm.send(None, 1)
    elif comm.rank == 1:
        comm.recv(source=0)
    mean = averager.synchronize(model)
    averager.close()
    return [told, averager.step, mean.tolist()]


def then_close(comm, wait, floats):
    """Rank 0 is cut short in a wait of a synchronisation, and closes; the others synchronise."""
    model = np.full(floats, float(comm.rank))
    averager = GroupAverager(comm, model, broadcast=False)
    if comm.rank == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cuts = []
        if wait == "sums":
            Probe(averager).replace_reduction(lambda own: cuts.append(Cut(own, "is_summed")) or cuts[0])
        else:
            after = int(wait == "end")
            Probe(averager).replace_barrier(lambda own: cuts.append(Cut(own, "is_over", after)) or cuts[0])
    mean = None
    try:
        mean = averager.synchronize(model)
    except KeyboardInterrupt:
        assert comm.rank == 0
        cuts[0].through = True
        if wait == "arrivals":
            until(lambda: all(Probe(averager).has_arrived(rank, 1) for rank in range(comm.size)))
            time.sleep(0.1)  # has_arrived() comes a moment before the arrival
    averager.close()
    return None if mean is None else [float(mean.min()), float(mean.max())]


def close_at_a_meeting(comm):
    """Both are cut short at step 4, rank 0 in join(); rank 1 leaves. Return what close() says at rank 0."""
    model = np.full(4, float(comm.rank))
    averager = GroupAverager(comm, model, broadcast=False, group_size=1, sync_period=4, timeout=20)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Probe(averager).replace_reduction(lambda own: Cut(own, "is_summed"))
    try:
        if comm.rank == 0:
            averager.join(model)
        for _ in range(4):
            averager.average(model)
    except KeyboardInterrupt as error:
        if comm.rank == 1:
            averager.__exit__(KeyboardInterrupt, error, None)
    comm.Barrier()
    said = ""
    if comm.rank == 0:
        try:
            averager.close()
        except Exception as error:
            said = repr(error)
    comm.Barrier()  # rank 1 has left, and has not closed
    return said


def closed_after_its_part(comm):
    """Rank 0 closes after step 1; return what rank 1 is told of waiting for it at step 1, and at step 2."""
    averager = GroupAverager(comm, np.zeros(4), quorum=comm.size, group_size=comm.size)
    averager.average(np.zeros(4))
    told = []
    if comm.rank == 1:
        probe = Probe(averager)
        until(lambda: probe.is_closed(0))
        for step in (1, 2):
            try:
                for _ in range(2):  # it is named at the second check
                    probe.check_group(step, (0, 1))
                told.append("")
            except RuntimeError as error:
                told.append(str(error))
    averager.close()
    return told


def agreement(comm):
    """Rank 0 gets Ctrl-C while it waits for rank 1 to agree, which comes only when that has got through."""
    private = comm.Dup()
    interrupted = False
    if comm.rank == 0:
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            agree(private, "test", {})
        except KeyboardInterrupt:
            interrupted = True
        comm.send(None, 1)
        private.allgather({})  # what the interrupted call has left to do
    else:
        comm.recv(source=0)
        agree(private, "test", {})
    private.Free()
    return interrupted
