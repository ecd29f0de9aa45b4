"""A cache of what JAX compiles, for the ranks of one test session.

Each rank has a folder of its own: JAX reads files of the cache that another process has not yet written to
their ends. `Ranks` makes the folder of the session known in the environment, and ranks choose theirs.
Sessions that run one after another share a folder that RANKS_JAX_CACHE names.
"""

import atexit
import functools
import os
import shutil
import tempfile

SESSION = "RANKS_JAX_CACHE"
# MPICH's and Open MPI's name of a rank's number in its environment.
RANK = "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"
ALL = {  # all programs, however small
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


@functools.cache
def environment() -> dict[str, str]:
    """Return what the environment of ranks says of the cache of this session."""
    if SESSION in os.environ:
        return {SESSION: os.environ[SESSION], **ALL}
    folder = tempfile.mkdtemp(prefix="jax-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {SESSION: folder, **ALL}


def use(rank: int) -> None:
    """Have this process use the folder of its rank. JAX must not have been imported."""
    if SESSION in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{os.environ[SESSION]}/{rank}"


def using(command: list[str]) -> list[str]:
    """Return a command that runs another, each rank with its folder."""
    choose = f'JAX_COMPILATION_CACHE_DIR="${SESSION}/{RANK}" exec "$@"'
    return ["sh", "-c", choose, "sh", *command]
