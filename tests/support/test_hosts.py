"""The hosts of hosts.py are what they claim to be: apart, cut off when told, gone at the end."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from tests.support import launch
from tests.support.hosts import NETMODS, NETNS, Hosts, burst_bytes

pytestmark = [pytest.mark.usefixtures("possible"), pytest.mark.slow]
NETMOD = pytest.mark.parametrize("netmod", NETMODS.get(launch.mpi_name(), {}))


@pytest.mark.parametrize(
    "ranks, by_node, of_host",
    [(2, False, [0, 0, 1, 1]), (2, True, [0, 1, 0, 1]), (1, False, [0, 1]), ([3, 1], False, [0, 0, 0, 1])],
    ids=["blocked", "by-node", "alone", "uneven"],
)
def test_hosts_share_neither_name_nor_memory_and_ranks_sit_where_told(two, ranks, by_node, of_host):
    found = two.run(ranks, "support.hosts:where", by_node=by_node)
    for rank, (host, seen) in enumerate(zip(of_host, found, strict=True)):
        there = [other for other, its in enumerate(of_host) if its == host]
        assert seen["hostname"] == f"host{host}", f"rank {rank}"
        assert seen["shared"] == len(there), f"rank {rank}"
        assert seen["seen"] == there, f"rank {rank}"
    assert len({(seen["hostname"], seen["ipc"]) for seen in found}) == 2


@NETMOD
def test_sums_over_two_hosts(two, netmod):
    assert two.run(2, "support.hosts:sums", netmod=netmod, size=100_000) == [[True] * 3] * 4


def test_sums_over_four_hosts():
    with Hosts(4) as hosts:
        assert hosts.run(1, "support.hosts:sums", size=10_000) == [[True] * 3] * 4
        assert hosts.run(2, "support.hosts:sums", by_node=True, size=1000) == [[True] * 3] * 8


def wait_until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Exchange:
    """Ranks in the midst of an exchange."""

    def __init__(self, job, ranks):
        self.job = job
        self.files = [job.directory / f"progress.{rank}" for rank in range(ranks)]

    def begun(self):
        return all(file.exists() and file.stat().st_size for file in self.files)

    def rounds(self):
        return np.array([np.fromfile(file, np.int64)[0] for file in self.files])

    def wait_for_more(self):
        """Wait until each rank has done 20 more rounds."""
        before = self.rounds()
        wait_until(lambda: (self.rounds() >= before + 20).all())

    def assert_stuck_for(self, seconds):
        """See that no rank goes on: two rounds are all that it could do with what others have sent before."""
        before = self.rounds()
        time.sleep(seconds)
        assert (self.rounds() <= before + 2).all()


@contextmanager
def exchange(hosts, ranks_per_host, **options):
    """Start an exchange; at the end let it end, and see that it was right."""
    ranks = ranks_per_host * hosts.count
    job = hosts.start(ranks_per_host, "support.hosts:exchange", **options)
    try:
        running = Exchange(job, ranks)
        wait_until(running.begun)
        running.wait_for_more()
        yield running
        (job.directory / "last").touch()
        for rounds, wrong, counted in job.completed(ranks, 60, "exchange"):
            assert wrong == 0
            assert counted == rounds * ranks
    finally:
        job.kill()


@NETMOD
def test_an_exchange_goes_on_after_three_seconds_without_link(two, netmod):
    with exchange(two, 2, netmod=netmod) as running:
        two.link_down(1)
        try:
            running.assert_stuck_for(3)
        finally:
            two.link_up(1)
        running.wait_for_more()


def test_a_host_can_be_stopped_and_continued(two):
    with exchange(two, 2) as running:
        pids = two.pids(1, running.job)
        assert sorted(pids) == [2, 3]
        assert sorted(two.pids(0, running.job)) == [0, 1]
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        running.assert_stuck_for(0.5)
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)
        running.wait_for_more()


@pytest.mark.parametrize("slow", [0, 1], ids=["sender", "receiver"])
def test_a_rate_limit_limits(two, slow):
    bits, size = 20e6, 2_000_000
    # Whatever else keeps the machine busy, bytes can't come faster; twice the burst, for rounding.
    least = (size - 2 * burst_bytes(bits)) * 8 / bits
    two.rate(slow, bits)
    try:
        assert two.run(1, "support.hosts:flood", size=size)[1] > least
    finally:
        two.rate(slow, None)
    assert two.run(1, "support.hosts:flood", size=size, times=5)[1] < least


def processes_in(networks):
    """Return the processes in these network namespaces (inodes)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with suppress(OSError):
            if path.stat().st_ino in networks:
                found.append(path.parts[2])
    return found


def networks_of(name):
    return {path.stat().st_ino for path in NETNS.glob(f"{name}-*")}


def assert_empty(networks):
    # Killed processes are still there for a moment.
    deadline = time.monotonic() + 10
    while left := processes_in(networks):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_a_job_that_is_killed_leaves_no_process_even_behind_a_link_that_is_down(two):
    two.end_jobs()
    job = two.start(2, "support.hosts:wait")
    wait_until(lambda: len(job.pids()) == 4)
    assert len(processes_in(networks_of(two.name))) > 4
    # Open MPI's daemon there would not hear of the end of the others.
    two.link_down(1)
    try:
        job.kill()
        assert_empty(networks_of(two.name))
    finally:
        two.link_up(1)


@pytest.mark.parametrize("ending", ["end well", "rank 3 fails", "ran past 1 s", "test fails", "link is down"])
def test_nothing_is_left(ending):
    links, raised = os.listdir("/sys/class/net"), "end well"
    try:
        with Hosts(2) as hosts:
            networks = networks_of(hosts.name)
            assert len(networks) == 3
            if ending == "end well":
                hosts.run(2, "support.hosts:sums", size=10)
            elif ending == "rank 3 fails":
                hosts.run(2, "support.hosts:fail", rank=3)
            elif ending == "ran past 1 s":
                hosts.run(2, "support.hosts:wait", limit=1)
            else:
                job = hosts.start(2, "support.hosts:wait")
                wait_until(lambda: len(job.pids()) == 4)
                if ending == "link is down":
                    hosts.link_down(1)
                raise KeyError(ending)
    except (AssertionError, KeyError) as error:
        raised = str(error)
    assert ending in raised
    assert not list(NETNS.glob(f"{hosts.name}-*"))
    assert not hosts.agent.parent.exists()
    assert os.listdir("/sys/class/net") == links
    assert_empty(networks)


def test_what_a_killed_run_left_is_cleared(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = """import os, time
from tests.support import hosts
job = hosts.Hosts(1).__enter__().start(1, "support.hosts:wait")
while not job.pids():
    time.sleep(0.01)
os.kill(os.getpid(), 9)"""
    killed = subprocess.Popen(
        [sys.executable, "-c", program], cwd=launch.ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert killed.wait(60) == -signal.SIGKILL
    networks = networks_of(f"hosts-{killed.pid}")
    assert len(networks) == 2
    assert list(tmp_path.glob("hosts-*"))
    with Hosts(1) as hosts:
        assert not networks_of(f"hosts-{killed.pid}")
        assert list(tmp_path.glob("hosts-*")) == [hosts.agent.parent]
    assert_empty(networks)
