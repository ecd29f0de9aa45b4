"""The steps of an averager on memory of the host, with an averager that only notes its calls."""

import ctypes
import gc
import threading
import time
import weakref

import jax.numpy as jnp
import numpy as np
import pytest

from jax_bindings.leaves import flatten
from jax_bindings.steps import HostSteps, Step
from wagma_rma.bindings import Leaves, Structure

PARAMS = {"w": jnp.arange(3.0)}
PATHS = ["['w']"]


class Averager:
    """Adds 1 to what it is given."""

    is_here = True
    exchanges_next = True
    synchronizes_next = False

    def __init__(self):
        self.calls, self.inside, self.at_once, self.wrong = [], 0, 0, None

    def average(self, model, out):
        return self._step("average", model, out)

    def synchronize(self, model, out):
        return self._step("synchronize", model, out)

    def join(self, model, out):
        return self._step("join", model, out)

    def complete(self, model, out):
        return self._step("complete", model, out)

    def average_at(self, sources, targets):
        self._step("average_at", at(sources), at(targets))

    def synchronize_at(self, sources, targets):
        self._step("synchronize_at", at(sources), at(targets))

    def join_at(self, sources, targets):
        self._step("join_at", at(sources), at(targets))

    def complete_at(self, sources, targets):
        self._step("complete_at", at(sources), at(targets))

    def _step(self, name, model, out):
        self.inside += 1
        time.sleep(1e-5)  # lets another thread in, if it may
        self.at_once = max(self.at_once, self.inside)
        self.calls.append((name, list(model)))
        if self.wrong:
            raise self.wrong
        for path, leaf in model.items():
            out[path][...] = leaf + 1
        self.inside -= 1
        return out


def at(addresses):
    """Return the model whose leaf, of three numbers, is at an address."""
    numbers = [(ctypes.c_float * 3).from_address(address) for address in addresses]
    return Leaves(zip(PATHS, map(np.ctypeslib.as_array, numbers), strict=True))


def made(keep_out=True, synchronized=()):
    start = Leaves({path: np.zeros(3, np.float32) for path in (PATHS[0], *synchronized)})
    averager = Averager()
    structure = Structure("PytreeAverager", start)
    how = {"keep_out": keep_out, "synchronized": frozenset(synchronized)}
    return averager, HostSteps(averager, structure, start, **how)


@pytest.mark.parametrize("step", Step)
def test_each_way_performs_the_step_that_was_asked_for(step):
    averager, steps = made()
    eager = steps.eager(step, flatten(step.value, PARAMS, frozenset()))
    (called_back,) = steps.on_arrays[step]([np.arange(3, dtype=np.float32)])
    memory = np.arange(3, dtype=np.float32)
    step.at_addresses(averager, [memory.ctypes.data], [memory.ctypes.data])
    assert eager[PATHS[0]].tolist() == called_back.tolist() == memory.tolist() == [1.0, 2.0, 3.0]
    by_address = f"{step.value}_at", PATHS
    assert averager.calls == [(step.value, PATHS), by_address, by_address]


def test_a_local_step_moves_no_leaf():
    averager, steps = made()
    averager.exchanges_next = False
    averager.average_at = lambda *addresses: averager.calls.append(addresses)
    assert steps.eager(Step.AVERAGE, flatten("average", PARAMS, frozenset())) == {}
    assert averager.calls == [([0], [0])]
    averager.exchanges_next, averager.synchronizes_next = False, True
    assert list(steps.eager(Step.AVERAGE, flatten("average", PARAMS, frozenset()))) == PATHS


def test_a_group_step_moves_no_leaf_that_is_averaged_at_synchronisations_only():
    params = {**PARAMS, "x": jnp.ones(3)}
    averager, steps = made(synchronized=["['x']"])
    averager.average_at = lambda sources, targets: averager.calls.append((sources, targets))
    flat = flatten("average", params, frozenset())
    average = steps.eager(Step.AVERAGE, flat)
    [((source, none), (target, nowhere))] = averager.calls
    assert list(average) == PATHS
    assert source().tolist() == [0, 1, 2]
    assert target == average[PATHS[0]].ctypes.data
    assert (none, nowhere) == (0, 0)
    assert flat.placed(average)["x"] is params["x"]
    averager.synchronizes_next = True
    assert list(steps.eager(Step.AVERAGE, flat)) == list(flat.model)


def test_callbacks_share_memory_where_jax_copies_it_and_eager_steps_never_do():
    mine = [np.zeros(3, np.float32)]
    for keep_out in (True, False):
        _, steps = made(keep_out)
        (first,), (second,) = (steps.called_back(Step.AVERAGE, mine) for _ in range(2))
        assert np.shares_memory(first, second) == keep_out
        flat = flatten("average", PARAMS, frozenset())
        one, two = (steps.eager(Step.AVERAGE, flat)[PATHS[0]] for _ in range(2))
        assert not np.shares_memory(one, two)
        assert not np.shares_memory(one, first)


def test_what_a_compiled_step_raises_is_kept_and_what_an_eager_one_raises_is_not():
    averager, steps = made()
    averager.wrong = KeyboardInterrupt("in a wait")
    with pytest.raises(KeyboardInterrupt):
        steps.eager(Step.AVERAGE, flatten("average", PARAMS, frozenset()))
    assert steps.failure is None
    with pytest.raises(KeyboardInterrupt):
        steps.called_back(Step.AVERAGE, [np.zeros(3, np.float32)])
    assert steps.failure is averager.wrong


def test_threads_take_turns():
    averager, steps = made()

    def many():
        for _ in range(200):
            steps.called_back(Step.AVERAGE, [np.zeros(3, np.float32)])

    threads = [threading.Thread(target=many) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(averager.calls), averager.at_once) == (600, 1)


def test_the_numbers_differ_and_keep_no_averager_alive():
    _, steps = made()
    _, others = made()
    assert len({*steps.numbers.values(), *others.numbers.values()}) == 4
    alive = weakref.ref(steps)
    del steps
    gc.collect()
    assert alive() is None
