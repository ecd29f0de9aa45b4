"""The steps at which all ranks meet: one mean for all, cut short and continued, or refused together."""

import threading
import time
from functools import partial

import numpy as np
import pytest

from tests.support import models
from tests.support.worlds import make_ranks, together
from wagma_rma.protocol import departures, reduction
from wagma_rma.protocol.departures import RankLeft
from wagma_rma.protocol.synchronization import EveryRank, StepMismatch, Synchronizer
from wagma_rma.protocol.words import (
    ARRIVED,
    BROKEN,
    CLOSED,
    FAILED,
    KEEPS_WINDOW,
    LEFT,
    PUBLISHED,
    entered_stage,
    pack_entered,
)
from wagma_rma.waiting.interrupts import Interrupts
from wagma_rma.waiting.watch import SynchronizationTimeout, Watch

COUNT = 70
ENDED = (1 << 63) - 1  # the number of a process; greater than any real one
SOON = 0.05  # seconds: a timeout where somebody is known to stay away


class Telling:
    """A rank's announcements, which note what it tells, and let a test hold that up."""

    def __init__(self, announcements):
        self.announced = []
        self.before = lambda word: None  # called with each word
        self._announcements = announcements

    def __getattr__(self, name):
        return getattr(self._announcements, name)

    def announce(self, word):
        self.before(word)
        self.announced.append(word)
        self._announcements.announce(word)


class Arriving:
    """A rank's barriers; a test may hold its arrivals up."""

    def __init__(self, barrier):
        self.before = lambda: None  # called before each arrival
        self._barrier = barrier

    def __getattr__(self, name):
        return getattr(self._barrier, name)

    def arrive(self, *arguments, **options):
        self.before()
        self._barrier.arrive(*arguments, **options)


class Member:
    """One rank that can synchronise."""

    def __init__(self, rank):
        self.rank = rank
        self.words = Telling(rank.announcements)
        self.barrier = Arriving(rank.barrier)
        self.watch = Watch(rank.announcements.reached, None, Interrupts())
        rank.window.waiter.watcher = self.watch
        self.synchronizer = Synchronizer(
            rank.protocol,
            self.barrier,
            rank.reduction,
            self.words,
            rank.departures,
            rank.pointers,
            self.watch,
            0,
        )

    def synchronize(self, step, leaves, error=None, out=None, **options):
        """Return the mean as this rank gets it."""
        out = [np.full_like(leaf, 77) for leaf in leaves] if out is None else out
        self.rank.pointers.hold(leaves, out)
        try:
            self.synchronizer.synchronize("synchronize", step, error, **options)
        finally:
            self.rank.pointers.release()
        self.rank.protocol.synchronized(self.synchronizer.step)
        return out

    def join(self, step, leaves, timeout=60.0):
        """Return the mean as this rank gets it from a step that the others synchronise."""
        self.watch.timeout = timeout
        return self.synchronize(step, leaves, joined=True)

    def attempt(self, *arguments, timeout=60.0, **options):
        """Return the mean, or the exception that the call raises."""
        self.watch.timeout = timeout
        try:
            return self.synchronize(*arguments, **options)
        except Exception as error:
            return error

    def close(self, keeps_arrays=False):
        return self.synchronizer.close(keeps_arrays)


def world(size=2, start=None, hosts=None, **options):
    start = start or [np.zeros(COUNT, np.float32)]
    ranks = make_ranks(start, ([tuple(range(size))],), size, hosts=hosts, **options)
    return [Member(rank) for rank in ranks]


def model(value):
    return [np.full(COUNT, value, np.float32)]


def all_synchronize(members, step, errors=(), **options):
    """Let rank i synchronise with a model of i; return what each gets or raises."""
    errors = [*errors, *[None] * (len(members) - len(errors))]
    return together(
        [
            partial(member.attempt, step, model(value), error, **options)
            for value, (member, error) in enumerate(zip(members, errors, strict=True))
        ]
    )


def values(averages):
    """Return the one number that each average consists of."""
    return [np.unique(leaf).tolist() for (leaf,) in averages]


@pytest.fixture
def pair():
    return world(2)


# The mean.


@pytest.mark.parametrize(
    "hosts",
    [[0], [0, 0], [0] * 5, [0, 1], [0, 0, 1, 1, 2], [0, 1, 0, 1, 1], [0, 1, 2, 3, 0, 1, 2, 3]],
    ids=str,
)
@pytest.mark.parametrize("columns", [False, True])
def test_every_rank_gets_the_mean_of_all_to_the_bit(hosts, columns, monkeypatch):
    monkeypatch.setattr(reduction, "SPARED_WAIT", -(1 << 40) if columns else 1 << 40)
    rng = np.random.default_rng(len(hosts))
    own = [[rng.standard_normal(1000).astype(dtype) for dtype in models.DTYPES] for _ in hosts]
    members = world(len(hosts), [np.zeros_like(leaf) for leaf in own[0]], hosts)
    for step in (3, 4, 7):
        calls = [
            partial(member.synchronize, step, leaves) for member, leaves in zip(members, own, strict=True)
        ]
        for mean in together(calls):
            assert models.same_bits(mean, models.mean_over_hosts(own, hosts))


@pytest.mark.parametrize("hosts", [[0, 0, 0], [0, 1], [0, 0, 1, 1, 2]], ids=str)
@pytest.mark.parametrize("columns", [False, True])
def test_leaves_that_are_averaged_at_synchronisations_only_are_summed_too(hosts, columns, monkeypatch):
    monkeypatch.setattr(reduction, "SPARED_WAIT", -(1 << 40) if columns else 1 << 40)
    rng = np.random.default_rng(1)
    own = [
        [rng.standard_normal(300).astype(dtype) for dtype in models.DTYPES for _ in range(2)] for _ in hosts
    ]
    members = world(
        len(hosts), [np.zeros_like(leaf) for leaf in own[0]], hosts, synchronized=(False, True) * 4
    )
    for step in (3, 6):
        calls = [
            partial(member.synchronize, step, leaves) for member, leaves in zip(members, own, strict=True)
        ]
        for mean in together(calls):
            assert models.same_bits(mean, models.mean_over_hosts(own, hosts))
    # The mean stays, for a call that wants it later.
    for member in members:
        out = [np.full_like(leaf, 77) for leaf in own[0]]
        member.rank.pointers.hold(out, out)
        member.rank.snapshots.restore_all(member.rank.pointers)
        assert models.same_bits(out, models.mean_over_hosts(own, hosts))


def test_hosts_beyond_a_power_of_two_take_part_through_others():
    own = [model(float(host)) for host in range(11)]
    members = world(11, own[0], range(11))
    means = together(
        [partial(member.synchronize, 1, leaves) for member, leaves in zip(members, own, strict=True)]
    )
    assert values(means) == [[5.0]] * 11


def test_the_mean_is_published_as_each_ranks_model_of_the_step(pair):
    all_synchronize(pair, 5)
    assert pair[0].words.published([0, 1]) == [5, 5]
    # So a group step that follows alone uses it for the absent.
    (average,) = pair[0].rank.average(6, model(3.5))
    assert (average == (3.5 + 0.5) / 2).all()


def test_one_synchronisation_follows_another_with_group_steps_between(pair):
    for step in (2, 4, 6):
        for member in pair:
            member.rank.average(step - 1, model(9))
        assert values(all_synchronize(pair, step)) == [[0.5], [0.5]]
        assert all(member.rank.snapshots.pins() == [0, 0, 0] for member in pair)


def test_a_rank_tells_that_it_has_arrived_and_then_that_it_has_published(pair):
    all_synchronize(pair, 5)
    for member in pair:
        start, *told = member.words.announced
        assert start == pack_entered(0, 0, PUBLISHED)
        assert told == [pack_entered(5, 0, ARRIVED), pack_entered(5, 0, PUBLISHED)]


def test_nobody_leaves_before_all_have_published(pair):
    published = threading.Event()
    arrivals = []
    pair[1].barrier.before = lambda: arrivals.append(0) or (len(arrivals) == 2 and published.wait(60))
    left = threading.Thread(target=pair[0].synchronize, args=(1, model(0)))
    other = threading.Thread(target=pair[1].synchronize, args=(1, model(1)))
    left.start()
    other.start()
    left.join(0.1)
    assert left.is_alive()
    published.set()
    left.join(60)
    other.join(60)
    assert not left.is_alive()


# Cut short, and continued.


def test_a_timeout_names_the_absent_and_the_next_call_continues(pair):
    for _ in range(2):
        error = pair[0].attempt(1, model(0), timeout=SOON)
        assert type(error) is SynchronizationTimeout
        assert str(error).startswith("synchronize: rank 0 at step 1: waited 0.")
        assert "for rank 1 (at step 0), the timeout is 0.05 s; call again with the same model" in str(error)
        assert pair[0].synchronizer.cut_short
        assert pair[0].synchronizer.awaits_arrivals
        assert not pair[0].synchronizer.counted_on
    assert values(all_synchronize(pair, 1)) == [[0.5], [0.5]]
    assert not pair[0].synchronizer.cut_short
    assert pair[0].words.announced.count(pack_entered(1, 0, ARRIVED)) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError, StopIteration, GeneratorExit])
def test_whatever_a_signal_handler_raises_cuts_a_synchronisation_short_too(pair, kind):
    def handler(seconds, rank):
        raise kind

    pair[0].rank.window.waiter.watcher = handler
    with pytest.raises(kind):
        pair[0].synchronize(1, model(0))
    assert pair[0].synchronizer.cut_short
    pair[0].rank.window.waiter.watcher = pair[0].watch
    assert values(all_synchronize(pair, 1)) == [[0.5], [0.5]]


def test_a_continued_synchronisation_fills_the_output_of_the_last_call(pair):
    first, last = model(77), model(77)
    assert isinstance(pair[0].attempt(1, model(0), out=first, timeout=SOON), SynchronizationTimeout)
    together([partial(pair[0].attempt, 1, model(0), out=last), partial(pair[1].attempt, 1, model(1))])
    assert (last[0] == 0.5).all()
    assert (first[0] == 77).all()


def test_once_all_have_arrived_the_others_count_on_a_rank(pair):
    assert isinstance(pair[1].attempt(1, model(1), timeout=SOON), SynchronizationTimeout)
    assert not pair[1].synchronizer.counted_on
    error = pair[0].attempt(1, model(0), timeout=SOON)
    # Its part is done; what it lacks is the other's.
    assert "for rank 1 (at step 1)" in str(error)
    assert pair[0].synchronizer.cut_short
    assert pair[0].synchronizer.counted_on
    # A wrong model now is its own error alone: the next call can still make all well.
    wrong = ValueError("synchronize: model is not in the model")
    assert pair[0].attempt(1, model(0), wrong) is wrong
    assert pair[0].synchronizer.counted_on
    assert values(all_synchronize(pair, 1)) == [[0.5], [0.5]]
    assert not pair[0].synchronizer.counted_on


def test_the_seconds_spent_waiting_are_returned(pair):
    began = time.monotonic()
    pair[0].rank.pointers.hold(model(0), model(0))
    waiting = partial(pair[0].synchronizer.synchronize, "synchronize", 1, None)
    waited, _ = together([waiting, lambda: time.sleep(0.1) or pair[1].synchronize(1, model(1))])
    assert 0.05 < waited < time.monotonic() - began


# Refused.


def test_an_error_of_one_rank_is_raised_on_all_and_all_may_try_again(pair):
    wrong = TypeError("synchronize: model has dtype int64")
    told, mine = all_synchronize(pair, 1, [None, wrong])
    assert mine is wrong
    assert type(told) is TypeError
    assert str(told) == "synchronize: model has dtype int64 [found at rank 1]"
    for member in pair:
        assert not member.synchronizer.cut_short
        assert member.synchronizer.attempt == 1
        assert member.words.announced[-1] == pack_entered(1, 0, FAILED)
    assert values(all_synchronize(pair, 1)) == [[0.5], [0.5]]
    assert [member.synchronizer.attempt for member in pair] == [0, 0]
    assert pair[0].words.announced[-1] == pack_entered(1, 1, PUBLISHED)


def test_the_error_of_the_lowest_rank_is_told():
    trio = world(3)
    wrong = [None, ValueError("one"), ValueError("two")]
    told, *own = all_synchronize(trio, 1, wrong)
    assert str(told) == "one [found at rank 1]"
    assert own == wrong[1:]


def test_an_error_on_every_rank_is_each_ranks_own(pair):
    wrong = [ValueError("one"), ValueError("two")]
    assert all_synchronize(pair, 1, wrong) == wrong


# Ranks at different steps.


def mismatch(member, step):
    error = member.attempt(step, model(0))
    assert type(error) is StepMismatch
    assert not member.synchronizer.cut_short
    return str(error)


@pytest.mark.parametrize(("mine", "theirs"), [(2, 4), (4, 2)])
def test_synchronising_at_different_steps_is_an_error(pair, mine, theirs):
    pair[1].words.announce(pack_entered(theirs, 0, ARRIVED))
    assert mismatch(pair[0], mine) == (
        f"synchronize: rank 1 synchronises step {theirs} while rank 0 synchronises step {mine}; "
        "every rank must call synchronize() at the same step"
    )


def test_a_rank_that_averages_at_the_step_will_not_synchronise_it(pair):
    pair[1].rank.average(2, model(1))
    assert mismatch(pair[0], 2) == (
        "synchronize: rank 1 averages at step 2 while rank 0 synchronises it; "
        "every rank must call synchronize() at the same step"
    )


def test_a_rank_that_has_closed_will_not_synchronise(pair):
    pair[1].words.announce(CLOSED)
    assert mismatch(pair[0], 2) == (
        "synchronize: rank 1 has closed its averager while rank 0 synchronises step 2; "
        "every rank must make the same calls"
    )


def test_a_rank_that_closes_after_it_arrived_ends_the_wait_of_the_others(pair):
    pair[1].words.announce(pack_entered(2, 0, ARRIVED))
    pair[0].attempt(2, model(0), timeout=SOON)
    pair[1].words.announce(CLOSED)
    assert mismatch(pair[0], 2).startswith("synchronize: rank 1 has closed its averager while rank 0 ")


def test_a_rank_that_is_still_on_its_way_is_waited_for(pair):
    pair[1].rank.average(1, model(1))
    pair[1].words.announce(pack_entered(0, 0, FAILED))
    assert isinstance(pair[0].attempt(2, model(0), timeout=SOON), SynchronizationTimeout)


# Ranks that have left.


def rank_left(member, step):
    error = member.attempt(step, model(0))
    assert type(error) is RankLeft
    assert (error.rank, member.synchronizer.cut_short) == (1, False)
    return str(error)


@pytest.mark.parametrize(("manner", "how"), [(LEFT, "left"), (BROKEN, "stopped after an error")])
def test_a_rank_that_has_left_is_named_and_not_waited_for(pair, manner, how):
    pair[1].rank.average(3, model(1))
    pair[1].rank.departures.leave(manner, 3, ValueError("no data"))
    assert rank_left(pair[0], 5) == (
        f"synchronize: rank 1 has {how} (ValueError: no data), at step 3, while rank 0 synchronises step 5; "
        "end this run, and start it again from a checkpoint"
    )


def test_a_rank_that_leaves_after_it_arrived_is_not_waited_for(pair):
    pair[1].words.announce(pack_entered(2, 0, ARRIVED))
    pair[1].rank.departures.leave(LEFT, 1, "its program has ended")
    assert "rank 1 has left (its program has ended), at step 2" in rank_left(pair[0], 2)


def test_a_rank_that_leaves_after_its_part_leaves_nobody_without_the_mean(pair):
    before = pair[1].words.before
    pair[1].words.before = lambda word: (
        entered_stage(word) == PUBLISHED and pair[1].rank.departures.leave(LEFT, 1, "ended")
    )
    assert values(all_synchronize(pair, 1)) == [[0.5], [0.5]]
    pair[1].words.before = before
    assert "rank 1 has left (ended)" in rank_left(pair[0], 2)


def test_a_close_does_not_wait_for_a_rank_that_has_left(pair):
    pair[1].rank.departures.leave(LEFT, 4, "its program has ended")
    with pytest.raises(RankLeft) as raised:
        pair[0].close()
    assert str(raised.value).startswith(
        "close: rank 1 has left (its program has ended), at step 0, while rank 0 closes its averager; "
    )


def test_a_rank_that_can_not_go_on_closes_at_once_and_nobody_frees_its_memory(pair):
    pair[1].rank.departures.leave(BROKEN, 4, "an error")
    assert pair[1].close()
    assert pair[0].close()


def test_a_group_does_not_wait_for_a_member_that_has_left(pair):
    pair[1].rank.average(2, model(1))
    pair[1].rank.departures.leave(LEFT, 2, "its program has ended")
    assert group_is_checked(pair[0], 2) is None, "it has been at step 2"
    assert group_is_checked(pair[0], 3) == (
        "average: rank 1 has left (its program has ended), at step 2, while rank 0 waits for its group at "
        "step 3; end this run, and start it again from a checkpoint"
    )


# Ranks that have joined.


def test_after_join_a_rank_meets_the_others_where_they_synchronise(pair):
    for step in (1, 2):
        pair[1].rank.average(step, model(1))
    means = together([partial(pair[0].join, 1, model(0)), partial(pair[1].attempt, 3, model(1))])
    assert values(means) == [[0.5], [0.5]]
    assert pair[0].synchronizer.step == 3
    assert not pair[0].synchronizer.all_joined


def test_when_all_have_joined_they_meet_once_more(pair):
    joins = [partial(member.join, step, model(step)) for member, step in zip(pair, (4, 6), strict=True)]
    assert values(together(joins)) == [[5.0], [5.0]]
    assert [(member.synchronizer.step, member.synchronizer.all_joined) for member in pair] == [(7, True)] * 2
    # What was joined is over: another epoch begins.
    assert [member.synchronizer.count_joined((0, 1)) for member in pair] == [0, 0]
    pair[0].rank.departures.join(9)
    assert [member.synchronizer.count_joined((0, 1)) for member in pair] == [1, 1]
    assert values(together([partial(pair[0].join, 9, model(0)), partial(pair[1].attempt, 12, model(1))]))
    assert [member.synchronizer.all_joined for member in pair] == [False, False]


@pytest.mark.parametrize("hosts", [1, 6, 20])
def test_the_step_that_ranks_in_join_meet_at_reaches_all_hosts(hosts):
    """With 20 hosts the tree has three levels, and a leader tells those below its own."""
    size = max(hosts, 4)
    members = world(size, hosts=[rank * hosts // size for rank in range(size)])
    for last, step in ((1, 3), (3, 9)):
        calls = [partial(member.join, last, model(0)) for member in members[1:]]
        together([*calls, partial(members[0].attempt, step, model(size))])
        assert {member.synchronizer.step for member in members} == {step}
    together([partial(member.join, 11, model(0)) for member in members])
    assert {member.synchronizer.step for member in members} == {12}
    assert all(member.synchronizer.all_joined for member in members)


def test_a_refusal_reaches_ranks_in_join_too(pair):
    wrong = ValueError("wrong")
    joins = partial(pair[0].attempt, 1, model(0), joined=True)
    refused, mine = together([joins, partial(pair[1].attempt, 4, model(1), wrong)])
    assert str(refused) == "wrong [found at rank 1]"
    assert mine is wrong
    # An earlier step than the one that was refused may follow.
    together([joins, partial(pair[1].attempt, 3, model(1))])
    assert pair[0].synchronizer.step == 3


@pytest.mark.parametrize(("joined_at", "step"), [(3, 2), (3, 3)])
def test_a_rank_that_joins_after_the_step_that_another_synchronises_is_an_error(pair, joined_at, step):
    joins = partial(pair[0].attempt, joined_at, model(0), joined=True)
    errors = together([joins, partial(pair[1].attempt, step, model(1))])
    assert {type(error) for error in errors} <= {StepMismatch, RankLeft}
    assert "ranks have come to synchronise different steps" in "".join(map(str, errors))


def test_a_timeout_in_join_names_those_who_have_not_joined(pair):
    with pytest.raises(SynchronizationTimeout) as raised:
        pair[0].join(3, model(0), timeout=SOON)
    assert str(raised.value).startswith("synchronize: rank 0 after its last step 3: waited 0.")
    assert "for rank 1 (at step 0)" in str(raised.value)


def test_a_rank_that_closes_while_another_waits_in_join_is_an_error(pair):
    pair[1].words.announce(CLOSED)
    with pytest.raises(StepMismatch) as raised:
        pair[0].join(3, model(0))
    assert str(raised.value) == (
        "synchronize: rank 1 has closed its averager while rank 0 waits in join() after step 3; "
        "every rank must call join() before close()"
    )


def test_a_rank_that_leaves_while_another_waits_in_join_is_named(pair):
    pair[1].rank.departures.leave(LEFT, 2, "its program has ended")
    with pytest.raises(
        RankLeft, match=r"^synchronize: rank 1 has left .* while rank 0 has joined after step 3; "
    ):
        pair[0].join(3, model(0))


# A group that waits for its quorum.


def group_is_checked(member, step, **options):
    """Return what a check of the pair's group at a step raises, or None."""
    try:
        member.synchronizer.check_group("average", step, (0, 1), **options)
    except (StepMismatch, RankLeft) as error:
        return str(error)
    return None


def test_members_on_their_way_may_still_arrive(pair):
    assert group_is_checked(pair[0], 1) is None
    pair[1].words.announce(pack_entered(5, 0, ARRIVED))
    assert group_is_checked(pair[0], 4) is None, "it has been at step 4"


def test_a_member_that_has_published_and_gone_is_named_at_the_second_check_of_a_wait(pair):
    """If it had done the step, this rank would have found the record open between the checks."""
    pair[1].rank.snapshots.begin(2)
    pair[1].rank.departures.leave(BROKEN, 1, "its network is down")
    assert group_is_checked(pair[0], 3).startswith("average: rank 1 has stopped after an error"), (
        "it was at 2"
    )
    assert group_is_checked(pair[0], 2, waits_for_record=False) is None
    assert group_is_checked(pair[0], 2) is None
    assert group_is_checked(pair[0], 2).startswith("average: rank 1 has stopped after an error (its network")


def test_a_member_that_has_closed_is_named_at_the_second_check_of_a_wait(pair):
    """It may have done the step, and found no free slot to publish its model in."""
    pair[1].rank.average(2, model(1))
    pair[1].words.announce(CLOSED)
    assert group_is_checked(pair[0], 2) is None, "it was at 2"
    assert group_is_checked(pair[0], 3, waits_for_record=False) is None
    assert group_is_checked(pair[0], 3) is None
    assert group_is_checked(pair[0], 3) == (
        "average: rank 1 has closed its averager while rank 0 waits for its group at step 3; "
        "every rank must make the same calls"
    )


def test_a_member_that_has_published_and_died_is_named(pair, monkeypatch):
    pair[1].rank.snapshots.begin(2)
    pair[1].words.announce_process(ENDED)
    monkeypatch.setattr(departures, "has_ended", lambda process: process == ENDED)
    monkeypatch.setattr(departures, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(departures, "abort_in_finalize", lambda: None)
    assert group_is_checked(pair[0], 2) is None
    assert group_is_checked(pair[0], 2).startswith("average: rank 1 has died")


@pytest.mark.parametrize("synchronized", [2, 3])
def test_a_member_that_synchronises_this_step_or_an_earlier_one_never_arrives(pair, synchronized):
    pair[1].words.announce(pack_entered(synchronized, 0, ARRIVED))
    assert group_is_checked(pair[0], 3) == (
        f"average: rank 1 synchronises step {synchronized} while rank 0 waits for its group at step 3; "
        "every rank must call synchronize() at the same step"
    )


def test_a_member_whose_synchronisation_was_refused_may_still_arrive(pair):
    pair[1].words.announce(pack_entered(2, 0, FAILED))
    assert group_is_checked(pair[0], 3) is None


def test_a_member_that_is_about_to_learn_of_a_refusal_may_still_arrive(pair):
    learns = threading.Event()
    pair[1].words.before = lambda word: entered_stage(word) == FAILED and learns.wait(60)
    other = threading.Thread(target=pair[1].attempt, args=(2, model(1)))
    other.start()
    wrong = ValueError("wrong")
    assert pair[0].attempt(2, model(0), wrong) is wrong
    assert pair[0].words.entered([1]) == [pack_entered(2, 0, ARRIVED)]
    assert group_is_checked(pair[0], 3) is None
    learns.set()
    other.join(60)


# The end.


@pytest.mark.parametrize(("keeps", "kept"), [((False, False), False), ((False, True), True)])
def test_every_rank_learns_at_the_end_whether_any_keeps_arrays(pair, keeps, kept):
    closes = [partial(member.close, mine) for member, mine in zip(pair, keeps, strict=True)]
    assert together(closes) == [kept, kept]


@pytest.mark.parametrize("keeps", [False, True])
def test_what_a_rank_says_first_of_its_arrays_counts(pair, keeps):
    pair[0].watch.timeout = SOON
    with pytest.raises(SynchronizationTimeout):
        pair[0].close(keeps)
    pair[0].watch.timeout = None
    assert pair[0].words.announced[-1] == CLOSED + KEEPS_WINDOW * keeps
    # The others may have acted on it.
    assert together([partial(pair[0].close, not keeps), pair[1].close]) == [keeps, keeps]


def test_a_close_that_times_out_names_the_absent(pair):
    pair[0].watch.timeout = SOON
    with pytest.raises(SynchronizationTimeout) as raised:
        pair[0].close()
    assert str(raised.value).startswith("close: rank 0: waited 0.")
    assert str(raised.value).endswith(
        "for rank 1 (at step 0), the timeout is 0.05 s; call again to go on waiting, or end the run"
    )


# EveryRank.


def test_only_ranks_that_were_missing_are_looked_at_again():
    asked, arrived = [], set()

    def still_missing(ranks):
        asked.append(list(ranks))
        return [rank for rank in ranks if rank not in arrived]

    test = EveryRank(4, still_missing)
    assert test.missing == [0, 1, 2, 3]
    assert not test()
    arrived |= {0, 2}
    assert not test()
    assert test.missing == [1, 3]
    arrived |= {1, 3}
    assert test()
    assert asked == [[0, 1, 2, 3], [0, 1, 2, 3], [1, 3]]


def test_a_rank_awaits_arrivals_until_all_are_there(pair):
    assert not pair[0].synchronizer.awaits_arrivals
    pair[1].attempt(1, model(1), timeout=SOON)
    assert pair[1].synchronizer.awaits_arrivals
    pair[0].attempt(1, model(0), timeout=SOON)
    assert not pair[0].synchronizer.awaits_arrivals
    # The others count on a rank that has not seen the last arrival.
    assert pair[1].synchronizer.counted_on
    assert not pair[1].synchronizer.awaits_arrivals
