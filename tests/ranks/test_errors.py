"""Wrong use on real ranks: every rank is told what is wrong, where, and what to do; nobody hangs."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.support import launch, pool
from tests.support.wrong_options import WRONG_OPTIONS

RANKS = 4
EVERYWHERE = list(range(RANKS))
MEAN_RANK = [(RANKS - 1) / 2]


def assert_told(told, kind, *parts):
    """Check that a call raised an exception of a class (by name) whose message has all these parts."""
    kinds, message = told
    assert kind in kinds, f"{kinds[:1]}: {message}"
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"


def assert_closed(ran, first):
    """Check that close() named a stopped rank at rank `first`, and was served elsewhere; all can go on."""
    for number, rank in enumerate(ran):
        if number == first:
            assert_told(
                rank["closed"], "RankLeft", "close: rank ", "has stopped after an error (StepMismatch"
            )
        else:
            assert rank["closed"] == [[], ""]
        assert rank["afterwards"] == [1.0]


# Construction: all cases in one launch, [model, options, other model, other options, ranks of the other].

WRONG_MODELS = {
    "int64": ("TypeError", "model['w']", "int64", "convert"),
    "uint8": ("TypeError", "model['w']", "uint8", "convert"),
    "complex": ("TypeError", "model['w'][1]", "complex64", "convert"),
    "bool": ("TypeError", "model['w']", "bool", "convert"),
    "object": ("TypeError", "model['w']", "object", "convert"),
    "text": ("TypeError", "model['w']", "str", "convert"),
    "date": ("TypeError", "model['w']", "datetime64", "convert"),
    "longdouble": ("TypeError", "model['w']", "convert"),
    "float": ("TypeError", "model['w'][1] is a float", "numpy array"),
    "numpy scalar": ("TypeError", "model['w'] is a float32", "np.asarray"),
    "None": ("TypeError", "model['w'] is a NoneType", "numpy array"),
    "string": ("TypeError", "model is a str", "numpy array"),
    "empty": ("ValueError", "the model holds no array"),
    "nothing but containers": ("ValueError", "the model holds no array"),
    "mapping that takes no dict": ("TypeError", "OfKeywords", "pass dict(mapping)"),
    "other-endian float": ("TypeError", "model['w']", "byte order", "astype"),
    "other-endian int": ("TypeError", "model['w']", "byte order"),
    "read-only": ("ValueError", "model['b'][0] is read-only", "broadcast=True", "copy"),
}
WRONG_BROADCASTS = {"no": "no", "1": 1, "None": None}

WRONG_GROUPINGS = [
    "Lacking",
    "Overlapping",
    "TooLarge",
    "Outside",
    "Doubled",
    "Fractional",
    "NotASequence",
    "OfFewer",
    "NoPeriod",
    "OtherPeriod",
    "Nothing",
]

# Options of rank 0, 1 and 3, those of rank 2, and what the message says of both.
DISAGREEMENTS = {
    "group_size": ({"group_size": 2}, {"group_size": 4}, "group_size is 4 at rank 2 but 2 at rank 0"),
    "sync_period": ({"sync_period": 5}, {"sync_period": 6}, "sync_period is 6 at rank 2 but 5 at rank 0"),
    "group_period": ({}, {"group_period": 3}, "group_period is 3 at rank 2 but 1 at rank 0"),
    "select_synchronized": (
        {},
        {"select_synchronized": {"w": True, "b": False}},
        "select_synchronized is [\"model['w']\"] at rank 2 but [] at rank 0",
    ),
    "quorum": ({}, {"quorum": 2}, "quorum is 2 at rank 2 but 1 at rank 0"),
    "patience": ({}, {"patience": 0.5}, "patience is 0.5 at rank 2 but 'auto' at rank 0"),
    "start_step": ({}, {"start_step": 100}, "start_step is 100 at rank 2 but 0 at rank 0"),
    "timeout": ({}, {"timeout": 3}, "timeout is 3.0 at rank 2 but None at rank 0"),
    "broadcast": ({}, {"broadcast": False}, "broadcast is False at rank 2 but True at rank 0"),
    "grouping": ({}, {"grouping": "Partition"}, "grouping is "),
    "own grouping": ({"grouping": "Partition"}, {"grouping": "Neighbours"}, "grouping is "),
}
DIFFERENT_MODELS = {
    "other shape": ("model['w'] is float32[3, 2] at rank 2 but float32[2, 3] at rank 0",),
    "other dtype": ("model['w'] is bfloat16[2, 3] at rank 2 but float32[2, 3] at rank 0",),
    "other path": ("rank 2", "model['v']", "rank 0", "model['w']"),
    "more leaves": ("3 leaves at rank 2 but 2 at rank 0",),
    "fewer leaves": ("1 leaves at rank 2 but 2 at rank 0",),
}


def everywhere(model="nested", **options):
    return [model, options, model, options, []]


def at_rank(rank, model="nested", other_model="nested", options=(), other_options=()):
    return [model, dict(options), other_model, dict(other_options), [rank]]


CASES = {
    **{f"{name} everywhere": everywhere(**row[0]) for name, row in WRONG_OPTIONS.items()},
    **{f"{name} at rank 1": at_rank(1, other_options=row[0]) for name, row in WRONG_OPTIONS.items()},
    **{f"broadcast {name} everywhere": everywhere(broadcast=no) for name, no in WRONG_BROADCASTS.items()},
    **{
        f"broadcast {name} at rank 1": at_rank(1, other_options={"broadcast": no})
        for name, no in WRONG_BROADCASTS.items()
    },
    **{f"{name} everywhere": everywhere(name) for name in WRONG_MODELS},
    **{f"{name} at rank 1": at_rank(1, other_model=name) for name in WRONG_MODELS},
    **{f"{name} everywhere": everywhere(grouping=name) for name in WRONG_GROUPINGS},
    **{f"{name} at rank 1": at_rank(1, other_options={"grouping": name}) for name in WRONG_GROUPINGS},
    **{
        f"differ in {name}": at_rank(2, options=most, other_options=other)
        for name, (most, other, _) in DISAGREEMENTS.items()
    },
    **{f"differ in {name}": at_rank(2, other_model=name) for name in DIFFERENT_MODELS},
    "read-only, not written": everywhere("read-only", broadcast=False),
    "integers at ranks 1 and 3": ["nested", {}, "int64", {}, [1, 3]],
}


@pytest.fixture(scope="module")
def constructions():
    """Return what was said in each case, by rank; and whether the ranks could go on afterwards."""
    ran = pool.run(RANKS, "ranks.errors:construct", cases=list(CASES.values()))
    told = {name: [rank["told"][i] for rank in ran] for i, name in enumerate(CASES)}
    return told, [rank["afterwards"] for rank in ran]


def everywhere_and_at_rank_1(names):
    return [f"{name} {where}" for name in names for where in ("everywhere", "at rank 1")]


def name_of(case):
    return case.removesuffix(" everywhere").removesuffix(" at rank 1")


def assert_all_told(told, case, kind, *parts):
    """Check what each rank was told; the ranks that did nothing wrong must learn which one did."""
    for rank, (kinds, message) in enumerate(told[case]):
        assert_told([kinds, message], kind, *parts)
        if case.endswith("at rank 1") and rank != 1:
            assert "rank 1" in message


@pytest.mark.parametrize("case", everywhere_and_at_rank_1(WRONG_OPTIONS))
def test_a_wrong_option_is_refused_on_every_rank(constructions, case):
    assert_all_told(constructions[0], case, *WRONG_OPTIONS[name_of(case)][1:])


@pytest.mark.parametrize("case", everywhere_and_at_rank_1(f"broadcast {name}" for name in WRONG_BROADCASTS))
def test_a_broadcast_that_is_no_bool_is_refused_on_every_rank(constructions, case):
    value = WRONG_BROADCASTS[name_of(case).removeprefix("broadcast ")]
    assert_all_told(
        constructions[0], case, "TypeError", f"broadcast={value!r} is not a bool", "True or False"
    )


@pytest.mark.parametrize("case", everywhere_and_at_rank_1(WRONG_MODELS))
def test_a_wrong_leaf_is_refused_on_every_rank_by_its_path(constructions, case):
    assert_all_told(constructions[0], case, *WRONG_MODELS[name_of(case)])


@pytest.mark.parametrize("case", everywhere_and_at_rank_1(WRONG_GROUPINGS))
def test_a_grouping_that_is_no_partition_is_refused_on_every_rank(constructions, case):
    for kinds, message in constructions[0][case]:
        assert {"TypeError", "ValueError"} & set(kinds), f"{kinds[:1]}: {message}"
        assert "group" in message or "members" in message


@pytest.mark.parametrize("option", DISAGREEMENTS)
def test_ranks_that_disagree_on_an_option_are_told_who_and_what(constructions, option):
    for told in constructions[0][f"differ in {option}"]:
        assert_told(told, "ValueError", DISAGREEMENTS[option][2], "at rank 2", "at rank 0", "pass the same")


@pytest.mark.parametrize("difference", DIFFERENT_MODELS)
def test_ranks_with_different_models_are_told_which_leaf_of_which_rank(constructions, difference):
    for told in constructions[0][f"differ in {difference}"]:
        assert_told(told, "ValueError", *DIFFERENT_MODELS[difference])


def test_each_wrong_rank_is_told_its_own_error_and_the_others_that_of_the_first(constructions):
    told = constructions[0]["integers at ranks 1 and 3"]
    for rank in EVERYWHERE:
        assert_told(told[rank], "TypeError", "model['w']", "int64")
    for rank in (0, 2):
        assert "rank 1" in told[rank][1]


def test_a_read_only_model_will_do_if_nothing_is_written_into_it(constructions):
    assert constructions[0]["read-only, not written"] == [[[], ""]] * RANKS


def test_after_all_these_refusals_an_averager_can_be_made(constructions):
    assert constructions[1] == [MEAN_RANK] * RANKS


@pytest.mark.parametrize(
    ("grouping", "kinds"), [("Raising", ["Secret", "RuntimeError"]), ("RaisingWithTwo", ["ValueError"])]
)
def test_what_a_users_grouping_raises_reaches_every_rank(grouping, kinds):
    cases = [everywhere(grouping=grouping), at_rank(1, other_options={"grouping": grouping})]
    ran = pool.run(RANKS, "ranks.errors:construct", cases=cases)
    for rank in ran:
        assert rank["afterwards"] == MEAN_RANK
        for told in rank["told"]:
            assert told[0], "no rank may get an averager"
            assert "no groups today" in told[1]
    assert set(ran[1]["told"][1][0]) & set(kinds)


def test_what_is_no_intracommunicator_is_refused_where_it_is_passed():
    ran = pool.run(RANKS, "ranks.errors:misshapen")
    for name in ("None", "a number", "null", "freed", "an intercomm"):
        assert_told(ran[1]["told"][name], "TypeError", "comm is", "intracommunicator", "MPI.COMM_WORLD")
    assert [rank["afterwards"] for rank in ran] == [MEAN_RANK] * RANKS


def test_failing_again_and_again_uses_up_no_communicators():
    for rank in pool.run(2, "ranks.errors:again_and_again", times=2100):
        assert [kinds[0] for kinds in rank["told"]] == ["ValueError"]
        assert rank["afterwards"] == [0.5]


@pytest.mark.skipif(bool(launch.TEST_HOSTS), reason="each of the averagers measures the network of hosts")
def test_dropping_averagers_again_and_again_uses_up_nothing():
    # Under a filter that makes warnings errors, Python prints what __del__ raises.
    for rank in launch.run(2, "ranks.errors:dropped_again_and_again", times=1100):
        assert rank["afterwards"] == [0.5]


def test_ranks_that_span_hosts_can_have_no_shared_window():
    for rank in pool.run(RANKS, "ranks.errors:spanning", env=launch.apart("2")):
        assert_told(
            rank["told"],
            "ValueError",
            "window='shared'",
            "4 ranks",
            "2 hosts",
            "'remote'",
            "COMM_TYPE_SHARED",
        )
        assert rank["afterwards"] == MEAN_RANK


# Shared memory.


def test_all_ranks_are_told_of_a_host_that_has_too_little():
    for rank in pool.run(RANKS, "ranks.errors:small_host", env=launch.apart("2")):
        assert_told(rank["told"], "MemoryError", "2 ranks", "100000 free", "/dev/shm")
        assert rank["afterwards"] == MEAN_RANK


ON_ONE_HOST = pytest.mark.skipif(
    bool(launch.TEST_HOSTS), reason="about the shared memory of all ranks together"
)


@ON_ONE_HOST
def test_ranks_that_were_spawned_average_with_those_that_spawned_them(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        """
import os, sys
import numpy as np
from mpi4py import MPI
from wagma_rma import GroupAverager
parent = MPI.Comm.Get_parent()
if parent == MPI.COMM_NULL:
    comm = MPI.COMM_WORLD.Spawn(sys.executable, [os.path.abspath(__file__)], maxprocs=2).Merge(False)
else:
    comm = parent.Merge(True)
model = np.full(5, float(comm.rank))
for window in ("auto", "remote"):
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": 3, "timeout": 60}
    with GroupAverager(comm, model, broadcast=False, window=window, **options) as averager:
        assert (averager.average(model) == (comm.size - 1) / 2).all()
print("right", flush=True)
"""
    )
    code, output = launch.Ranks(2, [sys.executable, str(program)]).wait(120)
    assert (code, output.count("right")) == (0, 4), output


@ON_ONE_HOST
def test_too_little_shared_memory_is_noticed_before_any_is_taken():
    for rank in pool.run(RANKS, "ranks.errors:pretend_small"):
        need = RANKS * rank["each"]
        assert_told(rank["told"], "MemoryError", "100000 free", "/dev/shm", "--shm-size", "smaller model")
        numbers = [int(digits) for digits in re.findall(r"\d+", rank["told"][1])]
        # MPI may want some more for itself.
        assert any(need <= number <= need + 1_000_000 for number in numbers), rank["told"][1]
        # MPI takes some kilobytes for the communicator.
        assert rank["held"] < 50_000
        assert rank["unknown"] == rank["afterwards"] == MEAN_RANK


def test_a_rank_without_memory_of_its_own_is_told_of_on_every_rank():
    for rank in pool.run(RANKS, "ranks.errors:no_memory_at_rank_1", floats=100_000):
        assert_told(rank["told"], "MemoryError", "Protocol: no memory left")
        assert rank["held"] < 50_000
        assert rank["afterwards"] == MEAN_RANK


@pytest.fixture
def small_shared_memory(tmp_path, monkeypatch):
    """Give the ranks a /dev/shm of 32 MiB of their own."""
    script = tmp_path / "mpiexec"
    inside = 'mount -t tmpfs -o size=32m tmpfs /dev/shm && exec "$0" "$@"'
    script.write_text(f"#!/bin/sh\nexec unshare -m sh -c '{inside}' {launch.mpiexec()} \"$@\"\n")
    script.chmod(0o755)
    tried = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-m", "sh", "-c", tried], capture_output=True).returncode
    ):
        pytest.skip("may not mount a /dev/shm of its own (needs unshare and root)")
    monkeypatch.setattr(launch, "mpiexec", lambda: str(script))


@ON_ONE_HOST
def test_windows_that_do_not_fit_into_a_small_dev_shm_are_refused(small_shared_memory):
    for rank in launch.run(RANKS, "ranks.errors:really_small", floats=200_000):
        assert rank["free"] <= 32 << 20 < RANKS * rank["each"]
        assert_told(rank["told"], "MemoryError", f"{rank['each']} each", "/dev/shm has ", " free")
        assert rank["taken"] < 50_000
        assert rank["afterwards"] == MEAN_RANK


@pytest.mark.parametrize("function", ["pretend_small", "no_memory_at_rank_1"])
def test_what_is_refused_leaves_nothing_in_dev_shm(small_shared_memory, function):
    arguments = {"floats": 20_000} if function == "no_memory_at_rank_1" else {}
    for rank in launch.run(RANKS, f"ranks.errors:{function}", **arguments):
        assert_told(rank["told"], "MemoryError")
        assert rank["taken"] < 50_000
        assert rank["afterwards"] == MEAN_RANK


@ON_ONE_HOST
def test_windows_that_hardly_fit_into_dev_shm_can_be_used_or_are_refused(small_shared_memory):
    slacks = list(range(0, 100, 4))
    for rank in launch.run(RANKS, "ranks.errors:hardly_enough", floats=20_000, slacks=slacks):
        for told, mean in rank:
            if told == [[], ""]:
                assert mean == MEAN_RANK
            else:
                assert_told(told, "MemoryError", "/dev/shm", "free")
        assert rank[-1][1] == MEAN_RANK, "390 kB are more than MPI needs for itself"


@ON_ONE_HOST
def test_dev_shm_that_is_full_later_hurts_no_averager_that_has_been_made(small_shared_memory):
    for mean in launch.run(RANKS, "ranks.errors:filled_later", floats=50_000):
        assert mean == MEAN_RANK


# Steps.

WRONG_STEPS = {
    ("model", "extra leaf"): ("ValueError", "model['z'] is not in the model"),
    ("model", "extra leaf before"): ("ValueError", "model['a'] is not in the model"),
    ("model", "missing leaf"): ("ValueError", "model['w'] is missing"),
    ("model", "missing leaf before"): ("ValueError", "model['b'][0] is missing"),
    ("model", "other name"): ("ValueError", "model['v'] is not in the model"),
    ("model", "longer list"): ("ValueError", "model['b'][1] is not in the model"),
    ("model", "shorter list"): ("ValueError", "model['b'][0] is missing"),
    ("model", "leaf for list"): ("ValueError", "model['b']", "structure"),
    ("model", "list for leaf"): ("ValueError", "model['w'][0]", "structure"),
    ("model", "list for dict"): ("ValueError", "model[0][0]", "structure"),
    ("model", "array alone"): ("ValueError", "model is not in", "structure"),
    ("model", "nothing"): ("ValueError", "model['b'][0] is missing"),
    ("model", "None"): ("ValueError", "model is not in", "structure"),
    ("model", "other shape"): ("ValueError", "model['w'] is float32[3, 2]", "float32[2, 3]"),
    ("model", "other rank"): ("ValueError", "model['w'] is float32[6]", "float32[2, 3]"),
    ("model", "other dtype"): ("ValueError", "model['w'] is float64[2, 3]", "float32[2, 3]"),
    ("model", "integers"): ("TypeError", "model['w'] has dtype int32"),
    ("model", "float"): ("TypeError", "model['w'] is a float", "numpy array"),
    ("model", "other-endian"): ("TypeError", "model['b'][0]", "byte order"),
    ("out", "read-only"): ("ValueError", "out['b'][0] is read-only", "out=None"),
    ("out", "missing leaf"): ("ValueError", "out['w'] is missing"),
    ("out", "extra leaf"): ("ValueError", "out['z'] is not in the model"),
    ("out", "other shape"): ("ValueError", "out['w'] is float32[3, 2]", "float32[2, 3]"),
    ("out", "other dtype"): ("ValueError", "out['w'] is float64[2, 3]", "float32[2, 3]"),
    ("out", "other container"): ("ValueError", "out[0][0]", "structure"),
    ("out", "array alone"): ("ValueError", "out is not in", "structure"),
    ("out", "float"): ("TypeError", "out['w'] is a float", "numpy array"),
}


def step_ids(case):
    return f"{case[0]}: {case[1]}"


@pytest.fixture(scope="module")
def wrong_group_steps():
    return pool.run(3, "ranks.errors:wrong_group_steps")


@pytest.mark.parametrize("case", WRONG_STEPS, ids=step_ids)
def test_a_wrong_model_at_a_group_step_is_refused_where_it_comes(wrong_group_steps, case):
    which, what = case
    kind, *parts = WRONG_STEPS[case]
    assert_told(wrong_group_steps[1]["told"][which][what], kind, "average: ", *parts)


def test_a_refused_group_step_does_not_count_and_the_others_go_on(wrong_group_steps):
    refused, others = wrong_group_steps[1], (wrong_group_steps[0], wrong_group_steps[2])
    assert refused["steps"] == [2, 2, 6]
    assert refused["same_report"]
    assert refused["untouched"] == [0.0]
    for rank in others:
        assert rank["steps"] == [5, 6]
    for rank in wrong_group_steps:
        assert rank["mean"] == [1.0]
        assert rank["counted"] == [6, 1]


@pytest.fixture(scope="module")
def wrong_synchronizations():
    return pool.run(3, "ranks.errors:wrong_synchronizations", culprit=1)


@pytest.mark.parametrize("case", WRONG_STEPS, ids=step_ids)
def test_a_wrong_model_at_a_synchronisation_is_refused_on_every_rank(wrong_synchronizations, case):
    which, what = case
    kind, *parts = WRONG_STEPS[case]
    for number, rank in enumerate(wrong_synchronizations):
        told = rank["told"][which][what]
        assert_told(told, kind, "average: ", *parts)
        assert number == 1 or "rank 1" in told[1]


def test_a_refused_synchronisation_does_not_count_and_can_be_tried_again(wrong_synchronizations):
    for rank in wrong_synchronizations:
        assert rank["steps"] == [2, 6]
        assert rank["mean"] == rank["later"] == [1.0]
        assert rank["counted"] == [3, 1]


def test_two_ranks_that_are_wrong_are_told_their_own_errors():
    ran = pool.run(3, "ranks.errors:two_culprits")
    assert_told(ran[1]["told"], "ValueError", "synchronize: model is not in")
    assert_told(ran[2]["told"], "ValueError", "synchronize: model['w'] is float32[1]")
    assert_told(ran[0]["told"], "ValueError", "synchronize: model is not in", "rank 1")
    assert [rank["mean"] for rank in ran] == [[1.0]] * 3


def test_after_a_refused_synchronize_come_group_steps_up_to_the_next():
    ran = pool.run(3, "ranks.errors:refused_then_group_steps")
    for number, rank in enumerate(ran):
        for culprit, told in zip((2, 0), rank["told"], strict=True):
            assert_told(told, "ValueError", "synchronize: model is not in")
            assert number == culprit or f"rank {culprit}" in told[1]
        assert rank["steps"] == [1, 4]
        assert rank["outcomes"][0] in ("FRESH", "LATE")
        assert rank["outcomes"][1] == "SYNCHRONIZED"
        assert rank["mean"] == [1.0]


@pytest.mark.parametrize("quorum", [1, 3])
def test_a_rank_that_is_slow_to_leave_a_refused_synchronize_is_waited_for(quorum):
    for rank in pool.run(3, "ranks.errors:slow_to_hear_of_a_refusal", quorum=quorum):
        assert_told(rank["told"], "ValueError", "synchronize: model is not in")
        assert rank["mean"] == [1.0]
        assert rank["step"] == 4


def test_after_a_refused_synchronize_ranks_may_not_part():
    ran = pool.run(3, "ranks.errors:refused_then_parted")
    for rank in ran:
        assert_told(rank["refused"], "ValueError")
        assert_told(rank["told"], "StepMismatch")
        assert rank["afterwards"] == [1.0]


@pytest.mark.parametrize("comes_with", ["right", "wrong"])
def test_a_synchronisation_under_way_is_taken_up_with_a_right_model_only(comes_with):
    ran = pool.run(3, "ranks.errors:back_in_the_middle", comes_with=comes_with)
    for told, missing in zip(ran[0]["told"], ["rank 2 (at step 0;", "rank 1 (at step 1;"], strict=False):
        assert_told(told, "SynchronizationTimeout", missing)
    if comes_with == "wrong":
        assert_told(ran[0]["told"][-1], "ValueError", "model['w'] is float32[3, 2]")
    for rank in ran:
        assert rank["mean"] == [1.0]
        assert rank["step"] == 1


# The number of attempts has a field of 24 bits in the word that ranks wait for.
@pytest.mark.parametrize("refusals", [0, 1, 1100])
def test_nobody_leaves_a_synchronisation_before_all_have_published(refusals):
    for rank in pool.run(2, "ranks.errors:slow_to_publish", refusals=refusals):
        assert rank["seconds"] >= 0.4
        assert max(rank["ages"]) <= 1, "a model from before the synchronisation"
        assert rank["step"] == 3


@pytest.mark.parametrize("made_for", ["list", "tuple", "dict"])
def test_other_containers_of_the_same_leaves_are_another_structure(made_for):
    for rank in pool.run(2, "ranks.errors:other_containers"):
        for come_with in ("list", "tuple", "dict"):
            told = rank[f"{come_with} for {made_for}"]
            if come_with == made_for:
                assert told == [[], ""]
            else:
                assert_told(told, "ValueError", "average: ", come_with, made_for)


def test_steps_end_before_their_number_outgrows_its_words():
    for rank in pool.run(2, "ranks.errors:last_step"):
        assert rank["first"] == [0.5]
        kinds, message = rank["told"]
        assert kinds
        assert "TimeoutError" not in kinds, message
        assert str((1 << 36) - 1) in message


# The end, and use at the wrong time.


def test_a_closed_averager_refuses_steps_but_still_tells_what_was():
    for number, rank in enumerate(pool.run(3, "ranks.errors:closed")):
        for name, told in rank["told"].items():
            assert_told(told, "RuntimeError", f"{name.split()[0]}: ", "closed", "make a new one")
        assert rank["again"] == ([[], ""] if number == 0 else None), "closing twice does nothing"
        assert [rank["step"], rank["steps"]] == [1, 1]
        assert rank["report"] in ("FRESH", "LATE")
        assert_told(rank["context"], "RuntimeError", "average: ", "closed")
        assert rank["afterwards"] == [1.0]


def test_an_exception_leaves_the_with_block_without_waiting_for_the_others():
    ran = pool.run(3, "ranks.errors:leaving_with_an_error")
    # The others came to their end only when this rank had left; a wait for them would have timed out at 60 s.
    assert ran[1]["seconds"] < 30
    assert_told(ran[1]["told"], "RuntimeError", "can't go on after an error", "the user's own")
    for number in (0, 2):
        assert_told(ran[number]["told"], "RankLeft", 'rank 1 has left (KeyError: "the user\'s own")')
    for rank in ran:
        assert rank["closed"] == [[[], ""]] * 2, "nobody waits in close() either"
        assert rank["afterwards"] == [1.0]


def test_a_second_thread_is_refused_while_the_first_waits():
    ran = pool.run(3, "ranks.errors:two_threads")
    told = ran[0]["told"]
    for name in ("average", "synchronize", "close"):
        assert_told(told[name], "RuntimeError", f"{name}: ", "rank 0", "two threads")
    assert told["report"] == told["statistics"] == [[], ""]
    assert told["step"] == 0
    assert [rank["mean"] for rank in ran] == [[1.0]] * 3


@pytest.mark.parametrize("automatic", [False, True])
@pytest.mark.parametrize("early", [[0, 1], [0, 1, 2], [3]], ids=str)
def test_synchronising_at_different_steps_is_an_error_on_every_rank(early, automatic):
    for number, rank in enumerate(
        pool.run(RANKS, "ranks.errors:other_steps", early=early, automatic=automatic)
    ):
        mine, other = ("2", "4") if number in early else ("4", "2")
        name = "average" if automatic and number not in early else "synchronize"
        assert_told(
            rank["told"], "StepMismatch", f"{name}: ", f"while rank {number} synchronises", "same step"
        )
        said = [f"synchronises step {other} while rank {number} synchronises step {mine}"]
        if number in early:
            # It may also catch another on its way, in the group step that the two differ about.
            said.append(f"averages at step {mine} while rank {number} synchronises it")
        assert any(text in rank["told"][1] for text in said), rank["told"][1]
        assert "RuntimeError" in rank["told"][0]
        assert rank["step"] == int(mine) - 1
        for again, told in rank["later"].items():
            assert_told(told, "RuntimeError", f"{again}: ", "can't go on", "synchronises ", "close it")
        assert_told(rank["closed"], "RuntimeError", "is closed")
        assert rank["afterwards"] == MEAN_RANK


@pytest.mark.parametrize("late", [False, True])
def test_synchronising_while_others_wait_for_a_quorum_is_an_error_on_every_rank(late):
    ran = pool.run(3, "ranks.errors:quorum_and_synchronize", late=late)
    for rank in ran:
        assert_told(rank["told"], "RuntimeError", "step 1")


def test_closing_while_others_wait_for_a_quorum_is_an_error_on_these():
    ran = pool.run(3, "ranks.errors:quorum_and_close")
    for rank in ran[1:]:
        assert_told(rank["told"], "RuntimeError", "average: ", "rank 0", "closed")
    assert_closed(ran, first=0)


def test_closing_while_others_synchronise_is_an_error_on_these():
    ran = pool.run(3, "ranks.errors:closing_early")
    for number, rank in enumerate(ran):
        if number != 1:
            assert_told(rank["told"], "RuntimeError", "rank 1 has closed", f"rank {number}", "step 1")
            assert_told(rank["later"], "RuntimeError", "can't go on", "rank 1 has closed")
    assert_closed(ran, first=1)


def test_closing_after_having_arrived_is_an_error_on_those_who_still_synchronise():
    ran = pool.run(3, "ranks.errors:closing_after_arriving")
    for rank in ran[1:]:
        assert_told(rank["told"], "StepMismatch", "closed", "step 1")
    assert_closed(ran, first=0)


def test_after_a_close_that_was_cut_short_only_close_is_served():
    ran = pool.run(3, "ranks.errors:cut_short_closing")
    told = ran[0]["told"]
    assert_told(told["close"], "SynchronizationTimeout", "close: ", "rank 1", "rank 2")
    assert_told(told["average"], "RuntimeError", "average: ", "clos")
    assert_told(told["synchronize"], "RuntimeError", "synchronize: ", "clos")
    assert "StepMismatch" not in told["synchronize"][0]
    assert [rank["afterwards"] for rank in ran] == [[1.0]] * 3


def test_what_is_broken_is_closed_without_waiting():
    ran = pool.run(3, "ranks.errors:broken_and_cut_short_closing")
    for number in (0, 2):
        told = ran[number]["told"]
        assert told["close"] == [[], ""]
        assert_told(told["average"], "RuntimeError", "average: this averager is closed")
    assert [rank["afterwards"] for rank in ran] == [[1.0]] * 3


# Waiting.


@pytest.fixture(scope="module")
def absent():
    return pool.run(RANKS, "ranks.errors:absent")


def test_a_timeout_names_the_missing_rank_and_the_step_it_has_reached(absent):
    for number, rank in enumerate(absent[:3]):
        assert len(rank["told"]) == 2
        for told in rank["early"] + rank["told"]:
            assert_told(told, "TimeoutError", f"synchronize: rank {number} at step 4", "rank 3 (at step 3;")
            assert_told(told, "SynchronizationTimeout", "timeout is 0.5 s", "call again")
        for told in rank["told"]:
            for present in EVERYWHERE[:3]:
                assert present == number or f"rank {present}" not in told[1]
        # The absent rank came only after these.
        assert all(0.5 <= seconds < 30 for seconds in rank["took"])
    assert absent[3]["told"] == []


def test_calling_again_after_a_timeout_goes_on_waiting_and_gives_the_exact_mean(absent):
    for rank in absent:
        assert rank["mean"] == MEAN_RANK
        assert rank["in place"]
        assert rank["step"] == 4
        assert rank["outcome"] == "SYNCHRONIZED"


def test_close_times_out_too_and_can_be_called_again():
    ran = pool.run(3, "ranks.errors:absent_at_the_end")
    for number, rank in enumerate(ran):
        *timeouts, last = rank["told"]
        assert last == [[], ""]
        assert bool(timeouts) == (number != 2)
        for told in timeouts:
            assert_told(
                told, "SynchronizationTimeout", f"close: rank {number}", "rank 2 (at step 1;", "0.3 s"
            )
        assert_told(rank["afterwards"], "RuntimeError", "closed")


@pytest.fixture(scope="module")
def absent_from_a_group():
    return pool.run(2, "ranks.errors:absent_from_a_group")


def test_waiting_for_a_quorum_times_out_and_counts_as_missed(absent_from_a_group):
    waiting = absent_from_a_group[0]
    assert_told(waiting["told"], "SynchronizationTimeout", "average: rank 0 at step 2", "rank 1 (at step 1;")
    assert waiting["report"] == ["MISSED", 2]
    assert waiting["step"] == 2
    assert waiting["model"] == [3.0], "in place, the model stays as it came"
    assert_told(waiting["again"], "SynchronizationTimeout", "average: rank 0 at step 3")
    assert waiting["out"] == [3.0]
    assert waiting["missed"] == 3


def test_after_a_quorum_that_never_came_both_go_on(absent_from_a_group):
    for rank in absent_from_a_group:
        assert rank["group mean"] == rank["mean"] == [0.5]
        assert rank["outcome"] == "FRESH"


def test_an_output_that_is_not_contiguous_gets_the_model_too_when_a_quorum_never_came(absent_from_a_group):
    assert absent_from_a_group[0]["strided"] == [3.0]


def test_a_quorum_that_never_came_is_not_said_to_be_waited_for_by_the_next_call(absent_from_a_group):
    # The step is over, so the next call does the next one.
    assert "call again to go on waiting" not in absent_from_a_group[0]["told"][1]


def test_whoever_waits_is_warned_of_the_missing_again_and_again():
    ran = pool.run(3, "ranks.errors:warned")
    for number, rank in enumerate(ran):
        assert rank["default"] == 30
        for during, missing, warned in (("synchronize", 2, (0, 1)), ("close", 0, (1, 2))):
            records = rank[during]
            assert len(records) >= 2 if number in warned else records == []
            earlier = 0.0
            for level, message, elapsed in records:
                assert level == "WARNING"
                assert message.startswith(f"{during}: rank {number}")
                assert f"for rank {missing} (at step {1 if during == 'synchronize' else 2};" in message
                waited = float(re.search(r"waited (\d+\.\d) s", message)[1])
                # Said with one digit, of a wait that began after the clock of `elapsed`.
                assert earlier + 0.05 < waited <= elapsed + 0.06
                earlier = waited


@pytest.fixture(scope="module")
def control_c():
    return pool.run(3, "ranks.errors:control_c")


@pytest.mark.parametrize("wait", ["synchronize", "average", "close"])
def test_control_c_gets_through_a_wait_at_once(control_c, wait):
    seconds, came = control_c[0][wait]
    # The others come only when it is through.
    assert came == "KeyboardInterrupt"
    assert seconds < 30


def test_after_control_c_the_same_call_completes(control_c):
    assert control_c[0]["after synchronize"] == 0, "an interrupted synchronisation doesn't count"
    assert control_c[0]["after average"] == [2, "MISSED"], "an interrupted group step does"
    assert control_c[0]["model"] == [3.0]
    for rank in control_c:
        assert rank["mean"] == rank["group mean"] == [1.0]
        assert rank["outcome"] == "FRESH"
        assert_told(rank["closed"], "RuntimeError", "closed")


def test_control_c_gets_through_while_others_have_yet_to_make_their_averagers():
    ran = pool.run(3, "ranks.errors:control_c_at_construction")
    seconds, came = ran[0]["told"]
    # The others come only when it is through.
    assert came == "KeyboardInterrupt"
    assert seconds < 30
    assert [rank["afterwards"] for rank in ran] == [[1.0]] * 3


def test_control_c_at_any_moment_of_a_synchronisation_loses_nothing():
    seed, enough = 1, 10
    options = {"rounds": 60, "floats": 1_000_000, "enough": enough, "most": 600}
    ran = pool.run(2, "ranks.errors:control_c_anywhere", seed=seed, **options)
    assert ran[0]["came"] >= enough, "hardly a synchronisation was interrupted"
    assert [rank["wrong"] for rank in ran] == [[], []], f"seed {seed}"


# Numbers like any other.


def test_nan_and_infinity_are_averaged_like_any_number():
    for rank in pool.run(RANKS, "ranks.errors:not_finite"):
        assert len(rank) == 8
        for case, found in rank.items():
            assert found == ["nan", "inf", "nan", "1.0"], case


def test_a_start_that_is_not_finite_is_everyones_start():
    assert pool.run(RANKS, "ranks.errors:start_is_not_finite") == [["nan", "inf", "1.0"]] * RANKS
