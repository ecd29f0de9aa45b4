"""Checks of the arguments that all groupings have in common."""

import operator
from collections.abc import Sequence
from typing import Any


def integer(name: str, value: Any) -> int:
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{name}={value!r} is not an integer; pass an int")


def checked_size(ranks: Any, size: Any) -> tuple[int, int]:
    ranks, size = integer("ranks", ranks), integer("group_size", size)
    if ranks < 1:
        raise ValueError(f"ranks={ranks} is smaller than 1; pass the size of a communicator")
    if not 1 <= size <= ranks:
        fault = "smaller than 1" if size < 1 else f"larger than the communicator ({ranks} ranks)"
        raise ValueError(f"group_size={size} is {fault}; pass group_size between 1 and {ranks}")
    return ranks, size


def checked_hosts(hosts: Any, ranks: int) -> tuple[int, ...] | None:
    if hosts is None:
        return None
    if not isinstance(hosts, Sequence):
        raise TypeError(f"hosts={hosts!r} is not a sequence; pass the number of each rank's host")
    if len(hosts) != ranks:
        fault = f"has {len(hosts)} numbers, one for each rank would be {ranks}"
        raise ValueError(f"hosts {fault}; pass the number of each rank's host")
    return tuple(integer(f"hosts[{rank}]", host) for rank, host in enumerate(hosts))


def checked_rank(rank: Any, step: int, ranks: int) -> int:
    number = operator.index(rank)
    if not 0 <= number < ranks:
        fault = f"is outside the communicator; pass rank between 0 and {ranks - 1}"
        raise ValueError(f"rank={number} {fault}")
    if step < 1:
        raise ValueError(f"step={step} is before the first; pass step of at least 1")
    return number
