"""One install serves the ABIs of MPICH and Open MPI, and says so when the MPI that runs has neither."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import wagma_rma
from tests.support import launch

PACKAGE = Path(wagma_rma.__file__).parent
LIBRARIES = {"mpich": "libmpi.so.12", "openmpi": "libmpi.so.40"}
MPI = launch.mpi_name()
OTHER = {"mpich": "openmpi", "openmpi": "mpich"}[MPI]
HAS_HEADER = pytest.mark.skipif(
    not Path(sys.prefix, "include", "mpi.h").exists(), reason="this MPI came without its mpi.h"
)


def compiled(tmp_path, abi, source='#include <mpi.h>\n#include "rma.c"\n'):
    """Compile rma.c for an ABI after the mpi.h of this environment; return what the compiler says."""
    (tmp_path / "both.c").write_text(source)
    folders = PACKAGE / "mpi", f"{sys.prefix}/include", sysconfig.get_paths()["include"]
    flags = ["-std=c11", "-fsyntax-only", "-Werror", f"-DWAGMA_ABI_{abi.upper()}"]
    command = ["gcc", *flags, *(f"-I{folder}" for folder in folders), str(tmp_path / "both.c")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stderr


@HAS_HEADER
def test_what_is_transcribed_of_mpi_h_is_what_stands_there(tmp_path):
    assert compiled(tmp_path, MPI) == ""
    # Constants can't clash as declarations do.
    constants = """
#include <mpi.h>
#include "mpi_abi.h"
_Static_assert(WAGMA_ANY_SOURCE == MPI_ANY_SOURCE && WAGMA_ANY_TAG == MPI_ANY_TAG, "wildcards");
_Static_assert(WAGMA_SUCCESS == MPI_SUCCESS, "success");
_Static_assert((long)WAGMA_STATUS_IGNORE == (long)MPI_STATUS_IGNORE, "status");
"""
    assert compiled(tmp_path, MPI, constants) == ""


@HAS_HEADER
def test_a_transcription_that_differs_is_noticed(tmp_path):
    assert "conflicting types" in compiled(tmp_path, OTHER)


def dynamic_section(built):
    return subprocess.run(["readelf", "-d", built], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("abi", LIBRARIES)
def test_each_build_needs_its_library_by_soname_alone(abi):
    (built,) = PACKAGE.glob(f"mpi/rma_{abi}.*.so")
    lines = dynamic_section(built).splitlines()
    needed = [line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line]
    assert [name for name in needed if "mpi" in name] == [LIBRARIES[abi]]
    # Python's own build may have put a path of its own there; it must not lead to an MPI.
    paths = [line.split("[")[1].rstrip("]") for line in lines if "PATH)" in line]
    folders = [folder for path in paths for folder in path.split(":")]
    assert not any(Path(folder, LIBRARIES[abi]).exists() for folder in folders)


def test_nothing_else_is_linked_to_an_mpi():
    for built in PACKAGE.glob("**/*.so"):
        if not built.name.startswith("rma_"):
            assert "libmpi" not in dynamic_section(built), built.name


def last_words(program):
    """Run lines of Python that must fail; return the last line of what they say."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **launch.OVERSUBSCRIBED},
    )
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()[-1]


def test_an_mpi_of_another_abi_is_an_import_error_that_says_which():
    said = last_words(
        "from mpi4py import MPI\n"
        "MPI._sizeof = lambda handle: 8\n"
        "MPI.Get_library_version = lambda: 'Strange MPI 1'\n"
        "import wagma_rma"
    )
    for part in ("ImportError", "libmpi.so.12", "libmpi.so.40", "Strange MPI 1", "pip install"):
        assert part in said


def test_a_part_for_a_library_that_does_not_run_is_an_import_error_that_says_which():
    said = last_words(f"from wagma_rma.mpi import abi\nabi.abi = lambda: {OTHER!r}\nabi.rma_table()")
    for part in ("ImportError", f"rma_{OTHER}", LIBRARIES[OTHER], "does not fit", "install"):
        assert part in said
