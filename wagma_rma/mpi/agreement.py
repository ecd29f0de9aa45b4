"""Raising the same error on all ranks: what one rank finds wrong, and what ranks disagree on."""

import builtins
from typing import Any, NoReturn

from mpi4py import MPI

from wagma_rma.waiting.waiter import Waiter

Facts = dict[str, Any]
Told = tuple[str, str]  # an error's type by name, and its text: what can be sent of any error


def tell(error: Exception) -> Told:
    """Return what to send of an error to other ranks."""
    return type(error).__name__, str(error)


def raise_told(told: Told, rank: int, mine: Exception | None) -> NoReturn:
    """Raise the error that `rank` found, here as there; a rank that found one itself raises its own."""
    if mine is not None:
        raise mine
    name, text = told
    message = f"{text} [found at rank {rank}]"
    kind = getattr(builtins, name, None)
    if kind in (TypeError, ValueError, RuntimeError, MemoryError, NotImplementedError):
        raise kind(message)
    raise RuntimeError(f"{name}: {message}")


def agree(comm: MPI.Intracomm, operation: str, found: Facts | Exception) -> list[Facts]:
    """Exchange facts, and return those of all ranks if they are alike. Collective.

    Args:
        found: facts by name, or what this rank found wrong instead. A fact "leaves" is a list of
            (path, dtype, shape), which is compared leaf by leaf.

    Raises:
        ValueError: ranks disagree; says which rank, what, and both values. On every rank.
        Exception: the error of the lowest rank that found one, on every rank; at others than those that found
            one it is a RuntimeError if it isn't of a common built-in type.
    """
    # Ctrl-C gets through this wait for the others; what follows takes no time.
    Waiter().wait_for(comm.Ibarrier().Test, 100e-6)  # MPI moves only while it is being asked
    mine = found if isinstance(found, Exception) else None
    all_found = comm.allgather(found if mine is None else tell(mine))
    for rank, theirs in enumerate(all_found):
        if isinstance(theirs, tuple):
            raise_told(theirs, rank, mine)
    first = all_found[0]
    for rank, theirs in enumerate(all_found):
        for name, value in theirs.items():
            if value != first[name]:
                raise ValueError(f"{operation}: {_difference(name, rank, value, first[name])}")
    return all_found


def _difference(name: str, rank: int, value: Any, first: Any) -> str:
    if name != "leaves":
        return f"{name} is {value!r} at rank {rank} but {first!r} at rank 0; pass the same at every rank"
    cure = "average the same model at every rank"
    for (path, dtype, shape), (first_path, first_dtype, first_shape) in zip(value, first, strict=False):
        if path != first_path:
            return f"rank {rank} has the leaf {path} where rank 0 has {first_path}; {cure}"
        if (dtype, shape) != (first_dtype, first_shape):
            return (
                f"{path} is {dtype}{list(shape)} at rank {rank} but {first_dtype}{list(first_shape)} "
                f"at rank 0; {cure}"
            )
    return f"the model has {len(value)} leaves at rank {rank} but {len(first)} at rank 0; {cure}"
