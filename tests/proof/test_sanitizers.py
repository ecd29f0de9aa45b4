"""What the sanitizers break on purpose, and what they let pass, are functions of the code as it is."""

import re
from pathlib import Path

import pytest

from tests.proof.anchors import Sources
from tests.proof.sanitizers import run


@pytest.fixture(scope="module")
def sources():
    return Sources.read()


@pytest.mark.parametrize(
    "edit", [*run.RELAXED.values(), *run.BROKEN.values()], ids=[*run.RELAXED, *run.BROKEN]
)
def test_what_is_broken_on_purpose_fits_one_place(sources, edit):
    assert len(sources.edited([edit])) == 1


@pytest.mark.parametrize("file", sorted(set(filter(None, run.WORLDS.values()))))
def test_what_may_race_are_methods(sources, file):
    text = (Path(run.__file__).parent / file).read_text()
    methods = re.findall(r"^race:__pyx_f_\*([A-Z]\w*?)_(\w+)$", text, re.MULTILINE)
    assert len(methods) == text.count("race:") > 0
    for method in methods:
        assert sources.function(".".join(method))


def test_the_function_of_which_reports_may_have_forgotten_the_other_side_is_a_method(sources):
    assert sources.function(run.SUMMING.replace("_", ".", 1))
    report = f"{run.REPORT}: data race\n  {run.FORGOTTEN}\n  #1 __pyx_f_9wagma_rma_{run.SUMMING}"
    assert [run.count_races(report, world) for world in run.WORLDS] == [1, 1, 0, 0]
    assert run.count_races(report.replace(run.SUMMING, "Snapshots_write"), "reused") == 1
