"""JAX programs whose exchanges overlap with computing get what PROTOCOL.md defines, however they call."""

import pytest

from tests.support import pool


@pytest.mark.parametrize("backend", ["ffi", "callback"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_all_ways_of_calling_give_the_bits_of_the_definition(ranks, backend):
    assert pool.run(ranks, "jax.overlap:same_bits", backend=backend, limit=120) == [[]] * ranks


def test_an_optimizer_gets_each_average_one_step_later():
    first, second = pool.run(2, "jax.overlap:optimizer")
    # Their own steps are 1 and 2. Each exchange brings 0.5 and -0.5: what they differ by, halved.
    assert first == [1.0, 2.5, 4.0, 6.0]
    assert second == [2.0, 3.5, 5.0, 6.0]


def test_params_can_be_completed_outside_of_jit():
    for rank, (stepped, complete, count, refused, overlap, state) in enumerate(
        pool.run(2, "jax.overlap:completed")
    ):
        assert stepped == [float(rank)] * 3
        assert complete == [0.5] * 3
        assert count == 0
        assert refused == (
            "TypeError: complete: called inside a function that is being compiled; call it outside of jit"
        )
        assert overlap is True
        assert state == {"step": 1}
