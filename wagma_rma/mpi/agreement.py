"""Raises the same error on all ranks, where one rank found an error or where ranks disagree."""

import builtins
from typing import Any, NoReturn

from mpi4py import MPI

from wagma_rma.waiting.waiter import Waiter

Facts = dict[str, Any]
Description = tuple[str, str]  # of an error: the name of its type, and its text; every rank can be sent these


def describe(error: Exception) -> Description:
    """Return a description of an error, to send to other ranks."""
    return type(error).__name__, str(error)


def raise_described(description: Description, rank: int, own: Exception | None) -> NoReturn:
    """Raise the error that `rank` found; a rank that found an error itself (`own`) raises that one."""
    if own is not None:
        raise own
    name, text = description
    message = f"{text} [found at rank {rank}]"
    type_ = getattr(builtins, name, None)
    if type_ in (TypeError, ValueError, RuntimeError, MemoryError, NotImplementedError):
        raise type_(message)
    raise RuntimeError(f"{name}: {message}")


def agree(comm: MPI.Intracomm, operation: str, found: Facts | Exception) -> list[Facts]:
    """Exchange facts, and return the facts of all ranks if all are equal. Collective.

    Args:
        operation: the name that begins the messages of errors.
        found: facts by name, or the error that this rank found instead. A fact "leaves" is a list of
            (path, dtype, shape), which is compared leaf by leaf.

    Raises (on every rank):
        ValueError: ranks disagree; says which rank, what, and both values.
        Exception: the error of the lowest rank that found one. A rank that found an error itself raises its
            own. On the other ranks it is a RuntimeError unless its type is a common built-in one.
    """
    # Ctrl-C can interrupt this wait for the others; the allgather then takes no time.
    Waiter().wait_for(comm.Ibarrier().Test, 100e-6)  # MPI makes progress only while it is called
    own = found if isinstance(found, Exception) else None
    all_found = comm.allgather(found if own is None else describe(own))
    for rank, theirs in enumerate(all_found):
        if isinstance(theirs, tuple):
            raise_described(theirs, rank, own)
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
