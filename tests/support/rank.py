"""Run a function on this rank: python -m mpi4py -m tests.support.rank area.module:name '{"argument": 1}'.

It is that of the module tests/AREA/programs/MODULE.py; its first argument is the communicator.
"""

import faulthandler
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpi4py import MPI

from tests.support import cache
from wagma_rma import GroupAverager
from wagma_rma.mpi import hosts

DIRECTORY = Path(os.environ["RANKS_DIRECTORY"])


def pretend_hosts(count: str) -> None:
    """Have ranks of one host pass for those of as many, for an MPI that has no way of its own to pretend so.

    Args:
        count: how many, or "each".
    """
    real = hosts.host_numbers

    def pretended(comm: MPI.Intracomm) -> tuple[int, ...]:
        return tuple(rank if count == "each" else rank * int(count) // comm.size for rank in range(comm.size))

    # Wherever it has been imported to by now; what is imported later finds it in its own module.
    for module in list(sys.modules.values()):
        if getattr(module, "host_numbers", None) is real:
            module.host_numbers = pretended  # type: ignore[attr-defined]


def begin() -> None:
    """Do what all ranks do first."""
    # SIGUSR1 has a rank say where it is.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    comm = MPI.COMM_WORLD
    cache.use(comm.rank)
    if "RANKS_HOSTS" in os.environ:
        pretend_hosts(os.environ["RANKS_HOSTS"])
    if "RANKS_WINDOW" in os.environ:
        GroupAverager.__init__.__kwdefaults__["window"] = os.environ["RANKS_WINDOW"]
    if "RANKS_OVERLAP" in os.environ:
        GroupAverager.__init__.__kwdefaults__["overlap"] = True
    if "RANKS_CUDA" in os.environ:
        from tests.support import fake_gpu

        folder = DIRECTORY / f"cuda.{comm.rank}"
        folder.mkdir()
        fake_gpu.pretend(folder)
    (DIRECTORY / f"pid.{comm.rank}").write_text(str(os.getpid()))


def find(function: str) -> Callable[..., Any]:
    """Return the function "area.module:name"."""
    place, name = function.split(":")
    area, module = place.split(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"tests.{area}.programs.{module}"), name)
    return found


def main() -> None:
    begin()
    # A test that hangs says where each rank is before it is killed.
    faulthandler.dump_traceback_later(float(os.environ.get("RANKS_DUMP_AFTER", "100")))
    comm = MPI.COMM_WORLD
    result = find(sys.argv[1])(comm, **json.loads(sys.argv[2]))
    (DIRECTORY / f"result.{comm.rank}").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
