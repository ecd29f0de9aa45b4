"""The calls of an averager of one rank: steps count, and what can't be served is refused without a change."""

import threading

import numpy as np
import pytest
from mpi4py import MPI

from wagma_rma import GroupAverager, Outcome


def model(value=1):
    return {"w": np.full((2, 3), value, np.float32), "b": [np.full(4, value, np.float64)]}


def values(tree):
    return np.unique(np.concatenate([tree["w"].ravel(), tree["b"][0]])).tolist()


@pytest.fixture
def averager():
    with GroupAverager(MPI.COMM_SELF, model(0), sync_period=3) as averager:
        yield averager


def test_every_step_returns_the_model_of_a_rank_that_is_alone(averager):
    for step in range(1, 7):
        assert values(averager.average(model(step))) == [step]
        assert averager.step == step
    assert averager.statistics.steps == 6


def test_a_multiple_of_sync_period_is_a_synchronisation_and_so_is_an_explicit_one(averager):
    outcomes = []
    for call in (averager.average, averager.average, averager.average, averager.synchronize):
        call(model())
        outcomes.append(averager.report.outcome)
    assert outcomes == [Outcome.FRESH, Outcome.FRESH, Outcome.SYNCHRONIZED, Outcome.SYNCHRONIZED]
    assert (averager.statistics.fresh, averager.statistics.synchronized) == (2, 2)


def test_before_the_first_step_the_start_is_reported_as_a_synchronisation(averager):
    assert (averager.report.step, averager.report.outcome) == (0, Outcome.SYNCHRONIZED)
    assert averager.statistics.steps == 0


@pytest.mark.parametrize("call", ["average", "synchronize"])
def test_a_refused_step_does_not_count(averager, call):
    with pytest.raises(ValueError, match=rf"^{call}: model\['b'\]\[0\] is missing"):
        getattr(averager, call)({"w": model()["w"]})
    assert averager.step == 0
    assert values(getattr(averager, call)(model(4))) == [4]
    assert averager.step == 1


@pytest.mark.parametrize("step", [1, 3])
def test_an_output_may_be_the_model_or_another(averager, step):
    for _ in range(1, step):
        averager.average(model())
    mine, out = model(4), model(9)
    assert averager.average(mine, out) is out
    assert values(out) == [4]
    assert averager.average(mine, out=mine) is mine


def test_one_plain_array_in_place_takes_no_detour():
    with GroupAverager(MPI.COMM_SELF, np.zeros(5)) as averager:
        array = np.ones(5)
        assert averager.average(array, out=array) is array
        strided = np.ones(10)[::2]
        assert averager.average(strided, out=strided) is strided
        assert (averager.step, array.tolist(), strided.tolist()) == (2, [1] * 5, [1] * 5)


def test_addresses_serve_as_arrays_do(averager):
    for step in (1, 2, 3):  # the third is a synchronisation
        sources = [np.full((2, 3), step, np.float32), np.full(4, float(step))]
        sources.sort(key=lambda leaf: leaf.ndim)  # the order of leaves: 'b' before 'w'
        targets = [np.zeros_like(leaf) for leaf in sources]
        averager.average_at(
            [leaf.ctypes.data for leaf in sources], [target.ctypes.data for target in targets]
        )
        assert all((target == step).all() for target in targets)
    assert averager.step == 3


def test_lent_arrays_hold_the_common_start_and_then_the_averages(averager):
    lent = averager.buffers()
    assert values(lent) == [0]
    for step in range(1, 8):
        lent["w"][...] = lent["b"][0][...] = step
        lent = averager.average(lent)
        assert values(lent) == [step]
        again = averager.buffers()
        assert again["w"] is lent["w"]
    del lent, again


# Steps between two group averages.


def local_averager(**options):
    return GroupAverager(MPI.COMM_SELF, model(0), sync_period=4, group_period=3, **options)


def test_a_step_is_local_if_it_is_a_multiple_of_no_period():
    with local_averager() as averager:
        outcomes = []
        for step in range(1, 13):
            assert values(averager.average(model(step))) == [step]
            outcomes.append(averager.report.outcome)
        statistics = averager.statistics
    local, fresh, synchronized = Outcome.LOCAL, Outcome.FRESH, Outcome.SYNCHRONIZED
    assert outcomes == [
        *(local, local, fresh, synchronized),
        *(local, fresh, local, synchronized),
        *(fresh, local, local, synchronized),
    ]
    assert (statistics.steps, statistics.local, statistics.fresh, statistics.unpublished) == (12, 6, 3, 0)


def test_a_local_step_gives_the_model_to_whatever_output():
    with local_averager() as averager:
        mine, out = model(4), model(9)
        assert averager.average(mine, out) is out
        assert values(out) == [4]
        assert averager.average(mine, out=mine) is mine
    with local_averager() as averager:
        new = averager.average(mine)
        assert not np.shares_memory(new["w"], mine["w"])
    with GroupAverager(MPI.COMM_SELF, np.zeros(5), group_period=2) as averager:
        array = np.arange(10.0)[::2]
        assert averager.average(array, out=array) is array
        assert (averager.report.outcome, array.tolist()) == (Outcome.LOCAL, [0, 2, 4, 6, 8])


def test_a_local_step_gives_the_model_to_outputs_that_overlap_its_other_leaves():
    memory = np.arange(12.0)
    mine, out = [memory[:6], memory[6:]], [memory[3:9], np.zeros(6)]
    with GroupAverager(MPI.COMM_SELF, mine, group_period=2, broadcast=False) as averager:
        averager.average(mine, out=out)
        assert averager.report.outcome is Outcome.LOCAL
    assert [leaf.tolist() for leaf in out] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_a_local_step_fetches_no_leaf_that_stays_where_it_is():
    def fetch():
        raise AssertionError

    leaf = np.full(5, 3.0)
    with GroupAverager(MPI.COMM_SELF, np.zeros(5), group_period=3) as averager:
        target = np.zeros(5)
        averager.average_at([lambda: leaf], [target.ctypes.data])
        assert (averager.report.outcome, target.tolist()) == (Outcome.LOCAL, [3] * 5)
        averager.average_at([leaf.ctypes.data], [leaf.ctypes.data])
    assert leaf.tolist() == [3] * 5


def test_a_local_step_returns_lent_arrays_and_they_can_be_written_to():
    with local_averager() as averager:
        lent = averager.buffers()
        for step in range(1, 13):
            before = lent["w"]
            lent["w"][...] = lent["b"][0][...] = step
            lent = averager.average(lent)
            assert values(lent) == [step]
            assert (lent["w"] is before) == (averager.report.outcome is not Outcome.FRESH)
            assert averager.buffers()["w"] is lent["w"]
        del lent, before


# Leaves that are averaged at synchronisations only.


def test_leaves_may_change_places_with_each_other_between_synchronisations():
    def leaves():
        return [np.full(4, 1.0), np.full(4, 2.0), np.full(4, 3.0, np.float32), np.full(4, 4.0)]

    mine = leaves()
    select = [False, True, True, True]
    with GroupAverager(MPI.COMM_SELF, mine, select_synchronized=select, sync_period=3) as averager:
        for step in (1, 2, 3):
            mine = leaves()
            out = [mine[3], mine[0], mine[2], mine[1]]
            averager.average(mine, out=out)
            assert (averager.report.outcome is Outcome.SYNCHRONIZED) == (step == 3)
            assert [leaf.tolist() for leaf in out] == [[1.0] * 4, [2.0] * 4, [3.0] * 4, [4.0] * 4]


# The wrong time.


def held_up(averager, meanwhile):
    """Begin a group step in another thread, call `meanwhile` during it, and complete the step."""
    begun, go_on = threading.Event(), threading.Event()

    def source(leaf):
        def get():
            begun.set()
            go_on.wait(60)
            return leaf

        return get

    leaves = [model(4)["b"][0], model(4)["w"]]
    out = [np.zeros_like(leaf) for leaf in leaves]
    step = threading.Thread(
        target=averager.average_at,
        args=([source(leaf) for leaf in leaves], [leaf.ctypes.data for leaf in out]),
    )
    step.start()
    assert begun.wait(60)
    try:
        meanwhile()
    finally:
        go_on.set()
        step.join(60)
    assert all((leaf == 4).all() for leaf in out)


@pytest.mark.parametrize("call", ["average", "synchronize", "buffers", "close"])
def test_a_second_thread_is_refused_and_the_first_goes_on(averager, call):
    arguments = [model()] if call in ("average", "synchronize") else []

    def meanwhile():
        with pytest.raises(RuntimeError) as raised:
            getattr(averager, call)(*arguments)
        assert str(raised.value) == (
            f"{call}: rank 0 uses this averager in two threads at once; use it from one at a time"
        )

    held_up(averager, meanwhile)
    assert averager.step == 1
    assert values(averager.average(model(5))) == [5]


def test_what_was_can_be_asked_from_a_second_thread(averager):
    def meanwhile():
        assert (averager.step, averager.report.step, averager.statistics.steps) == (0, 0, 0)

    held_up(averager, meanwhile)


def test_a_step_that_breaks_off_in_the_middle_leaves_only_close(averager):
    def broken():
        raise ZeroDivisionError("the device is lost")

    with pytest.raises(ZeroDivisionError):
        averager.average_at([broken, broken], [0, 0])
    for call in (averager.average, averager.synchronize):
        with pytest.raises(RuntimeError, match=r"can't go on after an error \(the device is lost\)"):
            call(model())
    assert averager.step == 0


def test_a_closed_averager_refuses_steps_and_still_tells_what_was():
    averager = GroupAverager(MPI.COMM_SELF, model(0))
    averager.average(model(1))
    averager.close()
    averager.close()
    for call, arguments in (("average", [model()]), ("synchronize", [model()]), ("buffers", [])):
        with pytest.raises(RuntimeError, match=f"^{call}: this averager is closed; make a new one$"):
            getattr(averager, call)(*arguments)
    assert averager.step == averager.report.step == averager.statistics.steps == 1


# What may be set, and what a checkpoint keeps.


def test_the_timeout_may_be_set_between_steps(averager):
    assert averager.timeout is None
    averager.timeout = 3
    assert averager.timeout == 3.0
    with pytest.raises(ValueError, match="timeout=-1 is out of range"):
        averager.timeout = -1
    assert averager.timeout == 3.0


def test_a_run_goes_on_from_its_state():
    with GroupAverager(MPI.COMM_SELF, model(0), sync_period=3) as averager:
        averager.average(model(1))
        state = averager.state_dict()
    assert state == {"step": 1}
    with GroupAverager(MPI.COMM_SELF, model(1), sync_period=3, start_step=state["step"]) as averager:
        averager.average(model(2))
        averager.average(model(3))
        assert (averager.step, averager.report.outcome) == (3, Outcome.SYNCHRONIZED)
