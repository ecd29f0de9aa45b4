"""Checks results of steps by numbers that say whose they are.

Each model is one number that encodes rank and step, so any mixture of snapshots shows as a model that is not
constant, and any wrong sum as a number that no contributions explain.
"""

import numpy as np

from wagma_rma.report import Outcome


def code(rank, step):
    """Encode rank and step; float32 holds sums over 32 ranks exactly. Codes recur after 8192 steps."""
    return np.float32(step % 8192 * 64 + rank)


def mean_of_all(steps):
    """Return what a synchronisation gives when each rank comes with its code: exact, in any order.

    Args:
        steps: that each rank encodes, by rank.
    """
    total = np.float32(0)
    for rank, step in enumerate(steps):
        total += code(rank, step)
    return np.float32(total / np.float32(len(steps)))


class Checker:
    """Checks each result against what the rank's own report says was contributed."""

    def __init__(self, averager, rank, ranks, period, start):
        self.averager, self.rank, self.ranks, self.period = averager, rank, ranks, period
        self.start, self.wrong = np.float32(start), []
        self.met = {}  # see meet()

    def meet(self, came):
        """Note of what steps the ranks' models were with which they came to the synchronisation just done.

        Args:
            came: by rank: the step after its last one, which is not the synchronisation's if it skips some.
        """
        report = self.averager.report
        self.met = {report.step: came}
        if report.skipped != report.step - came[self.rank]:
            self.wrong.append(f"came with the model of step {came[self.rank]}: {report}")

    def mean(self, step):
        return mean_of_all(self.met.get(step, [step] * self.ranks))

    def contribution(self, rank, step):
        if step == 0:
            return self.start
        return self.mean(step) if step % self.period == 0 else code(rank, step)

    def expected(self, report):
        mine = code(self.rank, report.step)
        if report.outcome is Outcome.SYNCHRONIZED:
            return self.mean(report.step)
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
            if report.skipped:
                self.wrong.append(f"skipped steps to come to a group step: {report}")
            for age in report.ages:
                if not last <= report.source_step - age <= report.source_step:
                    self.wrong.append(f"older than the synchronisation at {last}: {report}")
            if report.outcome is Outcome.FRESH and report.source_step != report.step:
                self.wrong.append(f"fresh from another step: {report}")
