"""The JAX bindings do what the numpy API does, in and out of jit, and name leaves as JAX does."""

import sys

import pytest

from tests.support import launch, pool
from wagma_rma.seeing.trace import read_trace


@pytest.mark.parametrize(("ranks", "group_period"), [(2, 1), (4, 1), (2, 3)])
def test_eager_and_compiled_steps_give_the_bits_of_the_numpy_api(ranks, group_period):
    how = {"limit": 90, "env": {"JAX_ENABLE_X64": "1"}, "group_period": group_period}
    for rank, wrong in enumerate(pool.run(ranks, "jax.pytree:same_bits", **how)):
        assert wrong == [], f"rank {rank}"


def test_subnormal_numbers_are_averaged_like_any_other_in_jit():
    for least, eager, compiled in pool.run(2, "jax.pytree:subnormal", limit=60):
        assert eager == [least] * 3
        assert compiled == eager


def test_ranks_with_different_numbers_of_steps_join():
    # At step 4 rank 0 brings 1, rank 1 brings 4. Then rank 0 has their mean, 2.5, and rank 1 one more.
    for step, values, in_jit in pool.run(2, "jax.pytree:uneven", limit=60):
        assert (step, values) == (6, [3.0])
        assert in_jit.startswith("TypeError: join: called inside a function that is being compiled")


@pytest.mark.parametrize("backend", ["ffi", "callback"])
def test_compiled_steps_are_seen_measured_and_traced(tmp_path, backend):
    how = {"folder": str(tmp_path), "backend": backend, "limit": 60}
    for rank, (told, own, measured) in enumerate(pool.run(2, "jax.pytree:seen", **how)):
        assert told == [[10, "computing", 9]] * 2
        assert own == rank and measured
    calls = read_trace(tmp_path / "run.json").calls
    assert [[call.step for call in calls[rank]] for rank in range(2)] == [list(range(1, 11))] * 2


def test_steps_keep_the_order_of_the_program():
    assert pool.run(2, "jax.pytree:order", limit=60) == [[], []]


def test_all_ranks_start_alike_and_a_closed_averager_says_so():
    for rank, facts in enumerate(pool.run(2, "jax.pytree:start", limit=60)):
        in_jit = facts.pop("closed in jit")
        assert "RuntimeError: average: this averager is closed; make a new one" in in_jit
        assert facts == {
            "structure": True,
            "values": [1.0],
            "dtypes": ["float32", "bfloat16", "float16", "float32"],
            "before": [0, "SYNCHRONIZED"],
            "mean": [1.5],
            "type": ["Network", "Layer"],
            "closed": "RuntimeError: average: this averager is closed; make a new one",
            "own": [float(rank), "float32"],
            "bare": "ValueError: average: model is float32[3], but the averager was made for float32[2]; "
            "make a new averager for another model",
            "wide": "float32",
        }


def test_an_averager_shows_what_it_was_made_with_and_is_not_copied():
    for rank, (text, copied, own) in enumerate(pool.run(2, "jax.pytree:shown", limit=60)):
        assert text.startswith(f"<PytreeAverager of rank {rank} of 2 at step 0: group_size=")
        assert "sync_period=7, group_period=1, quorum=2, " in text
        assert text.endswith(", backend='ffi'>")
        assert copied.startswith("TypeError: PytreeAverager: an averager can't be copied or pickled")
        *numbers, nbytes, window, progress, hosts = own
        assert numbers == [2, 7, 2, "auto"]
        assert f"window={window!r}, progress={progress!r}, {max(hosts) + 1} host" in text
        assert f"{nbytes:,} bytes" in text


@pytest.mark.parametrize(
    ("missing", "program"),
    [("jax", "import jax_bindings"), ("optax", "import jax_bindings; jax_bindings.wagma(None, None)")],
)
def test_without_a_package_the_error_names_the_extra(missing, program):
    program = f"""
import sys
sys.modules[{missing!r}] = None
try:
    {program}
except ImportError as error:
    print(error)
"""
    job = launch.Ranks(1, [sys.executable, "-W", "error", "-c", program])
    code, output = job.wait(60)
    assert code == 0, output
    assert missing.replace("jax", "JAX") in output
    assert output.endswith("run: pip install 'wagma-rma[jax]'\n")


def test_errors_name_the_leaf_as_jax_does_on_every_rank():
    bias, kernel = "model.layers[0].bias['b']", "model.layers[1].kernel"
    for rank, said in enumerate(pool.run(2, "jax.pytree:errors", limit=60)):
        assert said["integer"].startswith(f"TypeError: PytreeAverager: {bias} has dtype int32; only float64")
        assert said["integer at one rank"].startswith(said["integer"])
        assert said["number"].startswith("TypeError: PytreeAverager: model.scale is a float; ")
        assert said["random key"].startswith("TypeError: PytreeAverager: model['key'] is a PRNGKeyArray; ")
        for what in ("integer", "number", "random key", "function", "object"):
            assert "pass select=floating, which averages the arrays of floats alone" in said[what], what
        assert said["function"].startswith("TypeError: PytreeAverager: model['activation'] is a ")
        assert said["object"].startswith(
            "TypeError: PytreeAverager: model['layer'] is a Unknown, no array and no container"
        )
        assert said["in jit"].startswith(
            "TypeError: PytreeAverager: made in a function that is being compiled"
        )
        assert said["disagree"].startswith(
            f"ValueError: PytreeAverager: {kernel} is float16[4] at rank 1 but float16[3] at rank 0"
        )
        assert said["same path at one rank"].startswith(
            "ValueError: PytreeAverager: two leaves have the same"
        )
        assert said["option"].startswith("ValueError: PytreeAverager: quorum=9 is out of range")
        assert said["option at one rank"] == (
            "ValueError: PytreeAverager: sync_period is 3 at rank 1 but 2 at rank 0; pass the same at every "
            "rank"
        )
        assert said["window"].startswith("ValueError: PytreeAverager: window='far' is unknown; pass one of")
        assert said["timeout"].startswith("ValueError: PytreeAverager: timeout=-1 is out of range")
        assert said["no option"] == (
            "TypeError: PytreeAverager.__init__() got an unexpected keyword argument 'groupsize'"
        )
        assert said["no communicator"].startswith("TypeError: PytreeAverager: comm is None; pass an mpi4py")
        for where in ("eager", "jit"):
            assert said[f"integer, {where}"].startswith(f"TypeError: average: {bias} has dtype int32"), where
            assert said[f"longer, {where}"].startswith(
                f"ValueError: average: {kernel} is float16[4], but the averager was made for float16[3]"
            ), where
            assert said[f"less, {where}"].startswith(f"ValueError: average: {bias} is missing"), where
            assert said[f"more, {where}"].startswith(
                "ValueError: average: model.layers[1].bias['new'] is not in the model"
            ), where
        assert said["steps"] == 0
        assert said["synchronisation"].startswith(f"ValueError: average: {kernel} is float16[4]"), rank
        assert said["steps after"] == 2


def test_a_program_may_end_without_blocking_or_closing():
    assert launch.run(2, "jax.pytree:unclosed", limit=60) == ["returned"] * 2
