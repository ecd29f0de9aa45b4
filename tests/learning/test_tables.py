"""What is read off the curves of runs: the best learning rate, times to a target, rows of tables."""

import json

import pytest

from benchmarks.learning import curves, plot, tables


def run(seed=0, method="wagma", slow="balanced", accuracies=(0.2, 0.6, 0.8), losses=(1.0, 2.0)):
    """Return a run of two lanes, whose second has no accuracy."""
    points = [
        {
            "seconds": 10.0 * (n + 1),
            "step": 20 * (n + 1),
            "validation": [[losses[0], 0.0], [losses[1], 0.0]],
            "test": [[0.0, accuracy], [0.0, 0.0]],
        }
        for n, accuracy in enumerate(accuracies)
    ]
    report = {"seconds": 30.0, "waited": 0.25, "gradients": 120, "late share": 0.5}
    return {
        "method": method, "slow": slow, "seed": seed, "steps": 60, "ranks": 2, "rates": [0.1, 0.2],
        "points": points, "report": report, "task": "digits", "optimizer": "momentum",
    }  # fmt: skip


def test_the_time_to_a_target_lies_between_two_points():
    assert curves.seconds_to(run(), 0, 50) == pytest.approx(17.5)
    assert curves.seconds_to(run(), 0, 20) == pytest.approx(10)
    assert curves.seconds_to(run(), 0, 81) is None


def test_the_learning_rate_is_that_of_the_best_validation_loss_over_all_seeds():
    assert curves.lane([run()]) == 0
    assert curves.lane([run(losses=(1.0, 2.0)), run(losses=(1.0, 0.5))]) == 0
    assert curves.lane([run(losses=(1.0, 1.2)), run(losses=(1.0, 0.5))]) == 1
    assert curves.lane([run(losses=(float("nan"), 2.0))]) == 1


def test_a_row_has_means_and_standard_errors_over_seeds():
    (row,) = tables.rows([run(0), run(1, accuracies=(0.2, 0.6, 0.7))], target=75)
    assert row == (
        "balanced", "wagma", "0.1<", "75.0 ±5.0", "60", "30.0", "27.5 (1 of 2)", "", "25", "50", "1.00"
    )  # fmt: skip


def test_times_are_compared_with_those_of_allreduce_sgd():
    runs = [run(), run(method="allreduce", accuracies=(0.4, 0.6, 0.7)), run(slow="two late")]
    assert [row[tables.COLUMNS.index("of allreduce")] for row in tables.rows(runs, 50)] == [
        "1.17",
        "1.00",
        "",
    ]
    assert [row[tables.COLUMNS.index("of allreduce")] for row in tables.rows(runs, 75)] == ["", "", ""]


def test_tables_are_made_of_files_and_folders(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(run()))
    (tmp_path / "b.json").write_text(json.dumps([run(method="allreduce"), run(slow="two late")]))
    runs = tables.read(tmp_path)
    assert len(runs) == len(tables.read(*tmp_path.glob("*.json"))) == 3
    lines = tables.text(runs, 50).splitlines()
    assert "to 50 %, s" in lines[0]
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| balanced", "wagma"], ["| balanced", "allreduce"], ["| two late", "wagma"]
    ]  # fmt: skip


def test_a_wide_table_has_a_row_a_method_and_a_column_a_kind(tmp_path, capsys):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps([run(), run(slow="two late"), run(method="allreduce")]))
    tables.main([str(path), "--wide", "accuracy", "to", "of", "--target", "60"])
    assert capsys.readouterr().out.splitlines() == [
        "| method | balanced | two late |",
        "| --- | ---: | ---: |",
        "| wagma | 80.0 · 20.0 · 1.00 | 80.0 · 20.0 |",
        "| allreduce | 80.0 · 20.0 · 1.00 |  |",
    ]


def test_the_target_is_what_most_methods_reach():
    finals = (0.31, 0.72, 0.74, 0.76, 0.76)
    runs = [run(method=str(n), accuracies=(accuracy,)) for n, accuracy in enumerate(finals)]
    assert tables.target_of(runs) == 70


def test_a_line_tells_of_a_run():
    assert curves.line(run()) == (
        "balanced   wagma          seed 0: 60 steps in 30.0 s, waited 25.0 %, late 0.50, "
        "accuracy 80.0 (0.1) 0.0 (0.2)"
    )


def test_a_picture_has_a_line_for_each_method_against_seconds_and_steps(tmp_path):
    path = tmp_path / "runs.json"
    runs = [run(0), run(1, accuracies=(0.2, 0.6, 0.7)), run(method="allreduce"), run(slow="two late")]
    path.write_text(json.dumps(runs))
    figure = plot.draw(tables.read(path))
    assert [(axes.get_title(), axes.get_xlabel(), len(axes.lines)) for axes in figure.axes] == [
        ("balanced", "seconds", 2), ("balanced", "steps", 2), ("two late", "seconds", 1), ("two late",
        "steps", 1)
    ]  # fmt: skip
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[10, 20], [20, 60], [30, 75]]
    plot.main([str(path), "--out", str(tmp_path / "picture.png"), "--methods", "wagma"])
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
