"""Late, sleeping and stopped ranks: nobody waits for them, and no sum is ever torn or wrong."""

import os
import random
import signal
import time

import numpy as np
import pytest

from tests.support import launch, pool


def check(results):
    for rank, (wrong, _) in enumerate(results):
        assert wrong[:5] == [], f"rank {rank}"
    return np.array([counts for _, counts in results])


@pytest.mark.parametrize(
    "world",
    [
        {"size": 100_000, "group_size": 2, "patience": 0},
        {"size": 3, "group_size": 4, "patience": 0},
        {"size": 10_000, "group_size": 3, "patience": "auto", "chunk_bytes": 1024},
        {"size": 30_000, "group_size": 4, "patience": 0, "quorum": 3, "chunk_bytes": 4096},
        {"size": 100_000, "group_size": 2, "patience": 0, "lent": True},
        {"size": 30_000, "group_size": 4, "patience": "auto", "quorum": 2, "chunk_bytes": 4096, "lent": True},
        {"size": 30_000, "group_size": 2, "patience": 0, "chunk_bytes": 4096, "sync_quorum": 1},
        {"size": 3, "group_size": 4, "patience": 0, "sync_quorum": 2},
        {"size": 100_000, "group_size": 2, "patience": 0, "lent": True, "sync_quorum": 0.5},
    ],
    ids=[
        "pairs",
        "tiny",
        "many-chunks",
        "majority",
        "lent pairs",
        "lent",
        "elastic",
        "tiny elastic",
        "lent elastic",
    ],
)
def test_random_naps_never_tear_a_result(world):
    counts = check(pool.run(4, "ranks.stragglers:torture", steps=400, period=20, sleeps=0.005, **world))
    not_tried = "the test has not tried what it should"
    assert counts[:, 1].sum() > 0, f"no rank was ever late: {not_tried}"
    assert (counts.sum(axis=1) == 400).all()
    assert (counts[:, 4].sum() > 0) == ("sync_quorum" in world), f"no rank has skipped a step: {not_tried}"


@pytest.mark.slow
def test_sixteen_ranks_on_few_cores_never_tear_a_result():
    counts = check(
        pool.run(16, "ranks.stragglers:torture", limit=200, size=50_000, group_size=4, steps=300, period=25,
                   sleeps=0.01, patience=0)
    )  # fmt: skip
    assert counts[:, 1].sum() > 0
    assert (counts[:, 3] == 12).all()


def test_ten_million_floats_are_never_torn():
    world = {"size": 10_000_000, "group_size": 2, "steps": 20, "period": 7, "sleeps": 0.05}
    check(pool.run(4, "ranks.stragglers:torture", limit=200, **world))


@pytest.mark.parametrize("group_size", [2, 4])
def test_nobody_waits_for_a_rank_that_sleeps(group_size):
    naptime = 2.0
    results = pool.run(4, "ranks.stragglers:asleep", group_size=group_size, naptime=naptime)
    for rank, result in enumerate(results):
        assert result["wrong"] == [], f"rank {rank}"
        if rank != 1:
            # Through with all 39 steps: rank 1 slept for its time, and then until all others were.
            assert result["through"] == 39
            # Nor did they wait at each step and then go on without it; a single step may be slow by chance.
            assert result["typical"] < naptime / 8
        else:
            assert result["slept"] >= naptime
            assert result["others were through"] == [0, 2, 3]
    outcome, step, source_step, ages = results[1]["late"]
    assert outcome == "LATE"
    assert step == 5
    assert source_step > step  # the newest step of its group that is complete, not the one it slept through
    assert max(ages) == source_step - 4  # the sleeper's own, published at step 4


@pytest.mark.parametrize(
    "world",
    [
        {"size": 20_000, "group_size": 2, "sleeps": 0.001, "chunk_bytes": 1 << 18},
        # Next to all of the time is spent in sums, so claims are held by stopped ranks and taken over.
        {"size": 500_000, "group_size": 4, "sleeps": 0, "chunk_bytes": 1 << 17},
    ],
    ids=["napping", "summing"],
)
def test_a_stopped_rank_stops_nobody_before_the_synchronisation(world):
    period, stops = 15, 100
    job = launch.start(4, "ranks.stragglers:progress", period=period, **world)
    try:
        done = follow(job, 4)
        pids = job.pids()
        rng = random.Random(1)
        for _ in range(stops):
            time.sleep(rng.random() * 0.03)
            victim = rng.randrange(4)
            os.kill(pids[victim], signal.SIGSTOP)
            try:
                others = [done[rank] for rank in range(4) if rank != victim]
                before_next = (int(done[victim][0]) // period + 1) * period - 1
                limit = time.monotonic() + 60
                if launch.TEST_HOSTS:
                    # Its memory can't be read meanwhile, over such a network: all wait, and nothing is lost.
                    time.sleep(rng.random() * 0.1)
                    continue
                while any(int(rank[0]) < before_next for rank in others):
                    assert time.monotonic() < limit, (
                        f"rank {victim} stopped after step {done[victim][0]}; the others should reach "
                        f"{before_next} and are at {[int(rank[0]) for rank in others]}"
                    )
                    time.sleep(0.001)
            finally:
                os.kill(pids[victim], signal.SIGCONT)
        # Ranks are less than a period apart, so none has passed this step yet.
        last = (max(int(rank[0]) for rank in done) // period + 3) * period
        (job.directory / "last.new").write_text(str(last))
        (job.directory / "last.new").rename(job.directory / "last")
        code, output = job.wait(120)
        assert code == 0, output
        assert job.results(4) == [[[], last]] * 4
    finally:
        job.kill()


def follow(job, ranks):
    """Map the files in which ranks tell their progress, once all have begun to step."""
    limit = time.monotonic() + 60
    paths = [job.directory / f"progress.{rank}" for rank in range(ranks)]
    while time.monotonic() < limit:
        if job.process.poll() is not None:
            raise AssertionError(job.wait(1)[1])
        if all(path.exists() and path.stat().st_size for path in paths):
            done = [np.memmap(path, np.int64, "r", shape=(1,)) for path in paths]
            if all(int(rank[0]) > 0 for rank in done):
                return done
        time.sleep(0.01)
    raise AssertionError("the ranks have not begun to step within 60 s")


def test_waiting_and_sleeping_ranks_use_next_to_no_cpu():
    seconds, least = 2.0, {}
    for _ in range(3):  # what else runs on this machine can only add to it
        ran = launch.run(4, "ranks.stragglers:idle", seconds=seconds)
        for rank, used in enumerate(ran[1:], start=1):
            for wait, cpu in used.items():
                least[wait, rank] = min(cpu, least.get((wait, rank), cpu))
        # A sleeping rank may have a thread that serves others.
        limits = {(wait, rank): (0.04 if "asleep" in wait else 0.1) * seconds for wait, rank in least}
        above = {each: cpu for each, cpu in least.items() if cpu >= limits[each]}
        if not above:
            return
    raise AssertionError(f"seconds of CPU in {seconds} s, by (wait, rank): {above}")
