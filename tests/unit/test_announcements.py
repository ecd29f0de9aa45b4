"""What ranks say of themselves: how far they have come in a synchronisation, and in the run."""

import numpy as np
import pytest

from tests.support.worlds import make_ranks
from wagma_rma.protocol.words import (
    ARRIVED,
    CLOSED,
    KEEPS_WINDOW,
    PIN_LIMIT,
    PUBLISHED,
    STEP_LIMIT,
    pack_entered,
)


def model():
    return [np.zeros(3, np.float32)]


@pytest.fixture
def ranks():
    return make_ranks(model(), ([(0, 1, 2)],), ranks=3, step=4)


def test_every_rank_can_load_what_another_has_announced(ranks):
    word = pack_entered(7, 1, ARRIVED)
    ranks[1].announcements.announce(word)
    for rank in ranks:
        assert rank.announcements.entered([1]) == [word]
        assert rank.announcements.entered([2, 1, 0]) == [0, word, 0]
        assert rank.announcements.entered([]) == []


def test_an_announcement_never_goes_back(ranks):
    announcements = ranks[0].announcements
    announcements.announce(pack_entered(7, 0, PUBLISHED))
    announcements.announce(pack_entered(7, 0, ARRIVED))
    announcements.announce(pack_entered(6, 3, PUBLISHED))
    assert announcements.entered([0]) == [pack_entered(7, 0, PUBLISHED)]


def test_the_newest_snapshot_tells_a_step_that_the_rank_has_reached(ranks):
    ranks[2].average(5, model())
    assert ranks[0].announcements.published([0, 1, 2]) == [4, 4, 5]


def test_pins_never_reach_the_step_even_where_their_field_overflows(ranks):
    for pins in (1, PIN_LIMIT - 1, PIN_LIMIT - 1, 5):
        ranks[1].pin(pins)
        assert ranks[0].announcements.published([1]) == [4]


def test_the_last_step_fits(ranks):
    rank = make_ranks(model(), step=STEP_LIMIT - 1)[0]
    assert rank.announcements.published([0, 1]) == [STEP_LIMIT - 1] * 2


def test_a_rank_has_reached_the_later_of_what_it_published_and_what_it_synchronises(ranks):
    ranks[1].announcements.announce(pack_entered(9, 0, ARRIVED))
    ranks[2].announcements.announce(pack_entered(2, 0, PUBLISHED))
    assert ranks[0].announcements.reached([0, 1, 2]) == [4, 9, 4]


@pytest.mark.parametrize("keeps_arrays", [0, KEEPS_WINDOW])
def test_a_rank_that_has_closed_has_reached_what_it_published(ranks, keeps_arrays):
    ranks[1].announcements.announce(CLOSED + keeps_arrays)
    assert ranks[0].announcements.reached([1]) == [4]
