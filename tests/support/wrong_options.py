"""Wrong options of an averager of 4 ranks, and what it says of them, wherever they are noticed."""

import math

# By name: (options, the exception's class, parts of its message). "Partition" is a grouping into pairs.
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
    "topology 1": ({"topology": 1}, "TypeError", "topology=1", "True or False"),
    "topology None": ({"topology": None}, "TypeError", "topology=None", "True or False"),
    "window 'fast'": ({"window": "fast"}, "ValueError", "window='fast'", "auto, shared, remote"),
    "window None": ({"window": None}, "TypeError", "window=None", "auto, shared, remote"),
    "progress 'fast'": ({"progress": "fast"}, "ValueError", "progress='fast'", "auto, thread, none"),
    "progress True": ({"progress": True}, "TypeError", "progress=True", "auto, thread, none"),
    "group_size with a grouping of another": (
        {"group_size": 4, "grouping": "Partition"}, "ValueError", "group_size=4", "grouping", "2"
    ),
}  # fmt: skip
