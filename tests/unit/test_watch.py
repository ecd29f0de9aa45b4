"""A wait for other ranks says whom it is for: warnings now and then, and an error at the timeout."""

import logging

import pytest

from wagma_rma.waiting.interrupts import Interrupts
from wagma_rma.waiting.watch import WARN_EVERY, Expectation, SynchronizationTimeout, Watch, enumerate_ranks


def nothing():
    pass


def steps(ranks):
    """Tell which step each rank has reached."""
    return [10 + rank for rank in ranks]


def expecting(missing, check=nothing):
    return Expectation(lambda: "average: rank 0 at step 9", lambda: missing, check, "call again")


def watch_for(missing, timeout=None, check=nothing, interrupts=None):
    watch = Watch(steps, timeout, interrupts or Interrupts())
    watch.expect(expecting(missing, check))
    return watch


@pytest.fixture
def warnings(caplog):
    """Return the warnings so far."""
    caplog.set_level(logging.WARNING, "wagma_rma")
    return lambda: [record.getMessage() for record in caplog.records]


# Whom.


@pytest.mark.parametrize(
    ("ranks", "text"),
    [
        ([2], "rank 2 (at step 12)"),
        ([2, 3], "rank 2 (at step 12) and rank 3 (at step 13)"),
        ([0, 2, 5], "rank 0 (at step 10), rank 2 (at step 12) and rank 5 (at step 15)"),
    ],
)
def test_ranks_are_named_with_the_steps_they_have_reached(ranks, text):
    assert enumerate_ranks(ranks, steps) == text


def test_up_to_16_ranks_are_named_and_looked_at_and_the_rest_are_counted():
    looked_at = []

    def reached(ranks):
        looked_at.extend(ranks)
        return steps(ranks)

    assert enumerate_ranks(list(range(16)), reached).endswith("rank 14 (at step 24) and rank 15 (at step 25)")
    assert looked_at == list(range(16))
    assert enumerate_ranks(list(range(40)), reached).endswith("rank 15 (at step 25) and 24 more ranks")
    assert looked_at == 2 * list(range(16))


# Warnings.


def test_a_warning_names_the_missing_after_30_seconds_and_every_30_seconds_from_then_on(warnings):
    watch = watch_for([2])
    assert WARN_EVERY == 30
    for seconds in (0.05, 29.9):
        watch(seconds)
    assert warnings() == []
    watch(30.0)
    said = "average: rank 0 at step 9: waited {} s for rank 2 (at step 12)"
    assert warnings() == [said.format(30.0)]
    for seconds in (30.1, 45.0, 59.9):
        watch(seconds)
    assert len(warnings()) == 1
    watch(61.26)
    assert warnings()[1:] == [said.format(61.3)]
    watch(91.2)
    assert len(warnings()) == 2, "30 s after the last one"


def test_what_a_wait_took_before_counts_too(warnings):
    watch = watch_for([2])
    watch.earlier += 29.0
    watch(0.5)
    assert warnings() == []
    watch(1.0)
    assert "waited 30.0 s" in warnings()[0]


def test_another_wait_begins_anew(warnings):
    watch = watch_for([2])
    watch.earlier = 20.0
    watch(15.0)
    watch.expect(expecting([3]))
    watch(29.0)
    assert len(warnings()) == 1
    watch(30.0)
    assert "rank 3" in warnings()[1]


def test_a_wait_that_ends_without_the_missing_is_not_spoken_of(warnings):
    watch = watch_for(None, timeout=1.0)
    watch(100.0)
    assert warnings() == []


def test_when_no_rank_is_missing_it_is_mpi_that_is_waited_for(warnings):
    watch_for([])(31.0)
    assert "for other ranks to go on" in warnings()[0]


def test_a_rank_whose_memory_does_not_answer_is_named_without_a_look_at_words(warnings):
    def unreachable(*ranks):
        raise AssertionError("its words can't be loaded now")

    watch = Watch(unreachable, None, Interrupts())
    watch.expect(Expectation(lambda: "average: rank 0", unreachable, unreachable, "close it"))
    watch(31.0, 5)
    assert warnings() == [
        "average: rank 0: waited 31.0 s for rank 5, which does not answer "
        "(is it stopped, or its network down?)"
    ]


# The timeout.


def test_a_wait_as_long_as_the_timeout_raises_with_the_cure(warnings):
    watch = watch_for([2], timeout=2.5)
    watch(2.4)
    with pytest.raises(SynchronizationTimeout) as raised:
        watch(2.5)
    assert str(raised.value) == (
        "average: rank 0 at step 9: waited 2.5 s for rank 2 (at step 12), the timeout is 2.5 s; call again"
    )
    assert isinstance(raised.value, TimeoutError)
    assert warnings() == []


def test_the_timeout_counts_what_a_wait_took_before():
    watch = watch_for([2], timeout=2.5)
    watch.earlier = 2.0
    with pytest.raises(SynchronizationTimeout, match=r"waited 2\.6 s"):
        watch(0.6)


def test_the_timeout_may_be_changed_while_a_wait_lasts():
    watch = watch_for([2])
    watch(100.0)
    watch.timeout = 50.0
    with pytest.raises(SynchronizationTimeout, match=r"the timeout is 50\.0 s"):
        watch(100.1)
    watch.timeout = None
    watch(100.2)


def test_a_rank_that_does_not_answer_is_a_timeout_too():
    with pytest.raises(SynchronizationTimeout, match="rank 1, which does not answer"):
        watch_for([2], timeout=1.0)(1.0, 1)


# Checks and interrupts.


class CannotEndWell(Exception):
    pass


def test_a_wait_that_cannot_end_well_raises_at_the_first_look():
    def check():
        raise CannotEndWell

    with pytest.raises(CannotEndWell):
        watch_for([2], check=check)(0.05)


def test_an_interrupt_that_was_deferred_comes_through_before_anything_else():
    class Interrupted(Interrupts):
        def deliver(self):
            raise KeyboardInterrupt

    def check():
        raise AssertionError("the interrupt comes first")

    with pytest.raises(KeyboardInterrupt):
        watch_for([2], timeout=1.0, check=check, interrupts=Interrupted())(9.0)


def test_before_anything_is_expected_nothing_is_said(warnings):
    Watch(steps, None, Interrupts())(1.0)
    assert warnings() == []
