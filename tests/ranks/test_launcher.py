"""Ranks that another MPI's launcher has started, each in a world of its own, are warned."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import launch, pool

PROGRAM = [sys.executable, "-m", "tests.ranks.programs.launcher"]
NAMES = {"mpich": "MPICH", "openmpi": "Open MPI"}
OTHER = {"mpich": "openmpi", "openmpi": "mpich"}[launch.mpi_name()]
# CI makes the two environments side by side.
OTHER_MPIEXEC = Path(sys.prefix).parent / OTHER / "bin" / "mpiexec"
VARIABLES = {
    "mpich": {"PMI_SIZE": "2", "PMI_RANK": "1", "MPI_LOCALNRANKS": "2"},
    "openmpi": {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
}


def assert_each_is_warned(output, ranks):
    warned = [line for line in output.splitlines() if "warned: " in line]
    assert output.count("world of 1") == len(warned) == ranks, output
    for line in warned:
        assert f"{NAMES[OTHER]}'s mpiexec" in line
        assert "has started 2 ranks" in line
        assert f"mpi4py runs on {NAMES[launch.mpi_name()]}" in line
        assert str(Path(sys.executable).with_name("mpiexec")) in line


def test_ranks_of_the_other_mpis_mpiexec_are_warned():
    if not OTHER_MPIEXEC.exists():
        pytest.skip(f"there is no {OTHER} beside this environment")
    launcher = [str(OTHER_MPIEXEC), "-n", "2"]
    code, output = launch.Ranks(2, PROGRAM, launcher=launcher).wait(60)
    if code:  # MPICH 5 ends its ranks itself where it finds that Open MPI's launcher has started them
        assert "Runtime environment uses unsupported PMI version PMIx" in output
    else:
        assert_each_is_warned(output, 2)


def test_a_process_with_the_variables_of_the_other_mpis_mpiexec_is_warned():
    done = subprocess.run(
        PROGRAM, capture_output=True, text=True, timeout=60, cwd=launch.ROOT,
        env={**os.environ, **launch.OVERSUBSCRIBED, **VARIABLES[OTHER]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_each_is_warned(done.stdout, 1)


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_of_this_mpis_mpiexec_are_not(ranks):
    assert pool.run(ranks, "ranks.launcher:warnings_of") == [[[], ranks]] * ranks


def test_a_communicator_of_one_rank_in_a_larger_world_is_not():
    assert pool.run(2, "ranks.launcher:each_apart") == [[[], 2]] * 2
