"""The tasks' samples do not overlap, shards hold all of them, and networks learn."""

import jax
import numpy as np
import pytest

from benchmarks.learning.learner import Learner, factor
from benchmarks.learning.tasks import TASKS, Data, Task, digits, shards
from benchmarks.learning.virtual.fleet import flat


def test_training_validation_and_test_samples_are_different_ones():
    task = digits()
    parts = [
        {inputs.tobytes() for inputs in part.inputs} for part in (task.train, task.validation, task.test)
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797
    assert [len(part) for part in parts] == [1079, 269, 449]


def test_shards_are_disjoint_and_hold_all_samples():
    task = digits()
    for dirichlet in (None, 0.3):
        rows = np.concatenate(shards(task, 8, seed=1, dirichlet=dirichlet))
        assert sorted(rows) == list(range(len(task.train)))


def test_shards_of_a_dirichlet_distribution_differ_in_their_classes():
    task = digits()

    def spread(dirichlet):
        counts = [np.bincount(task.classes[rows], minlength=10) for rows in shards(task, 8, 0, dirichlet)]
        return np.std([count / count.sum() for count in counts], axis=0).mean()

    assert spread(0.3) > 4 * spread(None)
    assert spread(0.3) > spread(10.0)


def test_no_rank_is_without_a_sample():
    few = Data(np.zeros((3, 2), np.float32), np.zeros(3, np.int32))
    task = Task(few, few, few, few.labels, None, None)
    assert all(len(rows) for rows in shards(task, 8, dirichlet=0.1))


def test_a_text_is_cut_into_pieces():
    text = Data(np.zeros((100, 2), np.int32), np.zeros((100, 2), np.int32))
    task = Task(text, text, text, None, None, None)
    assert [list(rows) for rows in shards(task, 4)] == [list(range(n, n + 25)) for n in (0, 25, 50, 75)]
    with pytest.raises(ValueError, match="a text has no classes"):
        shards(task, 4, dirichlet=0.3)


def test_the_transformer_sees_no_later_character():
    task = TASKS["characters"](context=8, width=12)
    params, inputs = task.init(0), task.test.inputs[:1].copy()
    before = np.asarray(task.logits(params, inputs))
    inputs[0, 5] = (inputs[0, 5] + 1) % before.shape[-1]
    changed = np.abs(np.asarray(task.logits(params, inputs)) - before).max(axis=-1)[0] > 1e-6
    assert not changed[:5].any() and changed[5:].all()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate", "steps"), [("digits", 0.1, 80), ("characters", 0.003, 40)])
def test_networks_learn_the_same_as_flat_vectors(name, rate, steps):
    """In two lanes, of which the second has no rate."""
    task = TASKS[name]()
    optimizer = "momentum" if name == "digits" else "adam"
    reached = []
    for each in (task, flat(task)):
        learner = Learner(each, optimizer, [rate, 0.0])
        params = learner.start(0)
        state = learner.optimizer.init(params)
        random = np.random.default_rng(0)
        for _ in range(steps):
            batch = task.train.batch(random.integers(len(task.train), size=32))
            params, state = learner.update(params, state, learner.gradient(params, batch), 1.0)
        reached.append(learner.evaluate(params, task.test))
        start = learner.evaluate(learner.start(0), task.test)
        assert reached[-1][0, 0] < 0.7 * start[0, 0]
        np.testing.assert_allclose(reached[-1][1], start[1], rtol=1e-5)
    np.testing.assert_allclose(reached[0], reached[1], rtol=0.02)


def test_rates_warm_up_stay_and_fall_to_nothing():
    factors = [factor(step, 100) for step in range(101)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(factors[5:70]) == {1.0}
    assert factors[85] == pytest.approx(0.5)
    assert factors[100] == 0


def test_lanes_are_trained_by_their_own_rates():
    learner = Learner(flat(digits()), "plain", [0.1, 0.3])
    params = learner.start(0)
    moved, _ = learner.update(params, learner.optimizer.init(params), jax.numpy.ones_like(params), 0.5)
    np.testing.assert_allclose(np.asarray(params - moved)[:, 0], [0.05, 0.15], rtol=1e-4)
