"""Whether a rank that is alone in MPI_COMM_WORLD was started as one of several.

A launcher tells its processes by variables of the environment who they are. An MPI that doesn't know the
launcher's variables takes each process for a world of its own.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mpi4py import MPI

from wagma_rma.mpi.abi import abi

NAMES = {"mpich": "MPICH", "openmpi": "Open MPI"}


class Launcher(NamedTuple):
    """How a launcher tells a process that it is one of several."""

    name: str
    mpi: str
    """The ABI whose MPIs know this launcher, a key of NAMES, or "" if the ABI does not tell that."""
    ranks: str
    """The variable that holds the number of ranks; "": there is none."""
    rank: str
    """The variable that holds the rank."""


# The first one whose variables are there counts. A launcher that starts its ranks by another launcher comes
# before it: the ranks have the variables of both. SLURM_NTASKS says nothing: it is the allocation's, and
# a batch script has it too.
LAUNCHERS = (
    Launcher("Open MPI's mpiexec", "openmpi", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    Launcher("MPICH's mpiexec, or a launcher like it,", "mpich", "PMI_SIZE", "PMI_RANK"),
    Launcher("MPICH's mpiexec, or a launcher like it,", "mpich", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
    Launcher("PALS", "mpich", "", "PALS_RANKID"),
    Launcher("a launcher with PMIx", "", "", "PMIX_RANK"),
    Launcher("torchrun", "", "ROLE_WORLD_SIZE", "ROLE_RANK"),
    Launcher("srun", "", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)


def why_lonely(environment: Mapping[str, str], running: str, mpiexec: str) -> str:
    """Return what is wrong if a process that is alone was started as one of several; else "". Local and pure.

    Args:
        environment: its variables.
        running: the ABI of the MPI that runs (wagma_rma.mpi.abi).
        mpiexec: the launcher of that MPI, for the cure.
    """
    for launcher in LAUNCHERS:
        variable = next((name for name in (launcher.ranks, launcher.rank) if name in environment), "")
        if not variable:
            continue
        value = environment[variable]
        if not value.isdecimal():
            return ""
        at_least, ranks = ("", int(value)) if variable == launcher.ranks else ("at least ", int(value) + 1)
        if at_least and ranks == 1:
            continue  # rank 0 of an unknown number of ranks
        if ranks < 2:
            return ""
        why, cure = "was not told of the others", ""
        if launcher.mpi and launcher.mpi != running:
            other = NAMES[launcher.mpi]
            why = f"does not join what {other} starts"
            cure = f", or install {other} in a virtual environment of its own"
        elif launcher.name == "srun":
            cure = ", or choose another of the ways that srun --mpi=list shows"
        return (
            f"{launcher.name} has started {at_least}{ranks} ranks ({variable}={value}), but this one is "
            "alone in its MPI_COMM_WORLD, and so each of them trains alone: "
            f"mpi4py runs on {NAMES[running]}, which {why}. Start the ranks by {mpiexec}{cure}"
        )
    return ""


def check_company(comm: MPI.Intracomm) -> str:
    """Return what is wrong if a communicator's one rank was started as one of several; else "". Local."""
    if comm.size > 1 or MPI.COMM_WORLD.size > 1:
        return ""
    running = abi()
    here = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(here) if here.exists() else f"the mpiexec of {NAMES[running]}"
    return why_lonely(os.environ, running, mpiexec)
