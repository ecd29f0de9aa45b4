"""Models on a CUDA device through the numpy API: the bits of models on this host, and clear errors."""

import pytest

from tests.support import launch

LIMIT = 60


@pytest.fixture
def folder(tmp_path):
    for rank in range(4):
        (tmp_path / str(rank)).mkdir()
    return str(tmp_path)


@pytest.mark.parametrize("options", [{}, {"overlap": True}, {"group_period": 2}], ids=str)
def test_steps_give_the_bits_of_steps_on_this_host(folder, options):
    for result in launch.run(2, "ranks.cuda:same_bits", folder=folder, limit=LIMIT, **options):
        assert result == [[], ["SYNCHRONIZED"] * 2, 0, 0, 0]


def test_what_cant_be_averaged_is_named_and_nothing_is_lost(folder):
    for rank, (said, mean, *left) in enumerate(
        launch.run(2, "ranks.cuda:refused", folder=folder, limit=LIMIT)
    ):
        where = "pass all leaves on the device, or all on the CPU"
        assert said[:8] == [
            f"ValueError: average: model['a'] is on a CUDA device, and model['b'] is not; {where}",
            f"ValueError: average: model['a'] is on a CUDA device, and out['a'] is not; {where}",
            f"ValueError: average: out['a'] is on a CUDA device, and model['a'] is not; {where}",
            "TypeError: average: model['a'] is a OnDevice, and no new array can be made like it; "
            "pass `out`, such as out=model",
            "TypeError: average: model['a'] is a OnDevice, and numpy can't use its memory (it is not "
            "C-contiguous; pass a contiguous copy); leave it out of the model",
            "ValueError: average: out['a'] is read-only; pass a writable array, or out=None for new ones",
            "ValueError: average: the arrays of model and out are used in 2 streams of CUDA; make all of "
            "them in one stream, or synchronise with the others and pass them in one",
            "ValueError: average: out['a'] lies where model['a'] does, and on a device that can't be; "
            "pass other memory, or out=model",
        ]
        assert mean == [0.5] * 3
        assert "cuMemcpyDtoHAsync failed: CUDA_ERROR_" in said[8], "rank 1 is told why"
        assert said[8].startswith("CudaError: rank 0: " if rank == 0 else "RankLeft: synchronize: rank 0 ")
        assert left == [0, 0]


def test_a_driver_that_refuses_memory_at_the_start_is_named_on_all_ranks(folder):
    failed = "rank 1: cuMemHostRegister failed: CUDA_ERROR_OUT_OF_MEMORY (out of memory)"
    first, second = launch.run(2, "ranks.cuda:refused_at_the_start", folder=folder, limit=LIMIT)
    assert first == [f"RuntimeError: CudaError: {failed} [found at rank 1]", 0, 0]
    assert second == [f"CudaError: {failed}", 0, 0]


def test_a_missing_driver_is_named():
    for said in launch.run(2, "ranks.cuda:without_driver", limit=LIMIT):
        assert "libcuda.so.1 can't be used: libcuda.so.1: cannot open shared object file" in said
