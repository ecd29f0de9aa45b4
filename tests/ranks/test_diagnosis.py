"""python -m wagma_rma says what it finds, and whether it works."""

import os
import subprocess
import sys

import pytest

import wagma_rma
from tests.support import launch, pool

NAMES = (
    "wagma_rma",
    "Python",
    "MPI library",
    "ABI",
    "thread level",
    "host 0",
    "window",
    "progress",
    "to itself",
)


def lines(output):
    return {line[:22].strip(): line[22:] for line in output.splitlines()}


def test_alone_it_needs_no_mpiexec():
    done = subprocess.run(
        [sys.executable, "-m", "wagma_rma"], capture_output=True, text=True, timeout=60,
        env={**os.environ, **launch.OVERSUBSCRIBED},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = lines(done.stdout)
    assert list(said) == [*NAMES, "OK"]
    assert wagma_rma.__version__ in said["wagma_rma"]
    assert said["ABI"].startswith(launch.mpi_name())


@pytest.mark.parametrize("hosts", ["", "2"])
def test_under_mpiexec_it_measures_each_kind_of_rank(hosts):
    job = launch.Ranks(
        4,
        [sys.executable, "-m", "tests.support.rank", "ranks.diagnosis:diagnosis_of", "{}"],
        launch.apart(hosts),
    )
    code, output = job.wait(100)
    assert code == 0, output
    (code, output), *others = job.results(4)
    assert code == 0
    assert others == [[0, ""]] * 3
    said = lines(output)
    far = ["to another host"] if hosts else []
    assert set(said) == {*NAMES, "to a rank of its host", "OK", *(["host 1", *far] if hosts else [])}
    assert said["window"].startswith("remote" if hosts else "shared")
    assert said["progress"].startswith("thread" if hosts else "none")
    for name in said:
        if name.startswith("to "):
            assert "us" in said[name] and "GB/s" in said[name]


def test_what_is_wrong_is_said_and_is_the_exit_code():
    for rank, (code, output) in enumerate(pool.run(2, "ranks.diagnosis:broken")):
        assert code == 1
        if rank == 0:
            assert "group step" in lines(output)["NOT OK"]
            assert "OK" not in lines(output)
