"""The demo trains in every mode, shows who waited, and draws it."""

import re
import struct
import sys

import matplotlib.image
import numpy as np
import pytest

from tests.support import cache, launch
from wagma_rma.seeing import timeline
from wagma_rma.seeing.trace import read_trace

pytestmark = pytest.mark.slow

RANKS = 4
STEPS, SLEEPS, SECONDS = 20, 4, 0.4  # each rank sleeps once in every 5 steps, at steps drawn from the seed
SLOW = f"--steps {STEPS} --slow-every 5 --slow-seconds {SECONDS} --slow-rank 0 1 2 3"


def demo(directory, arguments, ranks=RANKS):
    """Run the demo in a directory and return what it printed."""
    command = [sys.executable, "-W", "error", "-m", "jax_bindings.demo", "--batch-size", "32"]
    code, output = launch.Ranks(ranks, cache.using([*command, *arguments.split()]), cwd=directory).wait(200)
    assert code == 0, output
    return output


def accuracies(output):
    """Return the accuracy of each rank's own model, then of the synchronised one."""
    own = re.findall(r"^ +\d+ +(0\.\d{4}|1\.0000) .*\)$", output, re.MULTILINE)
    together = re.findall(r"^accuracy of the synchronised model +(\S+)$", output, re.MULTILINE)
    assert own and len(together) == 1, output
    return [float(value) for value in own + together]


def waited(output):
    return float(re.search(r"^waited by all ranks together +(\S+) s$", output, re.MULTILINE)[1])


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Return (output, picture) by mode, of runs where each rank is slow now and then."""
    runs = {}
    for mode in ("wagma", "allreduce"):
        directory = tmp_path_factory.mktemp(mode)
        runs[mode] = demo(directory, f"--mode {mode} {SLOW}"), directory / "wagma_timeline.png"
    return runs


@pytest.mark.parametrize("mode", ["wagma", "allreduce"])
def test_it_trains_and_shows_all_ranks(slow, mode):
    output, _ = slow[mode]
    assert len(accuracies(output)) == RANKS + 1
    assert min(accuracies(output)) > 0.8
    assert output.startswith("starting 4 ranks")
    assert [line for line in output.splitlines() if len(line) > 80] == []
    assert "averaged in the compiled step by    XLA's FFI, in place" in output
    table = re.findall(rf"^ +[\d.]+ s   rank .*\n((?: +\d+ +{STEPS} .*\n){{4}})", output, re.MULTILINE)
    assert table, output
    for line in table[-1].splitlines():
        fresh, late, missed, synchronized = map(int, line.split()[3:7])
        # The steps, and the synchronisation at the end.
        assert fresh + late + missed + synchronized == STEPS + 1
        assert synchronized == (3 if mode == "wagma" else STEPS + 1)


def test_waiting_is_avoided(slow, tmp_path):
    wagma, allreduce = (waited(slow[mode][0]) for mode in ("wagma", "allreduce"))
    if wagma >= 0.6 * allreduce:
        # What else the machine has to do makes ranks slow too, in one mode more than in the other.
        wagma, allreduce = (
            waited(demo(tmp_path, f"--mode {mode} {SLOW}")) for mode in ("wagma", "allreduce")
        )
    # Within 10 steps each rank sleeps twice: with allreduce, one after the other.
    assert allreduce > RANKS * SLEEPS * SECONDS
    assert wagma < 0.6 * allreduce


@pytest.mark.parametrize("mode", ["wagma", "allreduce"])
def test_the_picture_shows_what_happened(slow, mode):
    _, picture = slow[mode]
    header = picture.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", header[16:])
    assert width > 1000 and height > 500
    pixels = (matplotlib.image.imread(picture)[:, :, :3] * 255).round().astype(np.uint8)

    def share(kind):
        color = bytes.fromhex(timeline.COLORS[kind][1:])
        return (pixels == np.frombuffer(color, np.uint8)).all(axis=2).mean()

    trace = read_trace(picture.with_suffix(".json"))
    assert [len(calls) for calls in trace.calls.values()] == [STEPS + 1] * RANKS

    assert share("slowed") > 0.02
    if mode == "allreduce":
        assert share("wait") > 0.1
        assert share("synchronize") > 0.05
    else:
        assert share("average: FRESH") + share("average: LATE") > 0.02


def test_ranks_that_are_behind_skip_steps_in_an_elastic_run(tmp_path):
    slow = "--slow-every 1 --slow-seconds 0.3 --slow-rank 1"
    output = demo(tmp_path, f"--elastic --steps {STEPS} --sync-period 5 {slow}", ranks=3)
    assert min(accuracies(output)) > 0.7
    table = re.search(r"^rank .* sync  skipped .*\n((?: +\d+ .*\n){3})", output, re.MULTILINE)
    for rank, line in enumerate(table[1].splitlines()):
        *performed, skipped = map(int, line.split()[2:7])
        assert sum(performed) + skipped == STEPS + 1
        assert skipped > 0 or rank != 1
    assert re.search(r"^share of their time waited +\d+%$", output, re.MULTILINE)
    assert re.search(r"^steps skipped by all ranks +[1-9]\d* of 60$", output, re.MULTILINE)


def test_the_same_seed_without_a_slow_rank_gives_the_same_model(tmp_path):
    runs = [demo(tmp_path, "--steps 12 --slow-every 0 --no-table", ranks=2) for _ in range(2)]
    assert accuracies(runs[0]) == accuracies(runs[1])
    assert "no rank slowed" in runs[0]
    assert not re.search(r"^ +[\d.]+ s   rank", runs[0], re.MULTILINE), "a table in spite of --no-table"


def test_local_training_averages_once_at_the_end(tmp_path):
    picture = tmp_path / "elsewhere.png"
    output = demo(tmp_path, f"--mode local --steps 12 --slow-seconds 0.05 --timeline {picture}", ranks=2)
    assert len(accuracies(output)) == 3
    # Steps of one rank alone are no averages: they are not counted as FRESH.
    assert re.search(r"^ +0 +\S+ +0 +0 +0 +1 ", output, re.MULTILINE), output
    assert picture.stat().st_size > 10_000


def test_a_wrong_option_ends_all_ranks_with_one_message(tmp_path):
    command = [sys.executable, "-m", "jax_bindings.demo", "--slow-rank", "4"]
    code, output = launch.Ranks(2, command, cwd=tmp_path).wait(120)
    assert code != 0
    assert output.count("--slow-rank must be between 0 and 1: there are 2 ranks") == 1
