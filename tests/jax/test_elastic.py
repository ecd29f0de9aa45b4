"""JAX programs whose ranks are called to synchronisations and skip steps, in and out of jit."""

import pytest

from tests.support import launch, pool

BACKENDS = pytest.mark.parametrize("backend", ["ffi", "callback"])


@BACKENDS
def test_a_rank_that_is_called_jumps_at_its_next_step_however_it_calls_the_averager(backend):
    # Ranks 0 and 1 come with their models of step 5, and rank 2 with that of its first call.
    mean = (50 + 51 + 12) / 3
    ran = pool.run(3, "jax.elastic:jumps", limit=90, backend=backend)
    for rank, (seen, quorum) in enumerate(ran):
        assert quorum == 2
        assert list(seen) == ["eager", "jit", "donated", "cond"]
        for i, (name, found) in enumerate(seen.items(), start=1):
            skipped = 4 if rank == 2 else 0
            assert found["w"] == pytest.approx(mean), name
            assert found["bits"] == ran[0][0][name]["bits"], name
            assert found["told"] == [5 * i, "SYNCHRONIZED", skipped], name
            assert found["steps"] == [5 - skipped, skipped], name


@BACKENDS
def test_a_loop_in_a_program_ends_at_the_averagers_step(backend):
    ran = pool.run(3, "jax.elastic:while_loop", limit=60, backend=backend)
    for rank, (told, bits, skipped) in enumerate(ran):
        assert told == [10, "SYNCHRONIZED"]
        assert bits == ran[0][1]
        assert skipped >= 4 or rank < 2


def test_params_on_an_accelerator_are_fetched_once_for_a_jump():
    """No accelerator here: what is on a CPU passes for it."""
    ran = pool.run(3, "jax.elastic:accelerator", limit=60)
    for rank, (told, bits, fetched) in enumerate(ran):
        assert told == [5, "SYNCHRONIZED", 4 if rank == 2 else 0]
        assert bits == ran[0][1]
        assert sorted(fetched) == ([0, 1] if rank == 2 else 5 * [0] + 5 * [1])


@BACKENDS
def test_a_scan_of_a_fixed_number_of_steps_gets_an_error_that_tells_the_cure(backend):
    """Ranks of its own: JAX may fail what a thread calls after an error."""
    (said, reached), *others = launch.run(3, "jax.elastic:scan", limit=90, backend=backend)
    assert "StepMismatch: average: rank" in said
    assert "has closed its averager while rank 0 synchronises step 15" in said
    assert "loop `while averager.step < steps`" in said
    assert reached == 14
    assert others == [["nothing", 11]] * 2


@BACKENDS
def test_a_jump_in_a_compiled_step_that_is_cut_short_is_continued_by_the_next(backend):
    ran = launch.run(3, "jax.elastic:cut_short", limit=90, backend=backend)
    for i, error in enumerate(["SynchronizationTimeout: average: rank 0 at step 5", "KeyboardInterrupt"]):
        (said, step), told, bits = ran[0][i]
        assert error in said
        assert step == 0
        assert told == [5, "SYNCHRONIZED", 4]
        assert [rank[i][2] for rank in ran] == [bits] * 3


@pytest.mark.parametrize("every", [1, 2])
def test_an_optimizer_that_averages_jumps(every):
    ran = pool.run(3, "jax.elastic:optimizer", limit=60, every=every)
    mean = (100 + 101 + 102 + (5 + 5 + 1) * every) / 3
    for rank, (told, updates, w, bits, since) in enumerate(ran):
        skipped = 4 if rank == 2 else 0
        assert told == [5, "SYNCHRONIZED", skipped]
        assert updates == (5 - skipped) * every
        assert w == pytest.approx(mean)
        assert bits == ran[0][3]
        assert since == 0
