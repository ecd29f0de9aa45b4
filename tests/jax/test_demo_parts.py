"""The parts of the demo that need no ranks: its command line, its table, its picture, its summary."""

import itertools
import os
import pty
import re
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from jax_bindings.demo import arguments, board
from jax_bindings.demo.board import Progress, table
from jax_bindings.demo.summary import caption, heading, steps_of, summary
from jax_bindings.demo.training import Run
from tests.support.launch import ROOT
from wagma_rma.seeing import timeline
from wagma_rma.seeing.timeline import Step

# The command line.


def refusal(capsys, command, ranks=4):
    with pytest.raises(SystemExit):
        arguments.parse(command.split(), ranks)
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("--timeline x.foo", "--timeline: x.foo does not end in .png, .pdf, .svg"),
        ("--timeline x", "--timeline: x does not end in"),
        ("--timeline no/where.png", "--timeline: there is no directory"),
        ("--slow-seconds inf", "--slow-seconds must be between 0 and 3600"),
        ("--slow-seconds nan", "--slow-seconds must be between 0 and 3600"),
        ("--steps 0", "--steps must be between 1 and 100000"),
        ("--steps 1000000", "--steps must be between 1 and 100000"),
        ("--batch-size 0", "--batch-size must be between 1 and 100000"),
        ("--sync-period 0", "--sync-period must be between 1"),
        ("--seed -1", "--seed must be between 0"),
        ("--slow-rank 4", "--slow-rank must be between 0 and 3: there are 4 ranks"),
        ("--group-size 5", "--group-size: "),
        ("--mode allreduce --group-size 2", "--mode allreduce has no use for --group-size; leave it out"),
        ("--mode allreduce --sync-period 5", "--mode allreduce has no use for --sync-period"),
        ("--mode local --group-size 2", "--mode local has no use for --group-size"),
        ("--mode local --sync-period 10", "--mode local has no use for --sync-period"),
        ("--mode allreduce --elastic", "--mode allreduce has no use for --elastic; leave it out"),
    ],
)
def test_what_can_not_work_is_refused_before_anything_is_trained(capsys, command, told):
    assert told in refusal(capsys, command)


def test_a_picture_that_can_not_be_written_is_refused(capsys, tmp_path):
    (tmp_path / "folder.png").mkdir()
    assert "is a directory" in refusal(capsys, f"--timeline {tmp_path}/folder.png")


def test_a_mode_that_needs_no_period_has_none_that_was_asked_for():
    assert arguments.parse(["--mode", "local"], 4).sync_period == 10
    assert arguments.parse(["--sync-period", "7"], 4).sync_period == 7


def test_a_single_rank_is_told_how_to_start_several():
    assert "mpiexec -n 4 python -m jax_bindings.demo" in arguments.greeting(1)
    assert "starting 4 ranks" in arguments.greeting(4)
    run, steps = Run(0.0, [0.0], PROGRESS, 0.5, 0.5, "ffi"), [Step(0, 0, 0, 0, 1, "SYNCHRONIZED")]
    assert "start several:\nmpiexec -n 4 " in summary(arguments.parse([], 1), [run], [steps])


def test_what_is_said_first_needs_no_jax():
    # Several ranks take seconds to import it, and until then nothing would be seen.
    program = "import sys, jax_bindings.demo.arguments; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], timeout=60, cwd=ROOT, check=True)


@pytest.mark.parametrize("module", ["optax", "sklearn", "matplotlib"])
def test_a_package_that_is_missing_is_named_with_the_extra_that_has_it(module):
    program = (
        f"import runpy, sys; sys.modules[{module!r}] = None; sys.argv[1:] = ['--steps', '1']; "
        "runpy.run_module('jax_bindings.demo', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, cwd=ROOT
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: jax_bindings.demo needs ")
    assert {"sklearn": "scikit-learn"}.get(module, module) in last
    assert "pip install 'wagma-rma[jax]'" in last


# What is printed.

PROGRESS = Progress(101, 0.1234, 40, 50, 1, 10, 12.34)


def test_a_table_has_a_line_for_each_rank():
    lines = table(1234.5, [PROGRESS] * 4 + [None], None)
    assert len(lines) == 6
    assert [line.split()[0] for line in lines[1:]] == list("01234")
    assert "not heard of yet" in lines[-1]


@pytest.mark.parametrize("most", [3, 10, 23])
def test_a_table_that_is_taller_than_the_terminal_sums_up_the_ranks_that_do_not_fit(most):
    known = [PROGRESS._replace(step=step) for step in range(100, 164)]
    lines = table(1.0, known, most)
    assert len(lines) == most
    assert [line.split()[0] for line in lines[1:-1]] == [str(rank) for rank in range(most - 2)]
    hidden = 64 - (most - 2)
    assert f"and {hidden} more ranks, at steps {100 + most - 2} to 163" in lines[-1]
    assert f"{hidden * 12.34:.0f} s" in lines[-1]


def test_a_table_that_just_fits_shows_all_ranks():
    assert len(table(1.0, [PROGRESS] * 4, 5)) == 5
    assert "more ranks" not in table(1.0, [PROGRESS] * 4, 5)[-1]


def test_the_height_is_that_of_the_terminal():
    import fcntl
    import struct
    import termios

    mine, its = pty.openpty()
    try:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 7, 80, 0, 0))
        assert board.height(os.ttyname(its)) == 7
    finally:
        os.close(mine)
        os.close(its)
    assert board.height("/dev/null") == 24


@pytest.mark.parametrize("mode", ["wagma", "wagma --elastic", "allreduce", "local"])
@pytest.mark.parametrize("ranks", [1, 4, 64])
def test_all_lines_fit_80_columns(mode, ranks, capsys):
    slow = ["--slow-rank", *map(str, range(ranks))]
    words = ["--mode", *mode.split(), "--steps", "100000", "--slow-seconds", "1234.5", *slow]
    chosen = arguments.parse(words, ranks)
    steps = [Step(0, 0, 0, 0, 1, None), Step(1, 0, 1234.5, 2000, 99999, "SYNCHRONIZED", 99999)]
    largest = Progress(100000, 1234.5678, 100000, 100000, 100000, 100000, 99999.99)
    runs = [Run(0.0, [0.0, 0.0], largest, 1.0, 1.0, "callback")] * ranks
    lines = [
        *arguments.greeting(ranks).splitlines(),
        *table(9999.9, [largest] * ranks, None),
        *table(9999.9, [largest] * ranks, 5),
        *summary(chosen, runs, [steps] * ranks).splitlines(),
    ]
    assert [line for line in lines if len(line) > 80] == []


# The picture.

# How people see who lack one kind of cones (Machado et al., IEEE TVCG 15(6), 2009), in linear RGB.
EYES = {
    "usual": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def seen(color, eyes):
    """Return a colour in CIELAB, as it is seen."""
    srgb = np.frombuffer(bytes.fromhex(color[1:]), np.uint8) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(EYES[eyes]) @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", EYES)
def test_all_eyes_tell_the_colours_apart(eyes):
    pairs = itertools.combinations(timeline.COLORS.items(), 2)
    distances = {
        (name, other): np.linalg.norm(seen(color, eyes) - seen(color_of_other, eyes))
        for (name, color), (other, color_of_other) in pairs
    }
    assert {pair: distance for pair, distance in distances.items() if distance < 16} == {}


def test_a_step_of_one_rank_alone_has_no_outcome():
    activities, outcomes = timeline.spans([Step(0.0, 0.0, 0.0, 0.5, 2.0, None)], 0.0)
    assert not any(outcomes.values())
    assert sum(seconds for _, seconds in activities["compute"]) == 2.0


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("wagma", r"Every 10 steps all ranks wait for the last"),
        ("allreduce", r"at every step all of them wait for the slowest"),
        ("local", r"Only at the end all of them wait"),
        ("wagma --elastic", r"The first rank to do 10 steps calls all others .* skips those in between"),
    ],
)
def test_the_caption_says_why_ranks_wait(mode, why, tmp_path):
    chosen = arguments.parse(["--mode", *mode.split()], 4)
    assert re.search(why, caption(chosen))
    steps = [Step(0.0, 0.1, 0.0, 0.2, 1.0, "FRESH"), Step(1.0, 0, 0.3, 0.5, 2.0, "SYNCHRONIZED")]
    pictures = []
    for text in ("", caption(chosen)):
        path = tmp_path / f"{len(text)}.png"
        timeline.draw(path, " ".join(heading(chosen, 4)), text, {0: steps, 1: steps})
        pictures.append(matplotlib.image.imread(path))
    whites = [(picture[:, :, :3] == 1).all(axis=2).sum() for picture in pictures]
    assert whites[0] > whites[1] + 500, "the caption is in the picture"


def test_the_picture_shows_which_steps_were_skipped(tmp_path):
    elsewhere = Step(0.0, 0.0, 0.0, 0.2, 2.0, "SYNCHRONIZED")
    pictures = []
    for skipped in (0, 7):
        synchronised = Step(0.0, 0.0, 0.5, 0.8, 2.0, "SYNCHRONIZED", skipped)
        path = tmp_path / f"{skipped}.png"
        timeline.draw(path, "", "", {0: [elsewhere], 1: [synchronised]})
        pictures.append((matplotlib.image.imread(path)[:, :, :3] * 255).round().astype(np.uint8))
    ink = [
        (picture == np.frombuffer(bytes.fromhex(timeline.INK[1:]), np.uint8)).all(axis=2)
        for picture in pictures
    ]
    # A triangle in each part, and one in the legend: some 24 pixels each.
    assert ink[1].sum() > ink[0].sum() + 60
    assert timeline.jumps([elsewhere, synchronised], 0.5) == ([0.7], [7])


def test_the_summary_of_an_elastic_run_says_what_it_has_saved():
    chosen = arguments.parse(["--elastic", "--slow-every", "1", "--steps", "100"], 4)
    steps = [Step(0, 0, 0, 0, 1, None), Step(1, 0, 0.5, 2, 5, "SYNCHRONIZED", 8)]
    run = Run(0.0, [0.0, 0.0], PROGRESS._replace(waited=2.0), 0.5, 0.5, "ffi")
    lines = summary(chosen, [run] * 4, [steps] * 4).splitlines()
    assert "slowed by 0.3 s at each step: rank 1" in lines
    assert "   0    0.5000      40      50       1      10        8    2.00 s  (0.50 s)" in lines
    assert "share of their time waited          40%" in lines
    assert "steps skipped by all ranks          32 of 400" in lines
    usual = summary(arguments.parse([], 4), [run] * 4, [steps] * 4)
    assert "skipped" not in usual


def test_the_steps_of_the_demo_are_those_of_the_trace_and_what_it_slept(monkeypatch):
    chosen = arguments.parse([], 1)
    traced = [Step(10.5, 0, 0, 0.5, 11.0, "FRESH"), Step(11.0, 0, 0, 0.5, 12.0, "SYNCHRONIZED")]
    monkeypatch.setattr(timeline, "steps_of", lambda path: [list(traced)])
    run = Run(10.0, [0.25, 0.0], PROGRESS, 0.5, 0.5, "ffi")
    [first, second] = steps_of(chosen, [run])[0]
    assert (first.begin, first.slowed, second.begin, second.slowed) == (10.0, 0.25, 11.0, 0.0)
    # A trace has the newest steps of a long run.
    longer = run._replace(slowed=[0.5, 0.25, 0.0])
    assert [(step.begin, step.slowed) for step in steps_of(chosen, [longer])[0]] == [
        (10.5, 0.25),
        (11.0, 0.0),
    ]
