"""Averagers that were dropped without close(): when their ranks make another one, they give back the memory.

Freeing a window is collective, and garbage is collected on each rank at a time of its own.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple
from uuid import uuid4

from mpi4py import MPI


class _Dropped(NamedTuple):
    ranks: int
    free: Callable[[], None]


_dropped: dict[str, _Dropped] = {}


def new_identity(comm: MPI.Intracomm) -> str:
    """Return a name for an averager, the same on all its ranks and on no other averager. Collective."""
    return str(comm.bcast(uuid4().hex if comm.rank == 0 else None))


def keep(identity: str, ranks: int, free: Callable[[], None]) -> None:
    """Note that this rank has dropped an averager. Local.

    Args:
        identity: of the averager.
        ranks: how many ranks it has.
        free: gives back its memory. Collective.
    """
    _dropped[identity] = _Dropped(ranks, free)


def give_back(comm: MPI.Intracomm) -> None:
    """Give back the memory of averagers that all their ranks have dropped, if all are here. Collective."""
    ranks: dict[str, int] = {}
    holders: Counter[str] = Counter()
    for held in comm.allgather({identity: dropped.ranks for identity, dropped in _dropped.items()}):
        ranks.update(held)
        holders.update(held.keys())
    for identity in sorted(holders):
        if holders[identity] == ranks[identity] and identity in _dropped:
            _dropped.pop(identity).free()
