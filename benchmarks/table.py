"""Aligned columns on the terminal and rows in a file, from rank 0."""

import json

from mpi4py import MPI


def say(comm, cells, width=11):
    """Print a line of the table."""
    if comm.rank == 0:
        print("  ".join(cell.rjust(width) for cell in cells), flush=True)


def write(comm, path, rows):
    """Write rows as JSON, with what they were measured on, if there is a path."""
    if comm.rank == 0 and path:
        about = {"library": MPI.Get_library_version().splitlines()[0], "ranks": comm.size}
        with open(path, "w") as file:
            json.dump({**about, "rows": rows}, file, indent=1, default=float)
