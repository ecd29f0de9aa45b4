"""The benchmarks of synchronisations run, with small models, and say what their columns promise."""

import argparse
import json
import sys

import pytest

from benchmarks import against, synchronise
from tests.support import launch

INTERFACES = """\
    lo: 1000 5 0 0 0 0 0 0 1000 5 0 0 0 0 0 0
  eth0: 200 2 0 0 0 0 0 0 7 1 0 0 0 0 0 0
  eth1:30 2 0 0 0 0 0 0 7 1 0 0 0 0 0 0"""


def rows_of(ranks, path, program, *options, hosts=""):
    command = [sys.executable, "-m", "mpi4py", "-m", f"benchmarks.{program}", *options, "--json", str(path)]
    code, output = launch.Ranks(ranks, command, launch.apart(hosts)).wait(120)
    assert code == 0, output
    return json.loads(path.read_text()), output


@pytest.mark.parametrize("hosts", ["", "2"])
def test_a_synchronisation_is_timed_beside_an_allreduce(tmp_path, hosts):
    if launch.TEST_HOSTS:
        pytest.skip("places ranks itself")
    if hosts and launch.mpi_name() != "mpich":
        pytest.skip(
            "only MPICH has a variable by which the ranks of a program pass for those of several hosts"
        )
    options = "--floats", "10", "20000", "--seconds", "0.05"
    told, _ = rows_of(4, tmp_path / "rows.json", "synchronise", *options, hosts=hosts)
    rows = told["rows"]
    # Over several hosts only all ranks together; on one host two ranks too.
    sizes = [4] if hosts else [2, 4]
    assert [(row["ranks"], row["floats"]) for row in rows] == [(n, f) for n in sizes for f in (10, 20_000)]
    for row in rows:
        assert row["hosts"] == int(hosts or 1)
        assert row["wagma"] > 0
        assert row["allreduce"] > 0
        assert row["ratio"] > 0
        assert ("network" in row) == bool(hosts)


def test_bytes_through_the_loopback_do_not_count():
    assert synchronise.received(INTERFACES.splitlines()) == 230


def test_an_earlier_version_is_compared_in_turns(monkeypatch, tmp_path, capsys):
    launches = []

    def rows_of(_, tree, options):
        launches.append("before" if tree == tmp_path else "now")
        slow = {"before": 3.0, "now": 1.0}[launches[-1]] * len(launches)
        assert options[-2:] == ["--communicators", "2"]
        row = {"ranks": 2, "floats": 10, "wagma": slow, "allreduce": 0.5, "ratio": 0.5 / slow}
        return {(2, 10): row}

    monkeypatch.setattr(against, "rows_of", rows_of)
    path = tmp_path / "rows.json"
    arguments = argparse.Namespace(
        against=tmp_path, rounds=3, ranks=2, hosts=1, rate=None, floats=[10], communicators=None,
        seconds=1.0, window="auto", json=str(path),
    )  # fmt: skip
    against.compare(arguments)
    assert launches == ["now", "before", "before", "now", "now", "before"]
    (row,) = json.loads(path.read_text())["rows"]
    # The launches took 1, 6, 9, 4, 5 and 18.
    assert (row["before"], row["now"]) == (9, 4)
    assert (row["least"], row["before/now"], row["most"]) == (9 / 4, 18 / 5, 6)
    assert "before/now" in capsys.readouterr().out


def test_ranks_import_the_package_of_the_tree_that_is_compared(tmp_path):
    package = tmp_path / "tree" / "wagma_rma"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the other package')\n")
    with pytest.raises(SystemExit, match="the other package"):
        against.rows_of(lambda command, env: launch.Ranks(1, command, env), tmp_path / "tree", [])


def test_what_many_ranks_cost_is_predicted_with_the_constants_that_are_given(tmp_path):
    told, output = rows_of(
        1, tmp_path / "rows.json", "scaling", "--experiment", "predicted", "--link", "2.5e9"
    )
    assert "2.5 GB/s a link" in output
    assert told["rows"]["predicted"][-1]["ranks"] == 65_536


def test_a_rank_of_half_the_speed_makes_the_others_wait_half_of_the_run(tmp_path):
    options = "--experiment", "elastic", "--slow", "half speed", "--steps", "10"
    told, _ = rows_of(2, tmp_path / "rows.json", "imbalance", *options)
    row = told["rows"][0]
    assert (row["slow"], row["sync_quorum"], row["of none"]) == ("half speed", None, 1)
    assert row["seconds"] >= 2
    assert 0.25 < row["waited"] < 0.75
    assert row["waited slowest"] < row["waited"]
    assert row["trained"] == 1
