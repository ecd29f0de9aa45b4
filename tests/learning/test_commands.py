"""The commands of benchmarks/LEARNING.md make their tables; quick ones as they stand, others smaller."""

import json
import sys

import pytest

from benchmarks.learning import agreement, experiments, scale
from benchmarks.learning.virtual import __main__ as virtual
from tests.support import launch


def table_of(output):
    """Return the rows of the table in a command's output, a list of dictionaries by the names of columns."""
    lines = [line.strip("|").split("|") for line in output.splitlines() if line.startswith("|")]
    names, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_an_experiment_prints_its_table_and_computes_nothing_twice(tmp_path, capsys):
    command = ["quick", "--out", str(tmp_path), "--seeds", "2", "--processes", "1"]
    experiments.main(command)
    rows = {row["method"]: row for row in table_of(capsys.readouterr().out)}
    assert list(rows) == ["allreduce", "ad-psgd", "wagma-elastic"]
    assert float(rows["allreduce"]["waited, %"]) > 50
    assert float(rows["wagma-elastic"]["seconds"]) < 0.6 * float(rows["allreduce"]["seconds"])
    assert all(float(row["accuracy, %"].split(" ±")[0]) > 85 for row in rows.values())

    kept = {path: path.read_text() for path in (tmp_path / "quick").iterdir()}
    assert len(kept) == 6
    experiments.main(command)
    again = capsys.readouterr().out
    assert " of 6, " not in again, "a run was computed again"
    assert list(table_of(again)[0].values()) == list(rows["allreduce"].values())
    assert kept == {path: path.read_text() for path in (tmp_path / "quick").iterdir()}


def test_times_at_scale_stand_beside_the_papers(capsys):
    scale.main(["--ranks", "64", "--slow", "two late"])
    rows = {row["method"]: row for row in table_of(capsys.readouterr().out)}
    assert rows["allreduce"]["paper"] == "1.26"
    assert rows["wagma"]["wagma /"] == rows["wagma-elastic"]["elastic /"] == "1.00"
    # What waits for all ranks at each step is alike, and slower than what waits for few.
    assert float(rows[scale.EACH_STEP]["wagma /"]) == pytest.approx(
        float(rows["allreduce"]["wagma /"]), abs=0.1
    )
    assert float(rows["allreduce"]["wagma /"]) > float(rows["sgp"]["wagma /"]) > 1


def test_runs_in_virtual_time_are_told_and_kept(tmp_path, capsys):
    path = tmp_path / "runs.json"
    command = "--ranks 4 --method allreduce wagma --steps 20 --task digits --rates 0.1 --json"
    virtual.main([*command.split(), str(path)])
    output = capsys.readouterr().out
    assert [run["method"] for run in json.loads(path.read_text())] == ["allreduce", "wagma"]
    assert [row["method"] for row in table_of(output)] == ["allreduce", "wagma"]
    assert output.count("20 steps in") == 2


def test_real_ranks_are_told_and_kept_and_repeated_in_virtual_time(tmp_path, capsys):
    path = tmp_path / "runs.json"
    options = "--method allreduce wagma --steps 20 --task digits --rates 0.1 0.2 --json"
    command = [sys.executable, "-m", "mpi4py", "-m", "benchmarks.learning", *options.split(), str(path)]
    code, output = launch.Ranks(2, command).wait(120)
    assert code == 0, output
    assert [row["method"] for row in table_of(output)] == ["allreduce", "wagma"]
    for run in json.loads(path.read_text()):
        assert run["ranks"] == 2
        assert len(run["step_times"][0]) == 20

    agreement.main([str(path)])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:3] for row in rows] == [["balanced", "allreduce", "0"], ["balanced", "wagma", "0"]]
    assert rows[0][-2:] == ["40", "40"]
