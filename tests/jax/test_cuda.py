"""Compiled and eager steps on a CUDA device: the same bits, errors and ends as on a CPU.

No GPU is needed: CPUs pass for one, whose driver is a fake (tests/support/fake_gpu.py). XLA's programs are
real, and call the handler that a device calls.
"""

import pytest

from tests.support import launch, pool

CUDA = {"RANKS_CUDA": "1"}


def test_ffi_calls_copy_params_straight_from_and_to_the_window():
    for rank, facts in enumerate(pool.run(2, "jax.cuda:chosen", limit=60, env=CUDA)):
        mean = [i + 0.5 for i in range(6)]
        assert facts == {
            "backend": "ffi",
            "copies": ["DeviceLeaves"] * 2,
            "means": [mean, mean],
            "calls": [["wagma_rma_step", 2]],
            "calls with overlap": [["wagma_rma_step", 0], ["wagma_rma_step", 2]],
        }, rank


@pytest.mark.parametrize("ranks", [2, 3])
def test_all_ways_of_calling_give_the_bits_of_the_definition(ranks):
    assert pool.run(ranks, "jax.overlap:same_bits", backend="ffi", limit=120, env=CUDA) == [[]] * ranks


def test_loops_do_a_step_in_each_turn():
    assert pool.run(2, "jax.compiled:loops", limit=90, backend="ffi", env=CUDA) == [[], []]


def test_leaves_that_synchronisations_alone_average_are_not_moved():
    first, second = pool.run(2, "jax.cuda:moments", limit=60, env=CUDA)
    own = [[i + 0.0 for i in range(6)], [i + 1.0 for i in range(6)]]
    mean = [i + 0.5 for i in range(6)]
    for rank, seen in enumerate((first, second)):
        alone = [float(rank)] * 2
        assert seen == [[own[rank], alone], [mean, alone], [mean, [0.5] * 2], [mean, [0.5] * 2]]


def test_a_timeout_in_a_step_is_told_and_the_step_can_be_done_again():
    results = launch.run(2, "jax.compiled:failing", limit=60, backend="ffi", env=CUDA)
    (told, *others), (_, *same) = results
    assert "RuntimeError: average: this averager is closed" in told[0]
    assert "SynchronizationTimeout: average: rank 0 at step 2" in told[1]
    assert others == same
    (told, *others), (_, *same) = launch.run(2, "jax.compiled:after_failure", limit=60, env=CUDA)
    assert "SynchronizationTimeout: average: rank 0 at step 2" in told[0]
    assert others == same


def test_a_program_may_outlive_its_averager():
    for said, others in launch.run(1, "jax.compiled:gone", limit=60, env=CUDA):
        assert "RuntimeError: average: this averager is gone; keep it" in said
        assert others == 'KeyError: "another\'s"'


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exit", "exception"])
def test_a_program_ends_in_the_middle_of_a_compiled_step(how):
    code, output = launch.start(3, "jax.compiled:ending", how=how, backend="ffi", env=CUDA).wait(120)
    assert (code, output) == (0, "") if how == "exit" else "ZeroDivisionError: the user's own" in output


@pytest.mark.slow
@pytest.mark.parametrize("floats", [10, 1_000_000])
def test_ctrl_c_ends_a_compiled_step_that_waits(floats):
    raised, _ = launch.run(2, "jax.compiled:interrupted", limit=90, floats=floats, backend="ffi", env=CUDA)
    assert any("KeyboardInterrupt" in text for text in raised), raised


def test_a_missing_driver_is_named_and_auto_falls_back_to_callbacks_with_one_warning():
    for refused, now, later, mean, warnings in pool.run(2, "jax.cuda:without_driver", limit=60):
        missing = "libcuda.so.1 can't be used: libcuda.so.1: cannot open shared object file"
        assert refused.startswith(f"CudaError: PytreeAverager: backend='ffi': {missing}")
        assert refused.endswith("pass backend='callback'")
        # Until the calls have run on a GPU.
        assert now == "callback"
        assert (later, mean) == ("callback", [i + 0.5 for i in range(6)])
        (warning,) = warnings
        assert warning.startswith(
            f"PytreeAverager: params are copied by callbacks of JAX, which takes longer: {missing}"
        )
