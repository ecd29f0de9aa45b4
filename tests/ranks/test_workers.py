"""Processes that a rank starts beside its averager, as data loaders do, disturb no step and start no MPI.

(torch's DataLoader: the program loader.py of wagma_rma/TRAINING.md.)
"""

import sys

import pytest

from tests.ranks.programs.workers import BATCHES
from tests.support import launch

RANKS = 2


@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
def test_a_rank_trains_on_what_its_workers_prepare(context):
    command = [sys.executable, "-m", "tests.ranks.programs.workers", context]
    # Unbuffered ranks write a line in two pieces, which mpiexec may mix with another rank's.
    code, output = launch.Ranks(RANKS, command, {"PYTHONUNBUFFERED": ""}, launch.ROOT).wait(100)
    assert code == 0, output
    # A forked process has what its parent has imported, and uses none of it.
    expected = f"{context}: step {BATCHES + 2}, 0 wrong, workers True, MPI in them {context == 'fork'}"
    assert output.splitlines() == [expected] * RANKS
