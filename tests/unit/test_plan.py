"""Plans: what is taken from a trace, what is predicted, and how it is shown."""

import json

import numpy as np
import pytest

from wagma_rma.planning import plan as plans
from wagma_rma.planning.costs import Costs
from wagma_rma.planning.plan import (
    Choice,
    best,
    choices,
    compare,
    costs_of,
    drawn,
    plan_of,
    predict,
    times_of,
)
from wagma_rma.seeing.trace import Call, Trace

OPTIONS = {
    "group_size": 2,
    "sync_period": 10,
    "group_period": 1,
    "quorum": 1,
    "sync_quorum": 4,
    "patience": None,
    "overlap": False,
}


def call(step, outcome, began, ended, waited=0.0, published=0.0, exchanged=0.0):
    return Call(step, outcome, began, ended, waited, published, exchanged, {})


def trace(costs=Costs(1e-3, 2e-3), steps=30, ranks=4, seconds=0.1):  # noqa: B008
    """Return a trace in which communication takes what some costs say."""
    exchange, meeting = costs.exchange(2, 2), costs.synchronise(ranks)
    calls, computed = {}, {}
    for rank in range(ranks):
        calls[rank] = [
            call(step, "SYNCHRONIZED", 0.0, meeting + 1.0, 1.0)
            if step % 10 == 0
            else call(step, "FRESH", 0.0, 1.0, 0.5, 0.01, exchange)
            for step in range(1, steps + 1)
        ]
        computed[rank] = [seconds * (1 + (rank == 1))] * (steps - 1)
    return Trace(ranks, {"options": OPTIONS}, calls, computed)


def test_costs_are_those_that_give_what_was_recorded():
    found = costs_of(trace())
    assert (found.word, found.model) == (pytest.approx(1e-3), pytest.approx(2e-3))


def test_costs_that_no_word_and_model_give_keep_the_exchange():
    slow_meeting = trace()
    for of_rank in slow_meeting.calls.values():
        of_rank[:] = [
            each._replace(ended=100.0) if each.outcome == "SYNCHRONIZED" else each for each in of_rank
        ]
    found = costs_of(slow_meeting)
    assert found.exchange(2, 2) == pytest.approx(Costs(1e-3, 2e-3).exchange(2, 2))
    assert found.word >= 0 and found.model >= 0


def test_what_a_rank_copies_is_its_own_time():
    times = times_of(trace())
    assert times.shape == (4, 29)
    np.testing.assert_allclose(times[0], 0.11)
    np.testing.assert_allclose(times[1], 0.21)


def test_a_short_trace_is_refused():
    with pytest.raises(
        ValueError, match="the trace has 9 step times of rank 0; a plan needs 20 of each rank"
    ):
        times_of(trace(steps=10))


def test_a_rank_that_is_always_slow_stays_so_where_more_ranks_are_drawn():
    many = drawn(times_of(trace()), 1000)
    assert many.shape == (1000, 29)
    assert (many.std(axis=1) < 1e-12).all()
    assert 0.15 < (many[:, 0] > 0.2).mean() < 0.35


def test_predictions_are_what_the_clocks_say():
    times, free = np.full((4, 50), 0.1), Costs(0.0, 0.0)
    even = predict(Choice(2, 10, 1, None, False), times, free, 50)
    assert even.steps == pytest.approx(10.0) and even.computed == pytest.approx(10.0)
    assert even.waited == 0 and even.late == 0 and even.age == 0
    times[1] = 0.2
    slow = predict(Choice(2, 10, 1, None, False), times, free, 50)
    assert slow.steps == pytest.approx(5.0)
    assert slow.waited == pytest.approx(0.375, abs=0.05)
    elastic = predict(Choice(2, 10, 1, 1, False), times, free, 50)
    assert elastic.steps > 9 and elastic.computed < elastic.steps
    together = compare(times, free, 50, 10)
    assert [each.steps for each in together.values()] == [pytest.approx(5.0)] * 2


def test_choices_are_all_that_differ():
    found = list(choices(4, [2, 4], [5, 10], (None, 1)))
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 2 * 2
    assert len(list(choices(1, [1], [5], (None, 1)))) == 2


def test_the_best_trade_is_the_newest_of_the_fast():
    of = plans.Prediction
    predicted = {
        Choice(2, 40, 1, 1, True): of(10.0, 10.0, 0.0, 0.9, 3.0),
        Choice(2, 10, 1, 1, False): of(9.9, 9.8, 0.0, 0.5, 1.0),
        Choice(4, 10, 4, None, False): of(5.0, 5.0, 0.5, 0.0, 0.0),
    }
    assert best(predicted) == Choice(2, 10, 1, 1, False)


def test_a_plan_is_a_table_with_what_was_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plans, "read_trace", lambda path: trace())
    lines = plan_of(tmp_path, sizes=[2], periods=[10]).splitlines()
    assert lines[0] == "4 ranks; a word takes 1000 us, a model 2.00 ms"
    heading = next(line for line in lines if line.lstrip().startswith("group_size"))
    assert heading.split()[-1] == "age"
    assert sum("<- as recorded" in line for line in lines) == 1
    assert sum("<- best trade" in line for line in lines) == 1
    assert any(line.startswith("allreduce ") for line in lines)
    assert any("LEARNING.md" in line for line in lines)
    assert plan_of(tmp_path, ranks=16, sizes=[2], periods=[10], steps=20).startswith("16 ranks; ")
    for wrong in ({"ranks": 1}, {"sizes": [5]}):
        with pytest.raises(ValueError):
            plan_of(tmp_path, **wrong)


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    import argparse

    parser = argparse.ArgumentParser()
    plans.add_arguments(parser)
    (tmp_path / "x.json").write_text(json.dumps({}))
    assert plans.run(parser.parse_args([str(tmp_path / "x.json")])) == 2
    assert "plan: " in capsys.readouterr().err
