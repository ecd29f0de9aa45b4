"""What a rank tells when it departs, and what the others make of it."""

import os

import numpy as np
import pytest

from tests.support.worlds import make_ranks
from wagma_rma.protocol import departures
from wagma_rma.protocol.departures import Departures, RankLeft
from wagma_rma.protocol.words import BROKEN, LEFT, departure_manner, departure_step
from wagma_rma.waiting.processes import NAMESPACE_BITS, PID_BITS, START_BITS, own_process


@pytest.fixture
def ranks():
    return make_ranks([np.zeros(3)], ([(0, 1, 2)],), 3)


def told(ranks, whom=(1, 2)):
    """Return what rank 0 is told of others, or None."""
    try:
        ranks[0].departures.check("average", "waits", whom)
    except RankLeft as error:
        return str(error)
    return None


def test_nobody_has_departed_at_first(ranks):
    assert told(ranks) is None
    assert not ranks[0].departures.for_good
    assert ranks[0].departures.joined([0, 1, 2], 0) == [-1, -1, -1]


def test_an_error_names_the_rank_its_step_and_the_cause(ranks):
    ranks[2].departures.leave(LEFT, 0, KeyError("x"))
    assert told(ranks, [1]) is None
    with pytest.raises(RankLeft) as raised:
        ranks[0].departures.check("average", "waits for its group at step 4", [1, 2])
    assert (raised.value.rank, raised.value.step) == (2, 0)
    assert str(raised.value) == (
        "average: rank 2 has left (KeyError: 'x'), at step 0, while rank 0 waits for its group at step 4; "
        "end this run, and start it again from a checkpoint"
    )


def test_the_first_cause_is_named_before_what_followed_from_it(ranks):
    ranks[1].departures.leave(BROKEN, 3, RankLeft("long", 2, 3))
    assert "rank 1 has stopped after an error (RankLeft: rank 2 had left)" in told(ranks)
    ranks[2].departures.leave(LEFT, 3, MemoryError())
    assert "rank 2 has left (MemoryError)" in told(ranks)


def test_the_first_note_stays_and_a_manner_only_grows(ranks):
    ranks[1].departures.leave(BROKEN, 3, "one")
    ranks[1].departures.leave(LEFT, 3, "two")
    ranks[1].departures.leave(BROKEN, 3, "three")
    assert "rank 1 has left (one)" in told(ranks)
    (word,) = ranks[0].announcements.departures([1])
    assert (departure_manner(word), departure_step(word)) == (LEFT, 3)
    assert ranks[1].departures.for_good


@pytest.mark.parametrize("text", ["x" * 56, "x" * 300, "\u00e4" * 40, "nul\0nul"])
def test_a_note_keeps_its_first_56_bytes(ranks, text):
    ranks[1].departures.leave(LEFT, 3, text)
    assert ranks[0].announcements.note(1) == text.encode()[:56].decode(errors="ignore")


def test_a_joined_rank_counts_until_the_next_synchronisation_of_all(ranks):
    ranks[1].departures.join(7)
    assert ranks[0].departures.joined([0, 1, 2], 5) == [-1, 7, -1]
    assert ranks[0].departures.joined([0, 1, 2], 7) == [-1, 7, -1]
    assert ranks[0].departures.joined([0, 1, 2], 8) == [-1, -1, -1]
    assert told(ranks) is None, "it still takes part"


@pytest.fixture
def ended(ranks, monkeypatch):
    """Have rank 1 be a process that has ended; return it, and what MPI was asked to do."""
    asked = []
    monkeypatch.setattr(departures, "abort_in_finalize", lambda: asked.append("abort"))
    # No process has the greatest id. (A word only grows: the number must be greater than this process's.)
    number = own_process() | ((1 << PID_BITS) - 1) << (NAMESPACE_BITS + START_BITS)
    ranks[1].announcements.announce_process(number)
    return number, asked


def test_a_process_that_has_ended_without_a_word_is_named(ranks, ended):
    number, asked = ended
    assert told(ranks) == (
        f"average: rank 1 has died: its process {number >> 41} has ended, at step 0, while rank 0 waits; "
        "end this run, and start it again from a checkpoint"
    )
    assert asked == ["abort"], "MPI_Finalize would wait for it"


def test_a_process_that_told_its_departure_before_its_end_is_named_by_that(ranks, ended):
    ranks[1].departures.leave(LEFT, 0, "its program has ended")
    assert "rank 1 has left (its program has ended)" in told(ranks)
    assert ended[1] == []


def test_processes_of_other_hosts_are_not_looked_for(ranks, ended):
    other = Departures(0, [0, 1, 0], ranks[0].announcements, ranks[0].window.waiter)
    other.check("average", "waits", [1, 2])


def test_processes_are_looked_at_now_and_then(ranks, monkeypatch):
    looked = []
    monkeypatch.setattr(departures, "has_ended", lambda process: looked.append(process))
    for _ in range(5):
        told(ranks)
    assert len(looked) == 2, "each of the two once"
    assert {number >> 41 for number in looked} == {os.getpid()}


def test_what_an_exception_kept_from_being_told_is_told_later(ranks, monkeypatch):
    words = ranks[1].announcements

    class Silent:
        def __getattr__(self, name):
            return getattr(words, name)

        def announce_departure(self, word, note=""):
            raise TimeoutError

    mine = ranks[1].departures
    monkeypatch.setattr(mine, "_words", Silent())
    with pytest.raises(TimeoutError):
        mine.leave(BROKEN, 3, "one")
    mine.leave(BROKEN, 3, "two")  # waits for nothing once more
    assert mine.for_good
    assert told(ranks) is None
    monkeypatch.undo()
    mine.tell()
    assert "rank 1 has stopped after an error (one)" in told(ranks)
