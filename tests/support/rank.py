"""Run a function on this rank: python -m mpi4py -m tests.support.rank area.module:name '{"argument": 1}'.

It is that of the module tests/AREA/programs/MODULE.py.
"""

import faulthandler
import importlib
import json
import os
import signal
import sys
from pathlib import Path

from mpi4py import MPI

from wagma_rma import GroupAverager
from wagma_rma.mpi import hosts

# A test that hangs says where each rank is before it is killed (SIGUSR1 by hand does the same).
faulthandler.register(signal.SIGUSR1, all_threads=True)
faulthandler.dump_traceback_later(float(os.environ.get("RANKS_DUMP_AFTER", "100")))

comm = MPI.COMM_WORLD
if "RANKS_HOSTS" in os.environ:
    # Ranks of one host pass for those of as many, for an MPI that has no way of its own to pretend so.
    pretended = os.environ["RANKS_HOSTS"]
    hosts.host_numbers = lambda comm: tuple(
        rank if pretended == "each" else rank * int(pretended) // comm.size for rank in range(comm.size)
    )
directory = Path(os.environ["RANKS_DIRECTORY"])
(directory / f"pid.{comm.rank}").write_text(str(os.getpid()))
if "RANKS_WINDOW" in os.environ:
    GroupAverager.__init__.__kwdefaults__["window"] = os.environ["RANKS_WINDOW"]
place, name = sys.argv[1].split(":")
area, module = place.split(".")
function = getattr(importlib.import_module(f"tests.{area}.programs.{module}"), name)
result = function(comm, **json.loads(sys.argv[2]))
(directory / f"result.{comm.rank}").write_text(json.dumps(result))
