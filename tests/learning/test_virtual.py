"""Methods in virtual time: the models of their recurrences, and clocks that can be computed by hand."""

import numpy as np
import pytest

from benchmarks import step_times
from benchmarks.learning.learner import Learner
from benchmarks.learning.virtual.fleet import Fleet, NoModels
from benchmarks.learning.virtual.methods import METHODS
from benchmarks.learning.virtual.training import steps_within, train
from benchmarks.learning.virtual.world import World
from tests.learning.quadratic import LENGTH, PERIOD, RATE, RECURRENCES, STEPS, Quadratic, recurrence, start
from wagma_rma.planning.costs import Costs

FREE = Costs(0.0, 0.0)
OPTIONS = {"local": {"period": PERIOD}, "diloco": {"period": PERIOD}, "wagma": {"sync_period": PERIOD}}


class Watched(World):
    """A world that keeps all models wherever a point of the curve would be; rates have no schedule."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.after = []

    def factor(self, done):
        return 1.0

    def reached(self, done, when=None):
        self.after.append((done, np.stack(self.fleet.models)[:, 0]))
        super().reached(done, when)


def fleet(ranks):
    return Fleet(Learner(Quadratic(ranks), "plain", [RATE]), ranks, batch_size=1)


def clocks(name, times, steps, costs=FREE, **options):
    """Return the report of a run without models."""
    world = World(np.array(times, float), steps, costs, NoModels(len(times)), every=1)
    METHODS[name](world, **options)
    return world.report()


# Models.


@pytest.mark.parametrize("ranks", [2, 5])
@pytest.mark.parametrize("name", RECURRENCES)
def test_ranks_that_come_together_train_as_the_recurrence_says(ranks, name):
    times = np.full((ranks, STEPS), 0.1)
    if name == "eager-majority":
        # The rank that performs a round comes last.
        from benchmarks.learning.methods.eager import initiator

        for step in range(STEPS):
            times[initiator(0, step, ranks), step] = 0.2
    world = Watched(times, STEPS, FREE, fleet(ranks), every=1)
    METHODS[name](world, **OPTIONS.get(name, {}))
    expected = recurrence(name, ranks)
    assert len(world.after) >= STEPS / PERIOD
    for done, models in world.after:
        np.testing.assert_allclose(models, expected[done - 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in METHODS if name.startswith("wagma") or name == "ad-psgd"])
@pytest.mark.parametrize("slow", step_times.KINDS)
def test_models_without_gradients_end_as_their_mean_if_all_contribute(name, slow):
    """Elastic or not, a synchronisation has everybody's model; AD-PSGD keeps the mean at each step."""
    ranks, steps = 6, 40
    models = fleet(ranks)
    models.models = [start(rank) for rank in range(ranks)]
    models.update = lambda *arguments: None
    models.gradient = lambda rank: None
    world = Watched(step_times.table(slow, ranks, steps), steps, FREE, models, every=1)
    mean = models.mean()[0]
    options = {"group_size": 1} if name.startswith("wagma") else {}
    METHODS[name](world, **options)
    _, last = world.after[-1]
    if name.startswith("wagma"):
        np.testing.assert_allclose(last, np.repeat(mean[None], ranks, 0), atol=1e-5)
    np.testing.assert_allclose(last.mean(0), mean, atol=1e-5)


def test_a_late_member_contributes_its_old_model_and_mixes_the_sum_with_its_new_one():
    """Two ranks; the second is late at step 1. With models 1 and 3 after the first step, the start at 0."""
    models = fleet(2)
    models.models = [np.zeros((1, LENGTH), np.float32)] * 2
    steps_of = {0: 1.0, 1: 3.0}

    def update(rank, factor):
        models.models[rank] = models.models[rank] + np.float32(steps_of[rank])

    models.update = update
    models.begin = lambda rank: None
    left = []
    world = Watched(np.array([[0.1, 9.0], [0.4, 9.0]]), 2, FREE, models, every=1)
    average = models.mixed

    def mixed(mean, members, model):
        left.append((mean[0, 0], members, model[0, 0]))
        return average(mean, members, model)

    models.mixed = mixed
    METHODS["wagma"](world, sync_period=2, patience=0.01)
    # The sum has 1 and the start of the late rank, which mixes it with its own 3: (0.5 * 2 + 3) / 3.
    assert left == [(0.5, 2, 3.0)]
    assert world.report()["late"] == 1 and world.report()["fresh"] == 1
    np.testing.assert_allclose(world.after[-1][1], (0.5 + 1 + 4 / 3 + 3) / 2, rtol=1e-6)


# Clocks.


def test_an_allreduce_waits_for_the_slowest_and_costs_what_it_costs():
    costs = Costs(word=0.001, model=0.01)
    report = clocks("allreduce", [[1, 1, 3], [2, 1, 1]], 3, costs)
    assert report["seconds"] == pytest.approx(2 + 1 + 3 + 3 * (2 * 0.001 + 0.01))
    assert report["waited"] == pytest.approx((1 + 2) / (2 * report["seconds"]))


def test_the_fastest_ranks_alone_set_the_pace():
    times = [[1, 1], [2, 2], [9, 9], [9, 3]]
    assert clocks("fastest", times, 2, share=0.5)["seconds"] == pytest.approx(4)
    assert clocks("fastest", times, 2, share=1.0)["seconds"] == clocks("allreduce", times, 2)["seconds"]


def test_ranks_that_are_given_up_but_not_interrupted_come_to_a_later_step():
    times = [[1] * 4, [2] * 4, [3, 3, 1, 1]]
    # The third rank ends its first gradient at 3, too late for step 1. Its second one, of step 2, is not
    # among the first two either.
    report = clocks("fastest", times, 3, share=0.67, interrupt=False)
    assert report["seconds"] == pytest.approx(6)
    assert clocks("fastest", [[9] * 4, [1] * 4, [1] * 4], 3, share=0.67, interrupt=False)["gradients"] == 6


def test_local_ranks_wait_once_in_a_period():
    assert clocks("local", [[1, 1, 3, 1], [2, 2, 1, 1]], 4, period=2)["seconds"] == pytest.approx(4 + 4)


def test_rings_and_exponential_graphs_pass_a_delay_on():
    """One rank of eight is late once."""
    times = np.ones((8, 4))
    times[0, 0] = 9
    assert clocks("sgp", times, 1)["seconds"] == 9
    assert clocks("d-psgd", times, 1)["seconds"] == 9
    # In a step after that it is at ranks 7 and 1, since a step waits for models from before it.
    waits = clocks("d-psgd", times, 2)["waited"] * clocks("d-psgd", times, 2)["seconds"] * 8
    assert waits == pytest.approx(2 * 8 - 2)


def test_adpsgd_never_waits():
    report = clocks("ad-psgd", [[1] * 20, [2] * 20, [2] * 20], 10)
    assert report["waited"] == 0
    assert report["gradients"] == 30
    assert report["seconds"] == pytest.approx(15, abs=2)


def test_eager_solo_goes_by_the_fastest_and_the_majority_by_the_rank_that_is_drawn():
    times = [[1.0] * 40, [1.5] * 40]
    assert clocks("eager-solo", times, 20)["seconds"] == pytest.approx(20, abs=1)
    assert 21 < clocks("eager-majority", times, 20)["seconds"] <= 30


class TestWagma:
    def test_nobody_waits_for_a_late_member_longer_than_its_patience(self):
        times = np.ones((4, 10))
        times[3, 0] = 5.0
        report = clocks("wagma", times, 10, patience=0.1)
        # The others wait for it at the synchronisation only.
        assert report["seconds"] == pytest.approx(14)
        assert report["late"] >= 1

    def test_a_quorum_of_all_waits(self):
        times = np.ones((4, 10))
        times[3, 0] = 5.0
        report = clocks("wagma", times, 10, quorum=2)
        assert report["late"] == report["missed"] == 0
        assert report["seconds"] == pytest.approx(14)

    def test_patience_that_lasts_makes_all_fresh(self):
        times = step_times.table("balanced", 8, 100)
        assert clocks("wagma", times, 100, patience=1.0)["late share"] == 0
        assert clocks("wagma", times, 100, patience=0.0)["late share"] > 0.4
        assert clocks("wagma", times, 100)["late share"] < 0.1

    def test_elastic_ranks_wait_for_the_step_of_the_slowest_alone(self):
        times = np.ones((4, 100))
        times[3] = 2.0
        assert clocks("wagma", times, 50)["seconds"] == pytest.approx(100, rel=0.01)
        report = clocks("wagma", times, 50, sync_quorum=1)
        assert report["seconds"] < 60
        assert report["skipped"] == pytest.approx(25, abs=3)

    def test_a_rank_that_is_behind_waits_for_a_call_that_is_due(self):
        """Its fifth call falls just before the others' tenth, who wait for it up to 0.1 s now and then."""
        times = np.ones((4, 100))
        times[3] = 1.99
        assert clocks("wagma", times, 50, sync_quorum=1)["seconds"] < 50 + 5 * 0.6
        # With another step of 1.99 s in each period.
        assert clocks("wagma", times, 50, sync_quorum=1, patience=0.01)["seconds"] > 5 * 11.9

    def test_a_longer_quorum_calls_later(self):
        times = step_times.table("log-normal", 8, 400)
        seconds = [clocks("wagma", times, 100, sync_quorum=q)["seconds"] for q in (1, 4, 8)]
        assert seconds[0] < seconds[1] < seconds[2]
        assert seconds[2] == pytest.approx(clocks("wagma", times, 100)["seconds"], rel=0.02)

    def test_steps_between_groups_cost_nothing(self):
        costs = Costs(word=0.0, model=1.0)
        times = np.ones((4, 20))
        every = clocks("wagma", times, 20, costs)["seconds"]
        fifth = clocks("wagma", times, 20, costs, group_period=5)["seconds"]
        # Two of 20 steps exchange one model each, where 18 do.
        assert every - fifth == pytest.approx(16 * costs.exchange(2, 2))

    def test_a_model_that_finds_no_slot_is_not_published(self):
        """The exchange lasts ten steps of the late ranks, so their snapshots stay pinned."""
        costs = Costs(word=0.0, model=8.0)
        times = np.full((4, 40), 1.0)
        times[0] = times[1] = 4.0
        report = clocks("wagma", times, 20, costs, sync_period=20, patience=0.0)
        assert report["late"] > 10

    def test_steps_must_end_with_a_synchronisation(self):
        with pytest.raises(ValueError, match="steps=15 is no multiple of sync_period=10"):
            clocks("wagma", np.ones((2, 5)), 15)


@pytest.mark.parametrize("name", METHODS)
def test_clocks_do_not_depend_on_models(name):
    times = step_times.table("log-normal", 6, 40)
    told = []
    for models in (fleet(6), NoModels(6)):
        world = World(times, 20, Costs(), models, every=10)
        METHODS[name](world)
        told.append(world.report())
    assert told[0] == told[1]


@pytest.mark.parametrize("name", METHODS)
def test_as_many_steps_are_chosen_as_fit_the_time(name):
    times = step_times.table("two late", 6, 200)
    steps = steps_within(20.0, name, times, Costs())
    assert steps % 20 == 0
    told = [train(None, name, times, n, Costs())["points"][-1]["seconds"] for n in (steps, steps + 20)]
    assert told[0] <= 20 < told[1] or steps == 20
