"""What is reported of a step and of a run has the fields that its parts count under the same names."""

import dataclasses
import re

import numpy as np
import pytest

from tests.support.launch import ROOT
from tests.support.worlds import make_ranks
from wagma_rma.report import (
    Outcome,
    Report,
    Statistics,
    Synchronization,
    Synchronizations,
    of_group_step,
    of_synchronization,
)


def model(value):
    return [np.full(5, value, np.float32)]


@pytest.fixture
def ranks():
    """Return two ranks, of which one has been in time and one late."""
    made = make_ranks(model(0))
    for rank in made:
        rank.average(1, model(4))
    return made


def names(kind):
    return {field.name for field in dataclasses.fields(kind)}


def test_a_group_steps_fields_are_those_of_the_report(ranks):
    assert set(ranks[0].protocol.report()) == names(Report) - {"skipped"}


def test_a_runs_sums_are_those_of_the_statistics_but_the_synchronisations(ranks):
    assert set(ranks[0].protocol.statistics()) == names(Statistics) - {"synchronized", "skipped"}


def test_the_report_of_a_group_step_tells_the_outcome_by_name(ranks):
    first, late = (of_group_step(rank.protocol.report()) for rank in ranks)
    assert (first.outcome, late.outcome) == (Outcome.FRESH, Outcome.LATE)
    assert (first.step, first.source_step, first.group, first.ages) == (1, 1, (0, 1), (0, 1))
    assert (first.initiated, late.initiated) == (True, False)
    assert first.published
    assert (first.chunks_computed, first.bytes_read, first.bytes_over_network) == (1, 20, 0)
    assert 0 < first.seconds < 60
    assert first.seconds_waited == 0


def test_a_local_step_is_reported_as_one_of_this_rank_alone():
    rank, _ = make_ranks(model(0), group_period=2)
    (average,) = rank.average(1, model(4))
    report = of_group_step(rank.protocol.report())
    assert (average == 4).all()
    assert (report.step, report.outcome, report.source_step) == (1, Outcome.LOCAL, 1)
    assert (report.group, report.ages) == ((0,), (0,))
    assert (report.initiated, report.published, report.bytes_read, report.seconds_waited) == (
        False,
        False,
        0,
        0,
    )
    sums = rank.protocol.statistics()
    assert [sums[name] for name in ("steps", "local", "fresh", "unpublished", "initiated")] == [1, 1, 0, 0, 0]
    rank.average(2, model(4))
    assert rank.protocol.statistics()["local"] == 1


def test_an_outcomes_number_is_that_of_the_protocol():
    source = (ROOT / "wagma_rma/protocol/protocol.pxd").read_text()
    enum = re.search(r"cdef enum Outcome:\n((?:    \w+ = \d+\n)+)", source)[1]
    assert {name: int(number) for name, number in re.findall(r"(\w+) = (\d+)", enum)} == {
        outcome.name: outcome.value for outcome in Outcome if outcome is not Outcome.SYNCHRONIZED
    }


def test_a_report_cannot_be_changed(ranks):
    report = of_group_step(ranks[0].protocol.report())
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.step = 2


def test_a_synchronisation_is_a_group_of_all_in_time():
    report = of_synchronization(10, 3, Synchronization(0.5, 0.25, 4, 200, 100))
    assert (report.step, report.source_step, report.outcome) == (10, 10, Outcome.SYNCHRONIZED)
    assert (report.group, report.ages) == ((0, 1, 2), (0, 0, 0))
    assert report.published
    assert not report.initiated
    assert (report.chunks_computed, report.bytes_read, report.bytes_over_network) == (0, 200, 100)
    assert (report.seconds_waited, report.seconds) == (0.25, 0.5)
    assert report.skipped == 4


# Sums.


def test_steps_are_summed_by_outcome():
    ranks = make_ranks(model(0))
    for step in (1, 2):
        ranks[0].average(step, model(step))
    ranks[1].average(1, model(1))
    first, late = (rank.protocol.statistics() for rank in ranks)
    counts = ("steps", "fresh", "late", "missed", "initiated", "unpublished", "chunks_computed", "bytes_read")
    assert [first[name] for name in counts] == [2, 2, 0, 0, 2, 0, 2, 40]
    assert [late[name] for name in counts] == [1, 0, 1, 0, 0, 0, 0, 20]
    assert first["seconds"] >= ranks[0].protocol.report()["seconds"] > 0


TWO = Synchronization(2.0, 0.5, 3, 200, 100), Synchronization(4.0, 1.0, 4, 100, 0)


def test_synchronisations_are_counted_and_the_last_one_is_told_by_itself():
    synchronizations = Synchronizations()
    assert synchronizations.last == Synchronization()
    for last in TWO:
        synchronizations.add(last)
    assert synchronizations.count == 2
    assert synchronizations.last == TWO[1]


def test_the_run_is_the_group_steps_and_the_synchronisations_together(ranks):
    group_steps = ranks[0].protocol.statistics()
    synchronizations = Synchronizations()
    for last in TWO:
        synchronizations.add(last)
    run = synchronizations.with_group_steps(group_steps)
    assert (run.steps, run.fresh, run.synchronized) == (3, 1, 2)
    assert run.seconds == group_steps["seconds"] + 6.0
    assert run.seconds_waited == group_steps["seconds_waited"] + 1.5
    assert run.skipped == 7
    assert run.bytes_read == group_steps["bytes_read"] + 300
    assert run.bytes_over_network == 100
    same = names(Statistics) - {"steps", "synchronized"} - set(Synchronization._fields)
    assert {name: getattr(run, name) for name in same} == {name: group_steps[name] for name in same}
