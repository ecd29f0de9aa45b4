"""The examples of tests/jax/examples run, and learn."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.support import cache, launch

pytestmark = pytest.mark.slow

RANKS = 2  # as many as cores: frameworks take long to begin
EXAMPLES = Path(__file__).parent / "examples"
# Ranks share two cores, and frameworks would take a thread for each.
ENV = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
}


def run(name, needs, *arguments):
    """Run an example; return its lines by rank."""
    if not importlib.util.find_spec(needs):
        pytest.skip(f"{needs} is not installed")
    # Unbuffered ranks write a line in two pieces, which mpiexec may mix with another rank's.
    env = {**ENV, "PYTHONUNBUFFERED": "", "JAX_PLATFORMS": "cpu"}
    command = cache.using([sys.executable, str(EXAMPLES / name), *arguments])
    job = launch.Ranks(RANKS, command, env)
    code, output = job.wait(180)
    assert code == 0, output
    said = dict(re.findall(r"^rank (\d): (.*)$", output, re.MULTILINE))
    assert sorted(said) == [str(rank) for rank in range(RANKS)], output
    return [said[rank] for rank in sorted(said)]


def accuracies(lines):
    return [float(line.removeprefix("accuracy ")) for line in lines]


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("flax_linen.py", "flax"),
        ("flax_nnx.py", "flax"),
        ("equinox_mlp.py", "equinox"),
        ("pytorch.py", "torch"),
    ],
)
def test_training_with_a_framework_ends_with_one_good_model(name, needs):
    found = accuracies(run(name, needs))
    assert min(found) > 0.9
    assert len(set(found)) == 1


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    whole = run("checkpoint.py", "orbax", str(tmp_path / "whole"))
    for stop in (7, 10, 13):  # step 10 is a synchronisation
        lines = run("checkpoint.py", "orbax", str(tmp_path / "parts"), "--stop-after", str(stop))
        assert all(line.startswith(f"step {stop},") for line in lines)
    assert run("checkpoint.py", "orbax", str(tmp_path / "parts")) == whole
    assert all(line.startswith("step 20,") for line in whole)


# The program's own choice, params and batch_stats, is tested above.
CHOICES = [["params"], ["params", "opt_state"], ["params", "batch_stats", "opt_state"]]


@pytest.mark.parametrize("average", CHOICES, ids="+".join)
def test_every_choice_of_what_is_averaged_learns(average, record_property):
    found = accuracies(run("flax_linen.py", "flax", "--average", *average))
    record_property("accuracy", found)
    print(f"\n{' + '.join(average):35} accuracy {found}")
    assert min(found) > 0.85
    # Statistics that are each rank's own make models differ that are else the same.
    assert len(set(found)) == 1 or "batch_stats" not in average
