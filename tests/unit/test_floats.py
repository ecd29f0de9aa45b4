"""Within a step a thread rounds to nearest and keeps subnormal numbers, and afterwards it is as it was."""

import math
import threading

import pytest

from tests.support.float_modes import THIRD, flushing, quotient, rounding_up, smallest
from wagma_rma.kernels.floats import DefaultFloats

UP = math.nextafter(THIRD, 1)


def test_these_threads_are_what_they_should_be():
    assert quotient() == THIRD
    assert smallest() == 5e-324
    with rounding_up():
        assert quotient() == UP
    with flushing():
        assert smallest() == 0
    assert quotient() == THIRD
    assert smallest() == 5e-324


def test_a_thread_that_rounds_otherwise_rounds_to_nearest_inside():
    with rounding_up():
        with DefaultFloats():
            assert quotient() == THIRD
        assert quotient() == UP


def test_a_thread_that_flushes_subnormal_numbers_keeps_them_inside():
    with flushing():
        with DefaultFloats():
            assert smallest() == 5e-324
        assert smallest() == 0


def test_a_thread_with_the_default_environment_has_it_inside_and_afterwards():
    with DefaultFloats():
        assert (quotient(), smallest()) == (THIRD, 5e-324)
    assert (quotient(), smallest()) == (THIRD, 5e-324)


def test_the_environment_is_put_back_after_an_error():
    with rounding_up():
        with pytest.raises(ValueError), DefaultFloats():
            raise ValueError
        assert quotient() == UP


def test_one_thread_after_another_may_use_the_same_object():
    floats = DefaultFloats()
    found = []

    def work(mode):
        with mode():
            with floats:
                found.append((quotient(), smallest()))
            found.append((quotient(), smallest()))

    for mode in (rounding_up, flushing):
        thread = threading.Thread(target=work, args=(mode,))
        thread.start()
        thread.join()
    default = THIRD, 5e-324
    assert found == [default, (UP, 5e-324), default, (THIRD, 0.0)]
