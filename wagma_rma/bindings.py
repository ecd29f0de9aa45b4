"""What a binding to another framework builds on. jax_bindings imports this module of wagma_rma, and no other.

A binding hands the arrays of a framework's own containers to the numpy averager. Below, `operation` is the
name that errors begin with: that of the binding's own class.

1. `check_mpi(operation, comm)` refuses a communicator that can't be used. Local.
2. `Leaves` is a flat model: numpy arrays by path. The paths are those that users of the framework know, since
   errors name leaves by them. Their order is the binding's, and the same at every rank. `DTYPE_NAMES` says
   which dtypes can be averaged.
3. `agree(comm, operation, found)` raises on every rank what one rank has found wrong. Collective. A binding
   calls it after it has checked its own arguments: otherwise the other ranks would wait, in the constructor
   of the averager, for a rank that has raised an error.
4. `NamedAverager(operation, comm, leaves, **options)` is a GroupAverager. `average(model, out)` performs a
   step on Leaves. `average_at(sources, targets)` performs it on memory that is given by address, or by
   functions that each fetch a leaf when the step needs it. `exchanges_next` is false before a step that
   leaves the model as it is (LOCAL): nothing has to be copied for that. `synchronize` and `synchronize_at`,
   `join` and `join_at` likewise.
5. `Structure(operation, leaves).leaves(operation, model)` checks a model as a step would, without a step.
6. A framework may perform steps on a thread of its own while Python's main thread waits for it in C. Such a
   step stands in a block of `hear_ctrl_c()`, in which Ctrl-C ends its waits.

7. Leaves on a CUDA device are `DeviceLeaves`, which `cuda_copies()` copies straight from and to it, and
   `give_difference()` has the device add what a step has brought, with overlap. `CudaDriver()` raises
   `CudaError` if the driver's library can't be used.

`Report`, `Outcome` and `Statistics` say what came of the steps, `RankTable` and its
`RankStatus` what all ranks do; `timeline` draws a trace. `choose_grouping` returns the grouping that
an averager chooses by default.

One thread at a time may use an averager. A binding to a framework that calls from several needs a lock.
"""

import os
from typing import Any, Literal, TypedDict, Unpack

from mpi4py import MPI

from wagma_rma.averager import GroupAverager
from wagma_rma.devices.cuda import CudaError
from wagma_rma.devices.cuda import Driver as CudaDriver
from wagma_rma.groups.choice import choose as choose_grouping
from wagma_rma.groups.grouping import Grouping
from wagma_rma.kernels.dtypes import NAMES as DTYPE_NAMES
from wagma_rma.model.copies import DeviceLeaves
from wagma_rma.model.selection import Select
from wagma_rma.model.structure import Array, Leaves, Sources, Structure
from wagma_rma.mpi.agreement import Facts, agree
from wagma_rma.opening import check_mpi
from wagma_rma.report import Outcome, Report, Statistics
from wagma_rma.seeing import timeline
from wagma_rma.seeing.ranks import RankStatus, RankTable
from wagma_rma.waiting.ctrl_c import heard as hear_ctrl_c

__all__ = [
    "DTYPE_NAMES",
    "Array",
    "AveragerOptions",
    "CudaDriver",
    "CudaError",
    "DeviceLeaves",
    "Facts",
    "GroupAverager",
    "Grouping",
    "Leaves",
    "NamedAverager",
    "Outcome",
    "RankStatus",
    "RankTable",
    "Report",
    "Sources",
    "Statistics",
    "Structure",
    "agree",
    "check_mpi",
    "choose_grouping",
    "hear_ctrl_c",
    "timeline",
]


class AveragerOptions(TypedDict, total=False):
    """The options of a GroupAverager, for the signature of a binding's class."""

    group_size: int | None
    sync_period: int
    group_period: int
    quorum: int
    patience: float | Literal["auto"]
    sync_quorum: float | None
    overlap: bool
    grouping: Grouping | None
    broadcast: bool
    start_step: int
    timeout: float | None
    topology: bool
    window: Literal["auto", "shared", "remote"]
    progress: Literal["auto", "thread", "none"]
    trace: str | os.PathLike[str] | None


class NamedAverager(GroupAverager):
    """A GroupAverager that a binding has made for its users, whose errors name the binding's class.

    Args:
        operation: the name of that class.
        comm, model, select_synchronized, options: as of GroupAverager.

    Raises: as GroupAverager. Collective.
    """

    def __init__(
        self,
        operation: str,
        comm: MPI.Intracomm,
        model: Any,
        *,
        select_synchronized: Select = None,
        **options: Unpack[AveragerOptions],
    ) -> None:
        for name in options.keys() - AveragerOptions.__annotations__.keys():
            raise TypeError(f"{operation}.__init__() got an unexpected keyword argument {name!r}")
        self._operation = operation  # first: errors about the other arguments name it
        super().__init__(comm, model, select_synchronized=select_synchronized, **options)

    @property
    def exchanges_next(self) -> bool:
        """Whether average() exchanges anything at the next step; at a LOCAL one the model stays as it is.

        average_at() then touches no leaf whose source is its target, whatever address that is. Local.
        """
        return not self._stepper.is_local_next()

    @property
    def synchronizes_next(self) -> bool:
        """Whether average() averages all ranks at the next step. Local."""
        return self._stepper.synchronizes_next()

    @property
    def is_here(self) -> bool:
        """Whether this process has made the averager. In a fork of it every method raises an error."""
        return not self._steps.leaving.is_forked
