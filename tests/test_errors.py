"""Wrong use on real ranks: every rank is told what is wrong, where, and what to do; nobody is left hanging."""

import json
import math
import shutil
import subprocess
import sys

import launch
import pytest

RANKS = 4
EVERYWHERE = list(range(RANKS))
MEAN_RANK = [(RANKS - 1) / 2]


def assert_told(told, kind, *parts):
    """Check that a call raised an exception of a class (by name) whose message has all these parts."""
    kinds, message = told
    assert kind in kinds, f"{kinds[:1]}: {message}"
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"


# Construction: all cases in one launch, [model, options, other model, other options, ranks of the other].

WRONG_OPTIONS = {
    "group_size 0": ({"group_size": 0}, "ValueError", "between 1 and 4"),
    "group_size -1": ({"group_size": -1}, "ValueError", "between 1 and 4"),
    "group_size 5": ({"group_size": 5}, "ValueError", "(4 ranks)", "between 1 and 4"),
    "group_size 2.0": ({"group_size": 2.0}, "TypeError", "2.0", "integer"),
    "group_size True": ({"group_size": True}, "TypeError", "True", "integer"),
    "group_size '2'": ({"group_size": "2"}, "TypeError", "'2'", "integer"),
    "sync_period 0": ({"sync_period": 0}, "ValueError", "sync_period=0", "between 1 and"),
    "sync_period -3": ({"sync_period": -3}, "ValueError", "sync_period=-3", "between 1 and"),
    # A snapshot's counter of pins has 20 bits.
    "sync_period 2^20": ({"sync_period": 1 << 20}, "ValueError", "sync_period=1048576", "524287"),
    "sync_period 1.5": ({"sync_period": 1.5}, "TypeError", "sync_period=1.5", "integer"),
    "sync_period None": ({"sync_period": None}, "TypeError", "sync_period=None", "integer"),
    "sync_period True": ({"sync_period": True}, "TypeError", "sync_period=True", "integer"),
    "quorum 0": ({"quorum": 0}, "ValueError", "quorum=0", "between 1 and group_size=2"),
    "quorum -1": ({"quorum": -1}, "ValueError", "quorum=-1", "between 1 and group_size=2"),
    "quorum 3 of 2": ({"quorum": 3}, "ValueError", "quorum=3", "between 1 and group_size=2"),
    "quorum 1.0": ({"quorum": 1.0}, "TypeError", "quorum=1.0", "integer"),
    "quorum 'all'": ({"quorum": "all"}, "TypeError", "quorum='all'", "integer"),
    "patience -0.1": ({"patience": -0.1}, "ValueError", "patience=-0.1", "'auto'"),
    "patience nan": ({"patience": math.nan}, "ValueError", "patience=nan", "'auto'"),
    "patience inf": ({"patience": math.inf}, "ValueError", "patience=inf", "'auto'"),
    "patience 'fast'": ({"patience": "fast"}, "TypeError", "patience='fast'", "'auto'", "seconds"),
    "patience True": ({"patience": True}, "TypeError", "patience=True", "'auto'"),
    "patience None": ({"patience": None}, "TypeError", "patience=None", "'auto'"),
    "patience list": ({"patience": [1, 2]}, "TypeError", "patience=[1, 2]", "'auto'"),
    "patience 10^400": ({"patience": 10**400}, "ValueError", "patience=1000", "'auto'"),
    "start_step -1": ({"start_step": -1}, "ValueError", "start_step=-1", "0 to"),
    "start_step 2^36": ({"start_step": 1 << 36}, "ValueError", f"start_step={1 << 36}", "0 to"),
    "start_step 1.0": ({"start_step": 1.0}, "TypeError", "start_step=1.0", "integer"),
    "start_step None": ({"start_step": None}, "TypeError", "start_step=None", "integer"),
    "timeout 0": ({"timeout": 0}, "ValueError", "timeout=0", "above 0", "None"),
    "timeout -1": ({"timeout": -1.0}, "ValueError", "timeout=-1.0", "above 0", "None"),
    "timeout nan": ({"timeout": math.nan}, "ValueError", "timeout=nan", "above 0", "None"),
    "timeout inf": ({"timeout": math.inf}, "ValueError", "timeout=inf", "above 0", "None"),
    "timeout '30'": ({"timeout": "30"}, "TypeError", "timeout='30'", "seconds", "None"),
    "timeout False": ({"timeout": False}, "TypeError", "timeout=False", "None"),
    "group_size with a grouping of another": (
        {"group_size": 4, "grouping": "Partition"}, "ValueError", "group_size=4", "grouping", "2"
    ),
}  # fmt: skip

WRONG_MODELS = {
    "int64": ("TypeError", "model['w']", "int64", "convert"),
    "uint8": ("TypeError", "model['w']", "uint8", "convert"),
    "complex": ("TypeError", "model['w'][1]", "complex64", "convert"),
    "bool": ("TypeError", "model['w']", "bool", "convert"),
    "object": ("TypeError", "model['w']", "object", "convert"),
    "text": ("TypeError", "model['w']", "str", "convert"),
    "date": ("TypeError", "model['w']", "datetime64", "convert"),
    "longdouble": ("TypeError", "model['w']", "longdouble", "convert"),
    "float": ("TypeError", "model['w'][1] is a float", "numpy array"),
    "numpy scalar": ("TypeError", "model['w'] is a float32", "np.asarray"),
    "None": ("TypeError", "model['w'] is a NoneType", "numpy array"),
    "string": ("TypeError", "model is a str", "numpy array"),
    "other-endian float": ("TypeError", "model['w']", "byte order", "astype"),
    "other-endian int": ("TypeError", "model['w']", "byte order"),
    "read-only": ("ValueError", "model['b'][0] is read-only", "broadcast=True", "copy"),
}

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
    "object",
]

# Options of rank 0, 1 and 3, those of rank 2, and what the message says of both.
DISAGREEMENTS = {
    "group_size": ({"group_size": 2}, {"group_size": 4}, "group_size is 4 at rank 2 but 2 at rank 0"),
    "sync_period": ({"sync_period": 5}, {"sync_period": 6}, "sync_period is 6 at rank 2 but 5 at rank 0"),
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
    ran = launch.run(RANKS, "errors:construct", limit=60, cases=list(CASES.values()))
    told = {name: [rank["told"][i] for rank in ran] for i, name in enumerate(CASES)}
    return told, [rank["afterwards"] for rank in ran]
