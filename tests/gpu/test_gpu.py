"""Steps on a real CUDA GPU, which ranks share: the bits of steps on a CPU, however they are called."""

import shutil

import pytest

from tests.support import launch

pytestmark = pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no GPU: nvidia-smi is not there")

ON_GPU = {"JAX_PLATFORMS": "cuda", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.15"}
LIMIT = 120


@pytest.mark.parametrize("ranks", [2, 4])
def test_compiled_and_eager_steps_with_overlap_give_the_bits_of_the_definition(ranks):
    assert launch.run(ranks, "jax.overlap:same_bits", backend="ffi", limit=LIMIT, env=ON_GPU) == [[]] * ranks


def test_loops_do_a_step_in_each_turn():
    assert launch.run(2, "jax.compiled:loops", backend="ffi", limit=LIMIT, env=ON_GPU) == [[], []]


def test_params_are_copied_straight_from_and_to_the_window():
    for facts in launch.run(2, "jax.cuda:chosen", backend="ffi", limit=LIMIT, env=ON_GPU):
        mean = [i + 0.5 for i in range(6)]
        assert (facts["backend"], facts["copies"], facts["means"]) == (
            "ffi",
            ["DeviceLeaves"] * 2,
            [mean] * 2,
        )


def test_after_a_timeout_steps_go_on_outside_of_jit_and_in_a_new_thread():
    """As JAX fails all later compiled steps of the thread."""
    (told, *others), (_, *same) = launch.run(2, "jax.compiled:after_failure", limit=LIMIT, env=ON_GPU)
    assert "SynchronizationTimeout: average: rank 0 at step 2" in told[0]
    assert others == same
    assert others[0] == 3


@pytest.mark.parametrize("options", [{}, {"overlap": True}], ids=str)
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("framework", ["torch", "cupy"])
def test_tensors_on_the_device_get_the_bits_of_those_on_the_cpu(framework, in_place, options):
    pytest.importorskip(framework)
    for wrong, modules in launch.run(
        2, "gpu.tensors:same_bits", framework=framework, in_place=in_place, limit=LIMIT, **options
    ):
        assert wrong == []
        assert {module.partition(".")[0] for module in modules} == {framework}
