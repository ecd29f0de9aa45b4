"""Who is slow is seen: from any rank, from another program, in warnings, in a trace and in metrics."""

import gzip
import json
import re
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from tests.ranks.test_departures import STAYS, SURVIVES
from tests.support import launch, pool
from wagma_rma.planning.plan import Choice, costs_of, plan_of, predict, times_of
from wagma_rma.seeing.trace import read_trace

RANKS = 4
SLOW, NOW_AND_THEN = 1, 2  # as the program has them

# The table.


@pytest.mark.parametrize("options", [{}, {"overlap": True}, {"window": "remote"}], ids=str)
def test_verdicts_are_right_with_one_rank_slow_and_one_now_and_then(options):
    ran = pool.run(RANKS, "ranks.seeing:verdicts", **options)
    for each in ran:
        told = each["told"]
        assert [rank["rank"] for rank in told] == list(range(RANKS))
        assert [rank["pid"] for rank in told] == each["pids"]
        assert {rank["state"] for rank in told} == {"computing"}
        assert {rank["step"] for rank in told} == {60}
        assert told[SLOW]["verdict"] == "chronic" and 1.5 < told[SLOW]["ratio"] < 2.5
        assert told[NOW_AND_THEN]["verdict"] == "now and then"
        assert 4 <= told[NOW_AND_THEN]["slow"] <= 20
        assert told[0]["verdict"] != "chronic" and told[3]["verdict"] != "chronic"
        for rank in told:
            assert 0.018 < rank["compute_median"] < 0.12 and rank["times"] == 59
            assert rank["compute_median"] <= rank["compute_p90"] <= rank["compute_p99"]
            assert 0 <= rank["seconds"] < 30 and 0 <= rank["late"] <= 1
            assert 0 <= rank["waited_mean"] <= rank["call_mean"] < 1
        assert told[SLOW]["waited_mean"] < told[0]["waited_mean"]
        assert each["slowest"] == SLOW
        lines = each["text"].splitlines()
        assert len(lines) == 1 + RANKS and lines[0].split()[:2] == ["rank", "host"]
        assert lines[1].split()[0] == str(SLOW) and "chronic: " in lines[1]
        often = told[NOW_AND_THEN]["slow"]
        assert any(f"now and then: {often} of 59" in line for line in lines)
        assert each["seconds"] < 5
        assert each["refused"] == [
            "ranks: this averager is closed; make a new one",
            "status: this averager is closed; make a new one",
        ]
    assert [each["own"]["rank"] for each in ran] == list(range(RANKS))


def test_a_thread_sees_that_its_rank_waits_in_a_synchronisation():
    [[[own, other]], nothing] = pool.run(2, "ranks.seeing:from_a_thread")
    assert own[:2] == ["synchronizing", 0] and own[2] >= 0.1
    assert other[:2] == ["computing", 0] and other[2] >= 0.1
    assert nothing == []


def test_warnings_and_timeouts_say_what_is_known_of_the_missing():
    ran = pool.run(3, "ranks.seeing:warned")
    warnings, error, pids = ran[0]
    about_it = (
        rf"for rank 1 \(at step 20; host \S+, pid {pids[1]}; has computed for [\d.]+ m?s; its steps usually "
        r"take [\d.]+ ms; slow in \d+ of the last 19\)"
    )
    # A busy machine may have given reason for others before.
    assert any(re.search(about_it, warning) for warning in warnings), warnings
    assert re.search(about_it, error), error
    assert error.startswith("synchronize: rank 0 at step 21: waited 0.")


@pytest.mark.parametrize("how", ["left", "dead"])
def test_a_rank_that_has_left_or_died_is_shown_so(how):
    if how == "dead" and launch.TEST_HOSTS:
        pytest.skip("a process of another host is not seen to have ended")
    program = f"""
from mpi4py import MPI
from tests.ranks.programs.seeing import left_or_died
left_or_died(MPI.COMM_WORLD, {how!r})
"""
    launcher = [launch.mpiexec(), *SURVIVES[launch.mpi_name()], "-n", "2", *STAYS] if how == "dead" else None
    job = launch.Ranks(2, [sys.executable, "-c", program], launcher=launcher)
    _, output = job.wait(60)
    assert f"seen: {how}" in output


# Another program.


def test_watch_shows_the_same_table_from_outside_without_mpi():
    ran = pool.run(3, "ranks.seeing:watched")
    (code, text, error), (json_code, as_json, _), (wrong_code, nothing, wrong) = ran[0]
    assert code == 0, error
    heading, columns, *rows = text.splitlines()
    assert "3 of 3 ranks" in heading
    assert columns.split()[0] == "rank" and len(rows) == 3
    assert rows[0].split()[0] == str(SLOW) and "chronic" in rows[0]
    assert json_code == 0
    told = json.loads(as_json)
    assert [rank["step"] for rank in told["ranks"]] == [30] * 3
    assert told["ranks"][SLOW]["verdict"] == "chronic"
    assert (wrong_code, nothing) == (2, "")
    assert wrong.startswith("watch: process 1 is not yours, or has no averager that is open; there are ")


# Traces.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"overlap": True},
        {"overlap": True, "quorum": 2},
        {"overlap": True, "group_period": 2},
        {"group_period": 2},
        {"sync_quorum": 1},
        {"group_size": 1},
    ],
    ids=str,
)
def test_a_trace_has_every_step_of_every_rank(tmp_path, options):
    ran = pool.run(RANKS, "ranks.seeing:traced", steps=30, folder=str(tmp_path), **options)
    trace = read_trace(tmp_path / "run.json")
    assert trace.ranks == RANKS
    assert trace.about["left_out"] == 0 and trace.about["clock_error_us"] is not None
    for rank, reports in enumerate(ran):
        calls = {call.step: call for call in trace.calls[rank]}
        assert len(calls) == len(trace.calls[rank])
        # With overlap the first report is that of the start.
        compared = {step: rest for step, *rest in reports if step}
        assert compared.keys() <= calls.keys()
        for step, (outcome, source_step, group, ages, nbytes, waited) in compared.items():
            call = calls[step]
            assert call.outcome == outcome
            if options.get("overlap"):  # where it counts with the call that has waited, not with its step
                assert 0 <= call.waited <= call.ended - call.began + 1e-6
            elif outcome != "SYNCHRONIZED":
                assert call.waited == pytest.approx(waited, abs=1e-6)
            if outcome in ("FRESH", "LATE", "MISSED"):
                arguments = call.arguments
                assert (arguments["source_step"], arguments["group"]) == (source_step, group)
                assert (arguments["ages"], arguments["bytes"]) == (ages, nbytes)
                assert call.published > 0 and (call.exchanged > 0 or len(group) == 1)
        ends = [call.ended for call in trace.calls[rank]]
        assert ends == sorted(ends)
        # The slow rank computes for 40 ms, the others for 20.
        computed = sorted(trace.computed[rank])
        assert len(computed) == len(calls) - 1
        assert computed[len(computed) // 2] > (0.038 if rank == SLOW else 0.018)
        if rank not in (SLOW, NOW_AND_THEN):  # what it waits for others is not computed
            assert computed[int(0.7 * len(computed))] < 0.035


def test_slices_lie_within_their_step_or_on_a_track_of_their_own(tmp_path):
    pool.run(2, "ranks.seeing:traced", steps=20, folder=str(tmp_path))
    events = json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    names = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert names == {"rank 0", "rank 1"}
    outer = None
    for event in events:
        if event["ph"] != "X":
            continue
        if event["name"] in ("publish", "wait", "exchange", "collect"):
            assert event["ts"] >= outer["ts"] - 0.002
            assert event["ts"] + event["dur"] <= outer["ts"] + outer["dur"] + 0.002
        else:
            outer = event
    pool.run(2, "ranks.seeing:traced", steps=20, folder=str(tmp_path), overlap=True)
    events = json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    assert {event["tid"] for event in events if event["name"] in ("exchange", "collect")} == {2, 3}
    names = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert names == {"rank 0", "rank 1", "rank 0, behind", "rank 1, behind"}


def test_where_a_run_ends_without_close_each_rank_writes_its_own_part(tmp_path):
    told = pool.run(3, "ranks.seeing:trace_of_a_run_that_breaks", folder=str(tmp_path))
    assert told[1] == "ZeroDivisionError" and {told[0], told[2]} == {"RankLeft"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"run.rank{rank}.json" for rank in range(3)]
    for rank in range(3):
        calls = read_trace(tmp_path / f"run.rank{rank}.json").calls
        assert list(calls) == [rank]
        assert [call.step for call in calls[rank]][:5] == [1, 2, 3, 4, 5]


def test_an_environment_variable_traces_programs_that_one_does_not_edit(tmp_path):
    names = pool.run(2, "ranks.seeing:trace_by_environment", folder=str(tmp_path))
    assert names[0] == ["named-2.json.gz", "named.json.gz"]
    assert json.loads(gzip.decompress((tmp_path / "named.json.gz").read_bytes()))["traceEvents"]
    assert len(read_trace(tmp_path / "named-2.json.gz").calls[1]) == 3


def test_a_trace_that_can_not_be_written_is_refused_on_every_rank(tmp_path):
    for told in pool.run(2, "ranks.seeing:refused_trace", folder=str(tmp_path)):
        assert "rank 0 can't write such a file; pass a name in a folder that is there" in told


@pytest.mark.parametrize("rank", range(3))
def test_gathering_that_was_cut_short_goes_on_with_the_next_call(tmp_path, rank):
    told = pool.run(3, "ranks.seeing:trace_cut_short", folder=str(tmp_path), interrupted=rank)
    assert [times > 0 for times in told] == [each == rank for each in range(3)]
    assert [len(calls) for calls in read_trace(tmp_path / "run.json").calls.values()] == [8] * 3


def test_ranks_keep_their_own_parts_where_the_file_can_not_be_written(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    logged = pool.run(2, "ranks.seeing:trace_not_written", folder=str(folder))
    assert "the trace" in logged[0] and "can't be written" in logged[0]
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "run.rank0.json", "run.rank1.json"]
    assert list(read_trace(folder / "run.rank1.json").calls) == [1]


def test_a_rank_that_closes_after_an_error_keeps_the_others_from_no_trace_of_theirs(tmp_path):
    told = pool.run(2, "ranks.seeing:trace_of_a_broken_averager", folder=str(tmp_path))
    assert told == [["SynchronizationTimeout"], []] or told[1] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.rank0.json", "run.rank1.json"]


# Metrics.


def test_metrics_are_what_prometheus_reads(tmp_path):
    for rank, told in enumerate(pool.run(2, "ranks.seeing:measured", folder=str(tmp_path))):
        statistics = told["statistics"]
        families = {family.name: family for family in openmetrics(told["text"])}
        steps = families["wagma_rma_steps"]
        assert steps.type == "counter"
        by_outcome = {sample.labels["outcome"]: sample.value for sample in steps.samples}
        assert by_outcome == {
            outcome: statistics[outcome] for outcome in ("fresh", "late", "missed", "synchronized", "local")
        }
        assert sum(by_outcome.values()) == 25
        for family in families.values():
            assert family.documentation
            assert {sample.labels["rank"] for sample in family.samples} == {str(rank)}
        waited = families["wagma_rma_waited_seconds"].samples[0].value
        assert waited == statistics["seconds_waited"]
        quantiles = {s.labels["quantile"]: s.value for s in families["wagma_rma_compute_seconds"].samples}
        assert 0.018 < quantiles["0.5"] <= quantiles["0.9"] <= quantiles["0.99"]
        assert told["file"] == told["text"]
        samples = [sample for family in prometheus(told["file"]) for sample in family.samples]
        assert len(samples) == sum(len(family.samples) for family in families.values())


def test_reports_and_statistics_are_flat_numbers(tmp_path):
    for told in pool.run(2, "ranks.seeing:measured", folder=str(tmp_path)):
        for numbers in (told["report"], told["statistics"]):
            assert all(type(value) in (int, float) for value in numbers.values())
        assert told["report"]["step"] == 25 and told["report"]["group_size"] == 2
        assert told["statistics"]["steps"] == 25


# Plans.

PLANNED = {
    "as recorded": {"group_size": 2, "sync_period": 10},
    "all at once": {"group_size": 4, "sync_period": 5, "quorum": 4},
    "elastic": {"group_size": 2, "sync_period": 20, "sync_quorum": 1},
    "overlap": {"group_size": 2, "sync_period": 10, "overlap": True},
}


def off(folder, run, recorded, planned, steps):
    """Record a run, predict the step rates of others, and measure them; return those that are 10 % off.

    Args:
        run: runs the program with some options, and returns its step rate.
        recorded: options of the run that is recorded.
        planned: options by name.
    """
    run(folder=str(folder), **recorded)
    trace = read_trace(folder / "run.json")
    times, costs = times_of(trace), costs_of(trace)
    found = {}
    for name, how in planned.items():
        others = how.get("quorum", 1), how.get("sync_quorum"), how.get("overlap", False)
        predicted = predict(Choice(how["group_size"], how["sync_period"], *others), times, costs, steps).steps
        measured = run(**how)
        if abs(predicted / measured - 1) > 0.1:
            found[name] = predicted, measured
    return found


@pytest.mark.slow
def test_a_plan_predicts_the_step_rates_of_runs(tmp_path):
    options = {"steps": 80, "usual": 0.04}

    def run(**how):
        return pool.run(RANKS, "ranks.seeing:rate", **options, **how)[0]

    arguments = tmp_path, run, PLANNED["as recorded"], PLANNED, options["steps"]
    # What else the machine has to do may slow down one run and not the others: then all is done again.
    assert not off(*arguments) or not off(*arguments) or off(*arguments) == {}
    text = plan_of(tmp_path / "run.json")
    assert text.count("<- as recorded") == 1 and text.count("<- best trade") == 1
    assert "allreduce" in text and "local SGD, every 10" in text
    assert plan_of(tmp_path / "run.json", ranks=64, steps=40).startswith("64 ranks")
