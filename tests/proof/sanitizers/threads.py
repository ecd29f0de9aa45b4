"""The protocol with its ranks as threads over one memory.

    python -m tests.proof.sanitizers.threads WORLD [--seconds 10] [--seed 1]

The ranks sleep at random, and each result is checked as the tests of stragglers do. run.py runs it under a
sanitizer; by itself it is one more test.
"""

# ruff: noqa: E402 (MPI must be told first that it is not needed)
import argparse
import collections
import random
import sys
import threading
import time
from functools import partial
from types import SimpleNamespace

import mpi4py

mpi4py.rc.initialize = False

import numpy as np

import wagma_rma
from tests.support.checker import Checker, code
from wagma_rma import Outcome
from wagma_rma import report as reports
from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.options import Options
from wagma_rma.protocol.barrier import Barrier
from wagma_rma.protocol.layout import Layout
from wagma_rma.protocol.protocol import Protocol
from wagma_rma.protocol.reduction import Reduction
from wagma_rma.testing import ThreadMemory, ThreadWindow, take_steps
from wagma_rma.waiting.worker import Worker

FLOAT32 = 1

# By a slow clock no rank takes over a chunk that another has claimed, since 2 ms of it never pass; by a fast
# one a rank that is preempted loses its claim.
SLOW, FAST = 1e-6, 20.0
WORLDS = {
    # Three steps fit into the three result slots, and no rank sums what another has claimed: nothing may
    # race.
    "unhurried": {"period": 4, "pace": SLOW},
    # One step between two barriers, with claims taken over: no rank writes again what a loser still reads, so
    # nothing may race.
    "hurried": {"period": 2, "pace": FAST},
    # Result slots are used again while a late rank may still read them.
    "reused": {"period": 20, "pace": SLOW},
    # Snapshots are, too, while the loser of a chunk may still read them.
    "taken-over": {"period": 20, "pace": FAST},
}
# Patience is in seconds of the day. Without any, all but the first are late; with some, they share the work.
SHAPES = [
    {"ranks": 4, "size": 3_000, "group_size": 2, "chunk_bytes": 1 << 18, "sleeps": 1e-3, "patience": 0.0},
    {"ranks": 4, "size": 3_000, "group_size": 4, "chunk_bytes": 1 << 10, "sleeps": 1e-3, "patience": 5e-4},
    {"ranks": 6, "size": 1_000, "group_size": 3, "chunk_bytes": 1 << 9, "sleeps": 3e-4, "patience": 1e-4},
    {
        "ranks": 4,
        "size": 100,
        "group_size": 4,
        "chunk_bytes": 1 << 18,
        "sleeps": 1e-4,
        "patience": 0.0,
        "quorum": 3,
    },
    {"ranks": 5, "size": 10_000, "group_size": 2, "chunk_bytes": 1 << 13, "sleeps": 0.0, "patience": 1e-4},
    # The rest of each step on a thread of its own.
    {
        "ranks": 4,
        "size": 3_000,
        "group_size": 2,
        "chunk_bytes": 1 << 10,
        "sleeps": 1e-3,
        "patience": 1e-4,
        "overlap": True,
    },
]


class Run:
    """One shape in one world, for some periods."""

    def __init__(
        self,
        periods,
        seed,
        *,
        period,
        pace,
        ranks,
        size,
        group_size,
        chunk_bytes,
        sleeps,
        patience,
        quorum=1,
        overlap=False,
    ):
        wagma_rma.protocol.layout.CHUNK_BYTES, wagma_rma.protocol.layout.LEAST_CHUNK_BYTES = chunk_bytes, 1
        self.periods, self.seed, self.period, self.pace = periods, seed, period, pace
        self.ranks, self.size, self.sleeps, self.overlap = ranks, size, sleeps, overlap
        self.options = Options("threads", ranks, group_size, period, quorum, patience * pace, None, 0, None)
        self.layout = Layout(
            [FLOAT32], [size], group_size, period, max(3, self.options.grouping.period + 1), True, (), 1, 1
        )
        self.memory = ThreadMemory(ranks, self.layout.nbytes)
        self.barrier = threading.Barrier(ranks)
        self.outcomes = collections.Counter()
        self.wrong = []

    def go(self):
        threads = [
            threading.Thread(target=self.rank, args=(rank,), daemon=True) for rank in range(self.ranks)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def rank(self, rank):
        try:
            self.steps(rank)
        except BaseException as error:
            self.wrong.append(f"rank {rank}: {error!r}")
            self.barrier.abort()
            raise

    def steps(self, rank):
        window = ThreadWindow(self.memory, rank, self.pace)
        groups = self.options.groups(rank)
        worker = Worker() if self.overlap else None
        how = self.options.quorum, self.options.patience, 1, None, self.overlap, worker
        protocol = Protocol(window, self.layout, groups, *how)
        model, out = np.zeros(self.size, np.float32), np.empty(self.size, np.float32)
        pointers = LeafPointers(self.layout.order)
        pointers.hold([model], [out])
        protocol.prepare(pointers)
        protocol.begin(0)
        hosts = [other % 2 for other in range(self.ranks)]
        barrier = Barrier(window, self.layout, hosts)
        reduction = Reduction(window, self.layout, protocol.snapshots, hosts)
        told = SimpleNamespace(report=None)
        checker = Checker(told, rank, self.ranks, self.period, 0)
        rng = random.Random(self.seed * self.ranks + rank)
        self.barrier.wait()
        for first in range(1, self.periods * self.period, self.period):
            last = first + self.period - 1
            results = take_steps(protocol, first, last - 1, model, out, rng.getrandbits(64), self.sleeps)
            for fields, low, high in results:
                told.report = reports.of_group_step(fields)
                if not self.overlap:
                    checker.check(np.array([low, high], np.float32))
                elif low != high:  # what it is depends on all steps since the last synchronisation
                    checker.wrong.append(f"torn: {low} .. {high} {told.report}")
                self.outcomes[told.report.outcome] += 1
            model[:] = code(rank, last)
            self.barrier.wait()  # of Python: all have left their group steps
            if any(protocol.snapshots.pins()) or protocol.unfinished():
                checker.wrong.append(f"rank {rank} has pins or records left at step {last}")
            self.barrier.wait()
            self.synchronize(protocol, barrier, reduction, pointers, last)
            told.report = reports.of_synchronization(last, self.ranks, reports.Synchronization())
            if not self.overlap:
                checker.check(out)
            elif out.min() != out.max():
                checker.wrong.append(f"torn: {out.min()} .. {out.max()} {told.report}")
            self.outcomes[Outcome.SYNCHRONIZED] += 1
        self.wrong += checker.wrong
        if worker is not None:
            worker.stop()

    def synchronize(self, protocol, barrier, reduction, pointers, step):
        """Synchronise by the library's own barriers and sums, which no lock of Python orders."""
        reduction.contribute(barrier.number + 1, pointers)
        since = step - self.period
        barrier.arrive(step, since)
        wait_for(barrier.is_over)
        reduction.sum_host(True, pointers)
        for number in range(reduction.rounds):
            wait_for(partial(reduction.is_performed, number))
        reduction.tell_summed()
        wait_for(reduction.is_summed)
        reduction.collect(step, True, pointers)
        barrier.arrive(step, since)
        wait_for(barrier.is_over)
        protocol.synchronized(step)


def wait_for(test):
    """Wait until a test is true."""
    while not test():
        time.sleep(20e-6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--seconds", type=float, default=10, help="how long, about")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcomes, wrong = collections.Counter(), []
    periods, ends = max(2, 200 // WORLDS[options.world]["period"]), time.monotonic() + options.seconds
    seed = options.seed
    while True:
        for shape in SHAPES:
            run = Run(periods, seed, **WORLDS[options.world], **shape)
            run.go()
            outcomes += run.outcomes
            wrong += run.wrong
        seed += 1
        if wrong or time.monotonic() > ends:
            break
    for line in wrong[:10]:
        print(line)
    counts = ", ".join(f"{outcomes[outcome]} {outcome.name}" for outcome in Outcome)
    print(f"threads: {options.world}: {outcomes.total()} steps: {counts}; {len(wrong)} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
