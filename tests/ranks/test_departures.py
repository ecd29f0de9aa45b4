"""A rank that leaves a run is named by the others, whatever it left by; nobody waits for it."""

import itertools
import json
import os
import re
import sys
import time
from pathlib import Path

import pytest

from tests.support import launch, pool

LIMIT = 90  # seconds: ends what hangs; each job takes a few
ENDS_WITHIN = 10  # seconds from the moment in which a rank leaves to the end of the job
TOLD_WITHIN = 5  # seconds in which the ranks of its host see a process end; half of one where cores are free
RANKS = 3
UNWINDS = ["raise", "exit 0", "exit 3"]
KILLS = ["_exit", "SIGKILL", "SIGTERM"]
PLACES = ["between steps", "in a step", "in a synchronisation", "before close"]
# With JAX only what differs there, unless DEPARTURES=all asks for the whole table (some 10 minutes).
EVERY = list(itertools.product(["eager", "jit"], UNWINDS + KILLS, PLACES))
DIFFERENT = [
    ("eager", "raise", "in a synchronisation"),
    ("eager", "exit 3", "before close"),
    ("jit", "raise", "between steps"),
    ("jit", "exit 0", "in a synchronisation"),
    ("jit", "exit 3", "before close"),
    ("jit", "SIGKILL", "in a step"),
]
WITH_JAX = EVERY if os.environ.get("DEPARTURES") == "all" else DIFFERENT


def job(*arguments, launcher=None):
    """Start a program as users do: without mpi4py's own way to end a job."""
    program = [sys.executable, "-m", "tests.ranks.programs.departures", *arguments]
    return launch.Ranks(RANKS, program, launcher=launcher)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", UNWINDS + KILLS)
def test_the_job_ends_and_names_the_rank_that_left(how, place):
    ends_and_names("numpy", how, place)


@pytest.mark.slow
@pytest.mark.parametrize(("api", "how", "place"), WITH_JAX)
def test_the_job_ends_and_names_the_rank_that_left_with_jax_too(api, how, place):
    pytest.importorskip("jax")
    ends_and_names(api, how, place)


def ends_and_names(api, how, place):
    started = job("leave", api, how, place)
    code, output = started.wait(LIMIT)
    assert time.time() - float((started.directory / "left").read_text()) < ENDS_WITHIN, output
    # MPICH's launcher ends the others when one is gone without MPI_Finalize, and returns that one's code.
    assert code != 0 or how == "_exit", output
    assert "defect" not in output
    if how in UNWINDS:
        assert "RankLeft: " in output
        cause = "ValueError: no data" if how == "raise" else f"SystemExit: {how[-1]}"
        assert f"rank 1 has left ({cause})" in output or "rank 1 has left (its program has ended" in output
        if how == "raise":
            assert "ValueError: no data" in output
    # Else the launcher ends the job, mostly before the others find out.
    mapped = {name for told in started.directory.glob("mapped.*") for name in json.loads(told.read_text())}
    assert mapped
    assert [name for name in mapped if Path("/dev/shm", name).exists()] == []


@pytest.mark.parametrize(
    ("how", "told"),
    [("raise", "ValueError: no data"), ("exit 0", "its program has ended without close()")],
)
def test_a_program_that_ends_early_tells_so(how, told):
    code, output = job("end_early", how).wait(LIMIT)
    assert code != 0, output
    assert f"RankLeft: average: rank 1 has left ({told}), at step 2" in output


# The launcher must not see that the rank is gone, or it ends the others itself: a shell stays in its place.
STAYS = ["sh", "-c", '"$@"; code=$?; [ $code = 137 ] && sleep 60; exit $code', "sh"]
SURVIVES = {"mpich": ["-disable-auto-cleanup"], "openmpi": ["--enable-recovery"]}


@pytest.mark.skipif(bool(launch.TEST_HOSTS), reason="a process is seen to end by the ranks of its host")
@pytest.mark.parametrize("where", ["group", "synchronisation"])
def test_a_killed_rank_is_named_where_the_launcher_lets_the_others_live(where):
    launcher = [launch.mpiexec(), *SURVIVES[launch.mpi_name()], "-n", str(RANKS), *STAYS]
    code, output = job("killed", where, launcher=launcher).wait(LIMIT)
    assert code != 0, output
    assert "RankLeft: average: rank 1 has died: its process " in output
    told = [float(seconds) for seconds in re.findall(r"told after ([\d.]+) s", output)]
    assert len(told) == RANKS - 1
    assert max(told) < TOLD_WITHIN


@pytest.mark.slow
@pytest.mark.skipif(
    bool(launch.TEST_HOSTS), reason="makes hundreds of averagers, each of which measures the network of hosts"
)
@pytest.mark.parametrize("by_signal", [False, True], ids=["at any line", "by a signal"])
@pytest.mark.parametrize("call", ["synchronize", "join", "join at once", "average", "close"])
def test_after_an_exception_anywhere_in_a_call_nothing_is_wrong_and_nobody_hangs(call, by_signal):
    arguments = {"call": call, "by_signal": by_signal, "most": 2000}
    for bad, cases in pool.run(2, "ranks.departures:exceptions_anywhere", limit=300, **arguments):
        assert bad == []
        assert 20 < cases < 1999


@pytest.mark.parametrize(("period", "quorum"), [(5, 1), (5, 3), (100, 1), (2, 2)])
def test_ranks_with_different_numbers_of_steps_end_with_one_mean(period, quorum):
    steps = [13, 14, 15]
    told = pool.run(3, "ranks.departures:uneven", steps=steps, sync_period=period, quorum=quorum)
    assert told[0] == told[1] == told[2]
    [[step, model, outcome]] = told[0]
    assert outcome == "SYNCHRONIZED"
    assert step > 15
    # Each step adds one, and an average with an older model takes some of it away.
    assert 0 < model[0] <= 15
    assert model == [model[0]] * 4


@pytest.mark.parametrize("group_period", [1, 2])
def test_join_ends_each_epoch_alike(group_period):
    how = {"sync_period": 4, "group_period": group_period, "quorum": 2, "rounds": 3}
    told = pool.run(3, "ranks.departures:uneven", steps=[3, 7, 5], **how)
    assert told[0] == told[1] == told[2]
    steps = [step for step, _, _ in told[0]]
    assert steps == sorted(set(steps))


def test_join_that_was_cut_short_is_continued_by_join_alone():
    (told, *ended), *others = pool.run(3, "ranks.departures:join_cut_short")
    timed_out, average, synchronize, again, after = told
    assert timed_out.startswith("join: rank 0 after its last step 0: waited 0.3")
    assert re.search(r"rank 1 \(at step 0;.*\) and rank 2 \(at step 0;", timed_out)
    for refused in (average, synchronize):
        assert "rank 0 has called join(), which is not complete; call join() again" in refused
    assert again.startswith("join: ")
    assert after == "cut short after step 4"
    assert [other[1:] for other in others] == [ended] * 2
    step, mean = ended
    assert step == 7
    # At step 4: (0 + 4 + 4) / 3. Then rank 0 brings that mean, the others have added 2.
    assert mean == pytest.approx([8 / 3 + 4 / 3] * 4)


@pytest.mark.parametrize("api", ["numpy", "eager", "jit"])
def test_a_forked_child_is_refused_and_disturbs_nobody(api):
    if api != "numpy":
        pytest.importorskip("jax")
    for code, mean in pool.run(2, "ranks.departures:forked", api=api):
        assert code == 0
        assert mean == [0.5]


@pytest.mark.skipif(
    launch.mpi_name() != "mpich",
    reason="Open MPI's own finalisation hangs in a forked child, with or without an averager",
)
def test_a_forked_child_that_ends_as_programs_do_disturbs_nobody(tmp_path):
    """Its Python, and MPI, are finalised there."""
    program = tmp_path / "program.py"
    program.write_text(
        """
import os, sys
import numpy as np
from mpi4py import MPI
from wagma_rma import GroupAverager
comm = MPI.COMM_WORLD
averager = GroupAverager(comm, np.zeros(10), group_size=comm.size, quorum=comm.size, sync_period=4)
averager.average(np.zeros(10))
child = os.fork()
if child == 0:
    sys.exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
for _ in range(10):
    mean = averager.average(np.full(10, float(comm.rank)))
averager.close()
print("right" if code == 7 and (mean == 0.5).all() else f"wrong: {code} {mean}", flush=True)
"""
    )
    code, output = launch.Ranks(2, [sys.executable, str(program)]).wait(LIMIT)
    assert (code, output.count("right"), "wrong" in output) == (0, 2, False), output


def test_an_averager_that_is_dropped_warns_and_holds_nobody_up(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        """
import sys
import numpy as np
from mpi4py import MPI
from wagma_rma import GroupAverager, RankLeft
comm = MPI.COMM_WORLD
averager = GroupAverager(comm, np.zeros(10))
averager.average(np.zeros(10))
if comm.rank == 1:
    del averager
else:
    try:
        averager.close()
    except RankLeft as error:
        print(error, flush=True)
"""
    )
    code, output = launch.Ranks(2, [sys.executable, "-W", "always", str(program)]).wait(LIMIT)
    assert code == 0, output
    assert "ResourceWarning: " in output
    assert "was dropped without close(); call close() on every rank" in output
    assert "close: rank 1 has left (its averager was dropped without close()), at step 1" in output


# What the launchers themselves do with a rank that dies while averagers are made.


@pytest.mark.parametrize("how", ["SIGKILL", "raise"])
def test_a_death_during_the_start_ends_the_job(how, tmp_path):
    program = tmp_path / "program.py"
    end = "os.kill(os.getpid(), signal.SIGKILL)" if how == "SIGKILL" else "raise ValueError('no data')"
    program.write_text(
        f"""
import os, signal
import numpy as np
from mpi4py import MPI
from wagma_rma import GroupAverager
if MPI.COMM_WORLD.rank == 1:
    {end}
GroupAverager(MPI.COMM_WORLD, np.zeros(10)).close()
"""
    )
    # A plain exception sits in MPI_Finalize, as HOSTS.md says: `python -m mpi4py` ends the job.
    command = [sys.executable, *([] if how == "SIGKILL" else ["-m", "mpi4py"]), str(program)]
    code, _ = launch.Ranks(2, command).wait(LIMIT)
    assert code != 0
