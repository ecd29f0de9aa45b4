"""The options of an averager: what they may be, what ranks must agree on, and the layout they give."""

import math
import operator
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wagma_rma.groups.check import check
from wagma_rma.groups.choice import choose
from wagma_rma.groups.grouping import Grouping
from wagma_rma.groups.schedule import Schedule
from wagma_rma.model.selection import Select, selected
from wagma_rma.model.structure import Structure
from wagma_rma.mpi.agreement import Facts
from wagma_rma.protocol.layout import Layout, most_children
from wagma_rma.protocol.rounds import most_peers
from wagma_rma.protocol.words import MOST_SLOTS, PIN_LIMIT, STEP_LIMIT

# A window has one snapshot more than a turn has groupings, and a word must be able to name each snapshot.
LONGEST_PERIOD = MOST_SLOTS - 2


def _integer(operation: str, name: str, value: object, least: int, most: int, cure: str) -> int:
    """Return an option as an int.

    Raises:
        TypeError, ValueError: it isn't one, or is out of range.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{operation}: {name}={value!r} is not an integer; {cure}") from None
    if not least <= number <= most:
        raise ValueError(f"{operation}: {name}={number} is out of range; {cure}")
    return number


def checked_seconds(operation: str, name: str, value: object, cure: str) -> float:
    """Return a number of seconds, 0 or more.

    Raises:
        TypeError, ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{operation}: {name}={value!r} is not a number of seconds; {cure}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{operation}: {name}={value!r} is out of range; {cure}")
    return seconds


def quorum_of_all(operation: str, value: object, ranks: int) -> int:
    """Return how many of all ranks an option asks for: all (None), a number, or a fraction as a float."""
    cure = f"pass a number of ranks between 1 and {ranks}, a fraction as a float in (0, 1], or None for all"
    if value is None:
        return ranks
    if isinstance(value, float | np.floating):
        if not 0 < value <= 1:
            raise ValueError(f"{operation}: sync_quorum={value!r} is out of range; {cure}")
        return math.ceil(value * ranks)
    return _integer(operation, "sync_quorum", value, 1, ranks, cure)


def _choice(operation: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{operation}: {name}={value!r} is not a str; pass one of {', '.join(choices)}")
    if value not in choices:
        raise ValueError(f"{operation}: {name}={value!r} is unknown; pass one of {', '.join(choices)}")
    return value


def checked_bool(operation: str, name: str, value: object) -> bool:
    """Return an option that is a bool.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{operation}: {name}={value!r} is not a bool; pass True or False")
    return value


def checked_timeout(operation: str, timeout: object) -> float | None:
    """Return a timeout in seconds, or None for none.

    Raises:
        TypeError, ValueError: it is no number of seconds above 0.
    """
    cure = "pass a number of seconds above 0, or None to wait for ever"
    seconds = None if timeout is None else checked_seconds(operation, "timeout", timeout, cure)
    if seconds == 0:
        raise ValueError(f"{operation}: timeout={timeout!r} is out of range; {cure}")
    return seconds


class Options:
    """The options of an averager, checked. Local and pure.

    Attributes:
        trace: where a trace goes, or None; set at rank 0 by who makes the options.

    Args:
        operation: what is being made, for errors.
        hosts: the number of each rank's host, for a grouping that keeps early steps within hosts if
            `topology` says so; None for ranks on one host. A `grouping` that is given stays as it is.

    Raises:
        TypeError, ValueError: an option is wrong; names it, its value, its limits and the cure.
    """

    def __init__(
        self,
        operation: str,
        ranks: int,
        group_size: int | None,
        sync_period: int,
        quorum: int,
        patience: object,
        grouping: Grouping | None,
        start_step: int,
        timeout: float | None,
        hosts: Sequence[int] | None = None,
        topology: object = True,
        window: str = "auto",
        progress: str = "auto",
        sync_quorum: object = None,
        group_period: int = 1,
        overlap: object = False,
    ) -> None:
        self.trace: Path | None = None
        self.topology = checked_bool(operation, "topology", topology)
        self.overlap = checked_bool(operation, "overlap", overlap)
        if grouping is None:
            self.grouping = choose(ranks, group_size, hosts if topology else None)
        else:
            check(grouping, ranks, LONGEST_PERIOD)
            self.grouping = grouping
            if group_size is not None and group_size != grouping.size:
                raise ValueError(
                    f"{operation}: group_size={group_size} contradicts the grouping's size "
                    f"{grouping.size}; pass one of the two"
                )
        size = self.grouping.size
        most = (PIN_LIMIT - 1) // size
        self.sync_period = _integer(
            operation,
            "sync_period",
            sync_period,
            1,
            most,
            f"pass a number of steps between 1 and {most} (groups of {size})",
        )
        self.group_period = _integer(
            operation,
            "group_period",
            group_period,
            1,
            self.sync_period,
            f"pass a number of steps between 1 and sync_period={self.sync_period}",
        )
        self.quorum = _integer(
            operation, "quorum", quorum, 1, size, f"pass a number of ranks between 1 and group_size={size}"
        )
        self.sync_quorum = quorum_of_all(operation, sync_quorum, ranks)
        cure = "pass 'auto' or a number of seconds, 0 or more"
        auto = isinstance(patience, str) and patience == "auto"
        self.patience = -1.0 if auto else checked_seconds(operation, "patience", patience, cure)
        self.start_step = _integer(
            operation,
            "start_step",
            start_step,
            0,
            STEP_LIMIT - 1,
            f"pass the number of steps done before, 0 to {STEP_LIMIT - 1}",
        )
        self.timeout = checked_timeout(operation, timeout)
        self.window = _choice(operation, "window", window, ("auto", "shared", "remote"))
        self.progress = _choice(operation, "progress", progress, ("auto", "thread", "none"))

    def groups(self, rank: int) -> list[tuple[int, ...]]:
        """Return the groups of a rank at group step 1, 2, ... of a full turn."""
        steps = range(1, self.grouping.period + 1)
        return [tuple(map(int, self.grouping.members(rank, step))) for step in steps]

    def facts(self, ranks: int) -> Facts:
        """Return what ranks must agree on."""
        grouping = self.grouping
        name: object = grouping
        if not isinstance(grouping, Schedule):
            table = repr([self.groups(rank) for rank in range(ranks)])
            name = (type(grouping).__name__, grouping.period, zlib.crc32(table.encode()))
        return {
            "group_size": grouping.size,
            "grouping": repr(name),
            "sync_period": self.sync_period,
            "group_period": self.group_period,
            "quorum": self.quorum,
            "sync_quorum": self.sync_quorum,
            "patience": "auto" if self.patience < 0 else self.patience,
            "start_step": self.start_step,
            "timeout": self.timeout,
            "topology": self.topology,
            "window": self.window,
            "progress": self.progress,
        }

    def layout(self, structure: Structure, across_hosts: bool, hosts: int = 1) -> Layout:
        """Return where everything lies in a window for models of this structure, over so many hosts."""
        alone = self.grouping.size == 1
        return Layout(
            structure.dtype_numbers,
            structure.counts,
            self.grouping.size,
            0 if alone else -(-self.sync_period // self.group_period),
            # With fewer, even ranks in time would have to skip publishing while groups of other
            # steps finish.
            max(3, self.grouping.period + 1),
            across_hosts,
            structure.synchronized,
            most_children(hosts),
            most_peers(hosts),
        )


def window_bytes(
    model: Any,
    ranks: int,
    *,
    group_size: int | None = None,
    sync_period: int = 10,
    group_period: int = 1,
    grouping: Grouping | None = None,
    across_hosts: bool = False,
    select_synchronized: Select = None,
) -> int:
    """Return the bytes of window memory that each of `ranks` ranks needs to average `model`.

    These are the snapshots (three, or one more than the groupings in a full turn if that is more), three
    results (in float32 for 16-bit models), and a header. Leaves that are averaged at synchronisations only
    are in none of these: they have two places for sums. Outside the window an averager keeps one more
    private model, whose memory is touched only by steps that can't publish. Across hosts the header is no
    part of shared memory, and chunks on their way from other hosts need private memory too. Local; allocates
    nothing.

    Raises:
        TypeError, ValueError: as GroupAverager does for the same arguments.

    Example, of a model of 4 MB:
        >>> import numpy as np
        >>> round(window_bytes(np.zeros(1_000_000, np.float32), ranks=16) / 4e6, 2)
        6.0
    """
    options = Options(
        "window_bytes",
        ranks,
        group_size,
        sync_period,
        1,
        "auto",
        grouping,
        0,
        None,
        group_period=group_period,
    )
    structure = Structure("window_bytes", model)
    leaves = structure.leaves("window_bytes", model)
    structure.synchronized = selected("window_bytes", select_synchronized, structure, leaves)
    return options.layout(structure, across_hosts).nbytes
