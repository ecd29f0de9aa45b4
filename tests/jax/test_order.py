"""Steps of a compiled program: each happens once, in the order of the program, at every rank."""

import sys

import pytest

from tests.support import launch, pool

ONCE = {
    "closed over": [3, 6],
    "unused at a rank": [1, 2],
    "unused": [1, 2],
    "alike": [2, 4],
    "called twice": [2, 4],
    "beside a gradient": [3, 6],
    "in a condition": [4, 8],
    "beside a vmap": [1, 2],
    "compiled ahead": 4,
    "a loop outside of jit": 3,
    "only its shape": [0, 4],
}


@pytest.mark.parametrize("backend", ["ffi", "callback"])
def test_a_step_happens_once_each_time_that_the_program_runs_or_is_refused(backend):
    for said in pool.run(2, "jax.order:once", limit=90, backend=backend):
        assert "Effects not supported" in said.pop("checkpointed")
        assert "IO effect not supported in vmap-of-cond" in said.pop("in a mapped branch")
        assert said == ONCE


@pytest.mark.slow
@pytest.mark.parametrize("backends", [("ffi", "ffi"), ("ffi", "callback"), ("callback", "ffi")], ids="-".join)
def test_the_steps_of_several_averagers_keep_the_order_of_the_program(backends):
    assert pool.run(2, "jax.order:kept", limit=120, backends=backends) == [[], []]


def test_two_optimizers_that_average_now_and_then_in_one_program_do_not_wait_for_each_other():
    assert pool.run(2, "jax.order:adversaries", limit=90) == [[6, 6], [6, 6]]


def test_no_averager_changes_the_program_of_another():
    assert pool.run(2, "jax.order:unrelated", limit=60) == [[True, [1, 2]]] * 2


def test_an_import_leaves_jax_to_be_configured():
    # As jax.distributed.initialize(), which must come first, and this option need it.
    program = (
        "import jax, jax_bindings; jax.config.update('jax_num_cpu_devices', 3); print(jax.device_count())"
    )
    job = launch.Ranks(1, [sys.executable, "-W", "error", "-c", program])
    assert job.wait(60) == (0, "3\n")
