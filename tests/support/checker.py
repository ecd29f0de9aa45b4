"""Checks results of steps by numbers that say whose they are.

Each model is one number that encodes rank and step, so any mixture of snapshots shows as a model that is not
constant, and any wrong sum as a number that no contributions explain.
"""

import numpy as np

from wagma_rma.report import Outcome


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
