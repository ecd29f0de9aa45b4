"""Aligned columns on the terminal and rows in a file, from rank 0."""

import json

from mpi4py import MPI


def print_line(cells, width=11):
    """Print a line of the table."""
    print("  ".join(cell.rjust(width) for cell in cells), flush=True)


def say(comm, cells, width=11):
    """Print a line of the table, on rank 0."""
    if comm.rank == 0:
        print_line(cells, width)


def write(comm, path, rows, **about):
    """Write rows as JSON, with what they were measured on, if there is a path."""
    if comm.rank == 0 and path:
        write_file(path, {"ranks": comm.size, **about, "rows": rows})


def write_file(path, told):
    """Write JSON, and which MPI library this is."""
    library = MPI.Get_library_version().splitlines()[0]
    with open(path, "w") as file:
        json.dump({"library": library, **told}, file, indent=1, default=float)
