"""Synchronisations to which a quorum of arrivals calls the other ranks."""

import signal
import threading
import time

import numpy as np

from tests.ranks.programs.errors import said
from tests.support.groupings import Table
from tests.support.signals import PATIENT, signal_from, signal_to, until
from wagma_rma import GroupAverager
from wagma_rma.testing.probe import Probe

PAIRS = Table([(0, 1), (0, 1), (2, 3), (2, 3)])


def made(comm, **options):
    """Return an averager of three floats: groups of one, all ranks but one call, unless told otherwise."""
    usual = {
        "group_size": 1,
        "sync_period": 5,
        "sync_quorum": comm.size - 1,
        "broadcast": False,
        "timeout": PATIENT,
    }
    options = {**usual, **options}
    return GroupAverager(comm, np.full(3, float(comm.rank)), **options)


def mine(comm, step=0):
    return np.full(3, float(comm.rank + 10 * step))


def runs_on(averager, comm, step):
    """Average up to a step; return the last model."""
    model = mine(comm)
    while averager.step < step:
        model = averager.average(mine(comm, averager.step + 1))
    return model


def told(averager):
    """Return what the report says of the last step."""
    report = averager.report
    return [report.step, report.outcome.name, report.skipped]


def last_comes_late(comm, lent):
    """All but the last rank run ahead to step 5; it jumps there from its first step, and later again."""
    with made(comm) as averager:
        last, seen, models = comm.size - 1, [], []
        model = averager.buffers() if lent else None
        for multiple in (5, 10):
            if comm.rank == last:
                until(lambda multiple=multiple: Probe(averager).is_called(multiple))
            while averager.step < multiple:
                value = mine(comm, averager.step + 1)
                if lent:
                    model[...] = value
                    model = averager.average(model)
                else:
                    model = averager.average(value)
            seen.append(told(averager))
            models.append(model.tolist())
        steps = averager.statistics
        return {
            "told": seen,
            "models": models,
            "steps": [steps.steps, steps.synchronized, steps.skipped],
            "state": averager.state_dict(),
        }


def quorum_of_groups(comm):
    """Ranks 2 and 3 call; rank 1 jumps to step 4 while rank 0 waits for it at step 1, which needs both."""
    with made(comm, group_size=None, grouping=PAIRS, quorum=2, sync_period=4, sync_quorum=2) as averager:
        seen = []
        if comm.rank == 0:
            signal_to(comm, 2, 3)  # it is about to wait
        elif comm.rank >= 2:
            signal_from(comm, 0)
            time.sleep(0.2)
        else:
            until(lambda: Probe(averager).is_called(4))
        while averager.step < 4:
            averager.average(mine(comm, averager.step + 1))
            seen.append([*told(averager), list(averager.report.ages)])
        return seen


def cut_short(comm, how):
    """Rank 0 jumps, and its wait for rank 2, which sleeps, is cut short; average() continues it."""
    with made(comm, patience=0, sync_quorum=1) as averager:
        errors = []
        model = mine(comm, 1)
        if comm.rank == 0:
            until(lambda: Probe(averager).is_called(5))
            if how == "timeout":
                averager.timeout = 0.2
            else:
                signal.signal(signal.SIGALRM, signal.default_int_handler)
                signal.setitimer(signal.ITIMER_REAL, 0.2)
            try:
                averager.average(model)
            except (TimeoutError, KeyboardInterrupt) as error:
                errors.append(type(error).__name__)
                errors.append(averager.step)
                averager.timeout = PATIENT
            signal_to(comm, 2)
            model = averager.average(model)
        else:
            if comm.rank == 2:
                signal_from(comm, 0)
            model = runs_on(averager, comm, 5)
        return {"errors": errors, "told": told(averager), "model": model.tolist()}


def wrong_model(comm):
    """Rank 0 has been called, and comes with a wrong model; then with a right one."""
    with made(comm) as averager:
        errors = []
        if comm.rank == 0:
            until(lambda: Probe(averager).is_called(5))
            errors = said(averager.average, np.zeros(7))
        model = runs_on(averager, comm, 5)
        return {"errors": errors, "told": told(averager), "model": model.tolist()}


def fixed_number_of_calls(comm, synchronizes):
    """Each rank calls average() ten times: the one that jumped comes to step 15, where nobody else will.

    Args:
        synchronizes: all then call synchronize(), instead of close().
    """
    errors = []
    with made(comm, patience=0) as averager:
        for call in range(10):
            if comm.rank == 0 and call == 0:
                until(lambda: Probe(averager).is_called(5))
            if averager.step == 9:
                until(lambda: min(Probe(averager).published([0, 1, 2])) >= 9)  # nobody jumps this time
            averager.average(mine(comm, call))
        reached = averager.step
        if synchronizes:
            errors = said(averager.synchronize, mine(comm))
        elif comm.rank == 0:
            errors = said(lambda: [averager.average(mine(comm)) for _ in range(5)])
        said(averager.close)  # rank 0 may have closed already, after its error; or not yet
    return {"reached": reached, "errors": errors}


def explicit(comm):
    """Ranks that may jump synchronise by a call of their own in the middle of a period, and go on."""
    with made(comm) as averager:
        if comm.rank:
            time.sleep(0.05)
        runs_on(averager, comm, 2)
        model = averager.synchronize(mine(comm))
        steps = [averager.step, model.tolist()]
        runs_on(averager, comm, 5)
        return [*steps, told(averager)[:2]]


def leaves(comm):
    """Rank 1 leaves while rank 0 waits at a synchronisation to which it has been called."""
    averager = made(comm, sync_quorum=1)
    error = []
    if comm.rank == 1:
        signal_from(comm, 0)
        averager.__exit__(ValueError, ValueError("no data"), None)
    else:
        if comm.rank == 0:
            threading.Timer(0.2, lambda: signal_to(comm, 1)).start()
        error = said(runs_on, averager, comm, 5)
    return error


def starts_later(comm):
    """A run that goes on from step 7 has its next synchronisation at 10."""
    with made(comm, start_step=7, sync_quorum=0.5) as averager:
        if comm.rank == 0:
            until(lambda: Probe(averager).is_called(10))
        runs_on(averager, comm, 10)
        return [averager.sync_quorum, *told(averager)]


def joined_ranks(comm):
    """Two ranks of three join; the last one, fewer than the quorum of two, is enough to synchronise."""
    with made(comm, sync_quorum=2) as averager:
        if comm.rank < 2:
            model = averager.join(runs_on(averager, comm, 1 + comm.rank))
        else:
            runs_on(averager, comm, 5)
            seen = told(averager)
            model = averager.join(mine(comm))
        return [averager.step, model.tolist(), seen if comm.rank == 2 else None]


def joined_do_not_call(comm):
    """Rank 0 joins at once; ranks 1 and 2 do all their steps, since a rank that has joined calls nobody."""
    with made(comm, sync_quorum=2, patience=0) as averager:
        if comm.rank == 0:
            model = averager.join(mine(comm))
        else:
            if comm.rank == 1:
                until(lambda: Probe(averager).published([2])[0] >= 4)
            runs_on(averager, comm, 5)
            model = averager.join(mine(comm))
        return [averager.statistics.skipped, averager.step, model.tolist()]


def disagree(comm):
    """Ranks pass different quorums."""
    return said(made, comm, sync_quorum=1 + comm.rank)


def call_is_due(comm, patience):
    """Rank 0 comes to step 1 when the others have done step 4, and call it 0.3 s later."""
    with made(comm, group_size=comm.size, patience=patience) as averager:
        others = range(1, comm.size)
        if comm.rank == 0:
            signal_from(comm, *others)
        else:
            runs_on(averager, comm, 4)
            signal_to(comm, 0)
            time.sleep(0.3)
        averager.average(mine(comm))
        seen = told(averager)
        report = averager.report
        runs_on(averager, comm, 5)
        return [*seen, 0.2 < report.seconds_waited <= report.seconds]


def half_speed(comm, steps, seconds):
    """Rank 0 is at half speed. Return the seconds of the run, and the share of them that this rank waited."""
    shares = []
    for quorum in (None, 1):
        with made(comm, sync_quorum=quorum, patience=0, sync_period=10) as averager:
            comm.Barrier()
            started = time.perf_counter()
            while averager.step < steps:
                time.sleep(seconds * (2 if comm.rank == 0 else 1))
                averager.average(mine(comm))
            took = time.perf_counter() - started
            shares.append([took, averager.statistics.seconds_waited / took, averager.statistics.skipped])
    return shares
