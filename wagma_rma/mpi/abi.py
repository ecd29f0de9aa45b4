"""Which ABI the running MPI has, and the table of MPI's functions that is compiled for it."""

import importlib

from mpi4py import MPI

LIBRARIES = {"mpich": "libmpi.so.12", "openmpi": "libmpi.so.40"}


def abi() -> str:
    """Return the ABI of the MPI that mpi4py runs on, a key of LIBRARIES. Local.

    Raises:
        ImportError: this MPI has another ABI.
    """
    library = MPI.Get_library_version().split("\n")[0].strip("\0 ")
    # Handles are ints in MPICH's ABI and pointers in the others. MPICH may also run under the MPI-5 ABI, with
    # pointers, so the library's name alone does not tell.
    if MPI._sizeof(MPI.Win) == 4:
        return "mpich"
    if library.startswith("Open MPI"):
        return "openmpi"
    raise ImportError(
        f"wagma_rma serves the ABIs of MPICH ({LIBRARIES['mpich']}) and Open MPI ({LIBRARIES['openmpi']}), "
        f"and this mpi4py runs on neither: {library}, handles of {MPI._sizeof(MPI.Win)} bytes; run: "
        "pip install 'wagma-rma[mpich]' (or 'wagma-rma[openmpi]'), or choose an MPI with MPI4PY_LIBMPI"
    )


def rma_table() -> object:
    """Return a capsule of the table of rma.h for the running MPI. Local.

    Raises:
        ImportError: there is no table for its ABI, or the table can't be linked to the library that runs.
    """
    name = abi()
    try:
        return importlib.import_module(f"wagma_rma.mpi.rma_{name}").table
    except ImportError as error:
        raise ImportError(
            f"wagma_rma.mpi.rma_{name}, its part for {LIBRARIES[name]}, does not fit the MPI that mpi4py "
            f"runs on ({MPI.Get_library_version().splitlines()[0]}): {error}; install both anew in this "
            "environment"
        ) from error
