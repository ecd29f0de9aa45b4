"""What the options of an averager may be, and what ranks must agree on: all of it without ranks."""

import builtins
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.groupings import Table, placements
from tests.support.wrong_options import WRONG_OPTIONS
from wagma_rma import window_bytes
from wagma_rma.groups.butterfly import Butterfly
from wagma_rma.groups.strided import Strided
from wagma_rma.model.structure import Structure
from wagma_rma.options import LONGEST_PERIOD, Options, checked_timeout

PAIRS = Table([(0, 1), (0, 1), (2, 3), (2, 3)])
DEFAULTS = {
    "group_size": None,
    "sync_period": 10,
    "quorum": 1,
    "patience": "auto",
    "grouping": None,
    "start_step": 0,
    "timeout": None,
}


def options(ranks=4, **given):
    return Options("test", ranks, **{**DEFAULTS, **given})


def refusal(**given):
    """Return the exception that refuses options."""
    with pytest.raises((TypeError, ValueError)) as raised:
        options(**given)
    return raised.value


# What is refused.


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_a_wrong_option_is_refused_with_its_value_its_limits_and_the_cure(case):
    given, kind, *parts = WRONG_OPTIONS[case]
    error = refusal(**{**given, **({"grouping": PAIRS} if "grouping" in given else {})})
    assert type(error) is getattr(builtins, kind)
    for part in parts:
        assert part in str(error)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"sync_period": 0},
            "test: sync_period=0 is out of range; pass a number of steps between 1 and 524287 (groups of 2)",
        ),
        (
            {"quorum": 3},
            "test: quorum=3 is out of range; pass a number of ranks between 1 and group_size=2",
        ),
        (
            {"group_period": 11},
            "test: group_period=11 is out of range; pass a number of steps between 1 and sync_period=10",
        ),
        (
            {"patience": -1},
            "test: patience=-1 is out of range; pass 'auto' or a number of seconds, 0 or more",
        ),
        (
            {"start_step": 1 << 36},
            f"test: start_step={1 << 36} is out of range; "
            f"pass the number of steps done before, 0 to {(1 << 36) - 1}",
        ),
        (
            {"timeout": 0.0},
            "test: timeout=0.0 is out of range; pass a number of seconds above 0, or None to wait for ever",
        ),
        ({"window": "near"}, "test: window='near' is unknown; pass one of auto, shared, remote"),
        ({"progress": 1}, "test: progress=1 is not a str; pass one of auto, thread, none"),
        ({"topology": "yes"}, "test: topology='yes' is not a bool; pass True or False"),
        (
            {"grouping": PAIRS, "group_size": 4},
            "test: group_size=4 contradicts the grouping's size 2; pass one of the two",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_refusal_reads(given, message):
    assert str(refusal(**given)) == message


# What is served.


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"sync_period": 1}, "sync_period", 1),
        ({"sync_period": ((1 << 20) - 1) // 2}, "sync_period", 524287),
        ({"sync_period": np.int32(7)}, "sync_period", 7),
        ({"group_period": np.int32(3)}, "group_period", 3),
        ({"group_period": 10}, "group_period", 10),
        ({"group_size": 4, "quorum": 4}, "quorum", 4),
        ({"patience": "auto"}, "patience", -1.0),
        ({"patience": 0}, "patience", 0.0),
        ({"patience": np.float32(0.5)}, "patience", 0.5),
        ({"start_step": (1 << 36) - 1}, "start_step", (1 << 36) - 1),
        ({"timeout": None}, "timeout", None),
        ({"timeout": 1}, "timeout", 1.0),
        ({"window": "remote"}, "window", "remote"),
        ({"progress": "none"}, "progress", "none"),
        ({"topology": False}, "topology", False),
    ],
)
def test_an_option_at_its_limit_is_kept(given, name, value):
    kept = getattr(options(**given), name)
    assert kept == value
    assert type(kept) is type(value)


def test_a_timeout_may_be_checked_by_itself():
    assert checked_timeout("set", 3) == 3.0
    assert checked_timeout("set", None) is None
    for wrong in (0, -1, math.nan, math.inf, "3", True):
        with pytest.raises((TypeError, ValueError), match=r"^set: timeout="):
            checked_timeout("set", wrong)


# Groups.


def test_without_a_grouping_one_is_chosen():
    assert options(8, group_size=4).grouping == Butterfly(8, 4)
    assert options(8, group_size=3).grouping == Strided(8, 3)


def test_the_groups_of_a_rank_are_those_of_a_full_turn():
    assert options(8, group_size=2).groups(5) == [(4, 5), (5, 7), (1, 5)]
    members = options(4, grouping=Table([[np.int64(0), 1], (0, 1), (2, 3), (2, 3)])).groups(0)
    assert members == [(0, 1)]
    assert type(members[0][0]) is int


def test_a_grouping_of_a_users_own_is_checked():
    unsound = Table([(0, 1), (0, 1), (2, 3), (3,)])
    assert "overlaps" in str(refusal(grouping=unsound))
    assert "grouping.ranks=4" in str(refusal(ranks=5, grouping=PAIRS))


def test_the_longest_turn_has_a_snapshot_for_each_grouping_and_one_more_in_the_word():
    long = Table(*[[(0,), (1,)]] * LONGEST_PERIOD)
    layout = options(2, grouping=long).layout(Structure("test", np.zeros(1)), False)
    assert layout.slots == LONGEST_PERIOD + 1 < 1 << 8
    too_long = Table(*[[(0,), (1,)]] * (LONGEST_PERIOD + 1))
    assert f"between 1 and {LONGEST_PERIOD}" in str(refusal(ranks=2, grouping=too_long))


@settings(deadline=None)
@given(st.data())
def test_hosts_do_not_change_the_window_of_an_averager(data):
    ranks = data.draw(st.integers(1, 64))
    size = data.draw(st.none() | st.integers(1, ranks))
    structure = Structure("test", np.zeros(5, np.float32))
    sizes = {
        options(ranks, group_size=size, hosts=hosts).layout(structure, True).nbytes
        for hosts in (None, data.draw(placements(ranks)))
    }
    assert len(sizes) == 1


def test_without_topology_hosts_have_no_say():
    assert options(hosts=[0, 1, 0, 1], group_size=2, topology=False).grouping == Butterfly(4, 2)


def test_a_grouping_that_is_given_is_kept_in_spite_of_hosts():
    g = Strided(4, 2)
    assert options(grouping=g, hosts=[0, 1, 0, 1]).grouping is g


# What ranks must agree on.


def test_ranks_must_agree_on_the_hosts():
    facts = [options(group_size=2, hosts=h).facts(4)["grouping"] for h in (None, [0, 0, 1, 1], [0, 1, 0, 1])]
    assert facts == [
        "Butterfly(ranks=4, size=2)",
        "Butterfly(ranks=4, size=2, hosts=(0, 0, 1, 1))",
        "Butterfly(ranks=4, size=2, hosts=(0, 1, 0, 1))",
    ]
    assert options(group_size=2, hosts=[0, 1, 0, 1]).groups(0) == [(0, 2), (0, 1)]


OTHER = {
    "group_size": 4,
    "sync_period": 9,
    "group_period": 2,
    "quorum": 2,
    "patience": 0.5,
    "start_step": 3,
    "timeout": 2.0,
    "topology": False,
    "window": "shared",
    "progress": "thread",
}


@pytest.mark.parametrize("name", OTHER)
def test_a_fact_tells_another_option(name):
    usual, other = options().facts(4), options(**{name: OTHER[name]}).facts(4)
    assert other[name] == OTHER[name]
    assert usual[name] != other[name]
    same = set(usual) - {name, "grouping"}
    assert {fact: usual[fact] for fact in same} == {fact: other[fact] for fact in same}


def test_facts_tell_groupings_apart_by_their_groups():
    crossed = Table([(0, 2), (1, 3), (0, 2), (1, 3)])
    same = Table([(0, 1), (0, 1), (2, 3), (2, 3)])
    told = [options(grouping=g).facts(4)["grouping"] for g in (PAIRS, same, crossed)]
    assert told[0] == told[1] != told[2]


def test_facts_are_plain_values():
    assert all(value is None or isinstance(value, int | float | str) for value in options().facts(4).values())


# window_bytes.


def test_window_bytes_of_a_model_of_4_mb():
    model = np.zeros(1_000_000, np.float32)
    assert round(window_bytes(model, 16) / 4e6, 2) == 6.0


def test_window_bytes_counts_a_record_for_each_group_step():
    sizes = [window_bytes(np.zeros(3), 4, sync_period=2000, group_period=k) for k in (1, 3, 2000)]
    layouts = [
        options(sync_period=2000, group_period=k).layout(Structure("test", np.zeros(3)), False)
        for k in (1, 3, 2000)
    ]
    assert [layout.records for layout in layouts] == [2000, 667, 1]
    assert sizes == sorted([layout.nbytes for layout in layouts], reverse=True)


@pytest.mark.parametrize(
    ("given", "part"),
    [({"group_size": 5}, "group_size=5"), ({"sync_period": 0}, "window_bytes: sync_period=0")],
)
def test_window_bytes_refuses_what_an_averager_does(given, part):
    with pytest.raises(ValueError, match=part):
        window_bytes(np.zeros(3), 4, **given)


def test_window_bytes_refuses_a_model_that_cannot_be_averaged():
    with pytest.raises(TypeError, match=r"^window_bytes: model has dtype int64"):
        window_bytes(np.zeros(3, np.int64), 4)
