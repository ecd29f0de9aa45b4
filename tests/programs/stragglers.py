"""Ranks that are late, asleep or stopped.

Each model is one number that encodes rank and step, so any mixture of snapshots shows as a model that is not
constant, and any wrong sum as a number that no contributions explain.
"""

import os
import random
import resource
import statistics
import time
from pathlib import Path

import numpy as np

import wagma_rma
from wagma_rma import Outcome


def code(rank, step):
    """Encode rank and step; float32 holds sums over 32 ranks exactly. Codes recur after 8192 steps."""
    return np.float32(step % 8192 * 64 + rank)


def mean_of_all(ranks, step):
    """Return what a synchronisation gives when every rank comes with its code: exact, in any order."""
    total = np.float32(0)
    for rank in range(ranks):
        total += code(rank, step)
    return np.float32(total / np.float32(ranks))


class Checker:
    """Checks each result against what the rank's own report says was contributed."""

    def __init__(self, averager, rank, ranks, period, start):
        self.averager, self.rank, self.ranks, self.period = averager, rank, ranks, period
        self.start, self.wrong = np.float32(start), []

    def contribution(self, rank, step):
        if step == 0:
            return self.start
        return mean_of_all(self.ranks, step) if step % self.period == 0 else code(rank, step)

    def expected(self, report):
        mine = code(self.rank, report.step)
        if report.outcome is Outcome.SYNCHRONIZED:
            return mean_of_all(self.ranks, report.step)
        if report.outcome is Outcome.MISSED:
            return mine
        total = None
        for rank, age in zip(report.group, report.ages, strict=True):
            part = self.contribution(rank, report.source_step - age)
            total = part if total is None else np.float32(total + part)
        count = len(report.group)
        age = report.ages[report.group.index(self.rank)]
        if report.outcome is Outcome.LATE and report.source_step - age != report.step:
            total, count = np.float32(total + mine), count + 1
        return np.float32(total / np.float32(count))

    def check(self, result):
        report = self.averager.report
        low, high = result.min(), result.max()
        if low != high:
            self.wrong.append(f"torn: {low} .. {high} {report}")
        elif low != self.expected(report):
            self.wrong.append(f"wrong: {low} instead of {self.expected(report)} {report}")
        last = (report.step - 1) // self.period * self.period
        if report.outcome is not Outcome.SYNCHRONIZED:
            for age in report.ages:
                if not last <= report.source_step - age <= report.source_step:
                    self.wrong.append(f"older than the synchronisation at {last}: {report}")
            if report.outcome is Outcome.FRESH and report.source_step != report.step:
                self.wrong.append(f"fresh from another step: {report}")


def torture(
    comm, size, steps, period, group_size, naps, patience="auto", quorum=1, chunk_bytes=None, lent=False
):
    """Step with random naps; return (what was wrong, outcome counts)."""
    if chunk_bytes:
        wagma_rma.protocol.layout.CHUNK_BYTES, wagma_rma.protocol.layout.LEAST_CHUNK_BYTES = chunk_bytes, 1
    rng = random.Random(comm.rank)
    model = np.zeros(size, np.float32)
    out = np.empty_like(model)
    with wagma_rma.GroupAverager(
        comm, model, group_size=group_size, sync_period=period, patience=patience, quorum=quorum
    ) as averager:
        checker = Checker(averager, comm.rank, comm.size, period, 0)
        if lent:
            model = averager.buffers()
        for step in range(1, steps + 1):
            if rng.random() < 0.3:
                time.sleep(rng.random() * naps)
            model[:] = code(comm.rank, step)
            if lent:
                # In place now and then, where it must be copied.
                model = averager.average(model, out=model if step % 7 == 1 else None)
                checker.check(model)
            else:
                checker.check(averager.average(model, out=model if step % 2 == 1 else out))
            if step % period == 0:
                comm.Barrier()
                if any(averager._protocol.snapshots.pins()):
                    checker.wrong.append(f"pins {averager._protocol.snapshots.pins()} at step {step}")
                if averager._protocol.unfinished():
                    checker.wrong.append(
                        f"records {averager._protocol.unfinished()} miscounted at step {step}"
                    )
                comm.Barrier()
        counts = averager.statistics
    return checker.wrong, [counts.fresh, counts.late, counts.missed, counts.synchronized]


def asleep(comm, group_size, naptime, sleepers=(1,)):
    """Let ranks sleep before step 5 until the others have done all steps before that which synchronises."""
    period = 40
    model = np.zeros(1000, np.float32)
    seconds, facts = [], {}
    others = [rank for rank in range(comm.size) if rank not in sleepers]
    with wagma_rma.GroupAverager(comm, model, group_size=group_size, sync_period=period) as averager:
        checker = Checker(averager, comm.rank, comm.size, period, 0)
        for step in range(1, period):
            if comm.rank in sleepers and step == 5:
                began = time.monotonic()
                time.sleep(naptime)
                while not all(comm.Iprobe(rank) for rank in others):
                    assert time.monotonic() < began + 60, (
                        "the others are not through: they wait for the sleeper"
                    )
                    time.sleep(0.005)
                facts["others were through"] = [comm.recv(source=rank) for rank in others]
                facts["slept"] = time.monotonic() - began
            time.sleep(0.002)
            model[:] = code(comm.rank, step)
            checker.check(averager.average(model))
            report = averager.report
            if comm.rank not in sleepers:
                seconds.append(report.seconds)
            elif step == 5:
                facts["late"] = [report.outcome.name, report.step, report.source_step, list(report.ages)]
        if comm.rank not in sleepers:
            facts["through"] = averager.step
            facts["typical"], facts["slowest"] = statistics.median(seconds), max(seconds)
            for sleeper in sleepers:
                comm.send(comm.rank, sleeper)
        averager.average(model)
    return {"wrong": checker.wrong, **facts}


def progress(comm, naps, period, size, group_size, chunk_bytes):
    """Step until the step that a file named last holds, and tell each step in a file that the test maps."""
    directory = Path(os.environ["RANKS_DIRECTORY"])
    done = np.memmap(directory / f"progress.{comm.rank}", np.int64, "w+", shape=(1,))
    rng = random.Random(comm.rank)
    model = np.zeros(size, np.float32)
    wagma_rma.protocol.layout.CHUNK_BYTES, wagma_rma.protocol.layout.LEAST_CHUNK_BYTES = chunk_bytes, 1
    with wagma_rma.GroupAverager(comm, model, group_size=group_size, sync_period=period) as averager:
        checker = Checker(averager, comm.rank, comm.size, period, 0)
        step, last = 0, None
        while step != last:
            if last is None and (directory / "last").exists():
                last = int((directory / "last").read_text())
            step += 1
            if naps:
                time.sleep(rng.random() * naps)
            model[:] = code(comm.rank, step)
            checker.check(averager.average(model, out=model))
            done[0] = step
        comm.Barrier()
        checker.wrong += [f"record {record} miscounted" for record in averager._protocol.unfinished()]
        comm.Barrier()
    return checker.wrong[:5], step


def idle(comm, seconds):
    """Return the CPU seconds this rank uses while it waits in each way a rank can."""

    def cpu():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    used = {}
    model = np.zeros(1000, np.float32)
    with wagma_rma.GroupAverager(
        comm, model, group_size=comm.size, quorum=comm.size, sync_period=3
    ) as averager:
        for name in ("quorum", "asleep between steps", "synchronisation"):
            comm.Barrier()
            before = cpu()
            if name == "asleep between steps":
                time.sleep(seconds)
                used[name] = cpu() - before
            elif comm.rank == 0:
                time.sleep(seconds)
            averager.average(model)
            used.setdefault(name, cpu() - before)
        comm.Barrier()
        before = cpu()
        if comm.rank == 0:
            time.sleep(seconds)
    used["close"] = cpu() - before
    return used
