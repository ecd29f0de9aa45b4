"""The pool: ranks are used again, and whatever becomes of them, the next test gets ranks that work."""

import signal
import subprocess
import sys
import time

import pytest

from tests.support import guardian, launch, pool

pytestmark = pytest.mark.slow

LIMIT = 60


@pytest.fixture
def pools():
    """Make pools of this test's own."""
    made = pool.Pools()
    yield made
    made.close()
    assert not made.wrong


def run(pools, name, ranks=2, limit=LIMIT, **arguments):
    def make():
        return pool.Pool(ranks, lambda command: launch.Ranks(ranks, command))

    return pools.run(ranks, make, f"support.pool:{name}", arguments, limit)


def processes(pools):
    return [pid for _, _, pid, _ in run(pools, "who")]


def failure(pools, name, **arguments):
    """Return what is said of a function that fails, and how long that took."""
    started = time.monotonic()
    with pytest.raises(pool.Failed) as failed:
        run(pools, name, **arguments)
    return str(failed.value), time.monotonic() - started


def assert_gone(pids):
    assert not [pid for pid in pids if guardian.is_running(pid)]


def assert_works(pools, before):
    """Check that there are new ranks, and that they work."""
    after = processes(pools)
    assert len(set(after)) == 2
    assert not set(before) & set(after)
    assert_gone(before)


def test_ranks_are_used_again(pools):
    first = run(pools, "who", number=1)
    second = run(pools, "who", number=2)
    assert [rank[:2] for rank in first] == [[0, 2], [1, 2]]
    assert [rank[2] for rank in first] == [rank[2] for rank in second]
    assert [rank[3] for rank in first + second] == [2, 2, 4, 4]


def test_a_pool_for_each_number_of_ranks(pools):
    assert [rank[1] for ranks in (1, 3, 2) for rank in run(pools, "who", ranks)] == [1, 3, 3, 3, 2, 2]


def test_only_those_used_last_are_kept(monkeypatch):
    pools = pool.Pools(most_idle=3)
    try:
        first, second = processes(pools), [rank[2] for rank in run(pools, "who", 1)]
        assert processes(pools) == first
        third = [rank[2] for rank in run(pools, "who", 3)]
        assert_gone(first + second)
        assert [rank[2] for rank in run(pools, "who", 3)] == third
    finally:
        pools.close()
    assert_gone(third)
    assert not pools.wrong


def test_a_rank_that_raises_fails_the_test_and_no_more(pools):
    before = processes(pools)
    said, seconds = failure(pools, "raises", rank=1)
    assert said.startswith("support.pool:raises on 2 ranks ended with 1:")
    for part in ("ValueError: rank 1 fails", "rank 0 was here", "rank 1 was here", "-- rank 0 waits"):
        assert part in said
    assert "in raises" in said.partition("-- rank 0 waits")[2], "it says where the other rank is"
    assert seconds < LIMIT / 2
    assert_works(pools, before)


@pytest.mark.parametrize("name, error", [("exits", "SystemExit: out of here"), ("no_json", "TypeError")])
def test_whatever_is_raised_is_said(pools, name, error):
    said, _ = failure(pools, name, **({"rank": 0} if name == "exits" else {}))
    assert error in said


@pytest.mark.parametrize("how", ["segmentation fault", "SIGKILL", "exit"])
def test_a_rank_that_dies_fails_the_test_and_no_more(pools, how):
    before = processes(pools)
    said, seconds = failure(pools, "dies", rank=1, how=how)
    code = {"segmentation fault": (11, 139), "SIGKILL": (9, 137), "exit": (7, 7)}[how]
    assert said.startswith(tuple(f"support.pool:dies on 2 ranks ended with {number}:" for number in code))
    assert "written by C" in said
    assert ("in dies" in said) == (how == "segmentation fault"), "faulthandler says where"
    assert seconds < LIMIT / 2
    assert_works(pools, before)


def test_a_rank_that_hangs_fails_the_test_and_no_more(pools):
    before = processes(pools)
    said, seconds = failure(pools, "hangs", rank=1, limit=1)
    assert said.startswith("support.pool:hangs: ranks ran past 1 s")
    assert "-- rank 0 is through" in said
    assert "in hangs" in said.partition("-- rank 1 waits")[2]
    assert 1 <= seconds < LIMIT / 2
    assert_works(pools, before)


def test_a_pool_that_does_not_begin_says_what_it_said():
    broken = pool.Pool(1, lambda command: launch.Ranks(1, [sys.executable, "-c", "raise SystemExit('no')"]))
    with pytest.raises(pool.Failed, match=r"only 0 of 1 ranks of a pool have begun:\nno"):
        broken.run("support.pool:who", {}, LIMIT)


def test_warnings_are_errors(pools):
    assert "UserWarning: careful" in failure(pools, "warns")[0]


def test_what_belongs_to_the_process_is_restored(pools):
    before = run(pools, "process")
    run(pools, "changes")
    assert run(pools, "process") == before


def test_what_is_left_changed_in_the_library_is_an_error(pools):
    run(pools, "changes_the_library", puts_back=True)
    said, _ = failure(pools, "changes_the_library", puts_back=False)
    assert "Unrestored: left changed: wagma_rma.waiting.watch.WARN_EVERY" in said


def test_idle_ranks_use_no_cpu(pools):
    before = run(pools, "cpu")
    time.sleep(2)
    used = [after - at_first for at_first, after in zip(before, run(pools, "cpu"), strict=True)]
    assert max(used) < 0.1


def test_a_session_that_is_killed_leaves_no_process():
    program = """
import os, time
from tests.support import guardian, launch, pool
pool.run(2, "support.pool:who")
launch.start(2, "support.hosts:wait")
print(guardian.watched(), flush=True)
time.sleep(100)
"""
    session = subprocess.Popen(
        [sys.executable, "-c", program], cwd=launch.ROOT, stdout=subprocess.PIPE, text=True
    )
    assert session.stdout is not None
    with session.stdout:
        mark = f"{guardian.NAME}={session.stdout.readline().strip()}"
    assert len(guardian.marked(mark)) >= 4
    session.send_signal(signal.SIGKILL)
    session.wait()
    deadline = time.monotonic() + guardian.LIMIT
    while left := guardian.marked(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
