"""Steps on leaves of a CUDA device: the bits of steps on this host; what fails is named.

No GPU is needed: a driver library with the same entry points stands in, whose copies happen late.
"""

import time

import numpy as np
import pytest

from tests.support import models
from tests.support.fake_cuda import STREAM, FakeCuda, addresses
from tests.support.worlds import make_ranks
from wagma_rma.accelerators import Accelerators
from wagma_rma.devices.cuda import LIBRARY, CudaError, Driver
from wagma_rma.model.copies import DeviceLeaves
from wagma_rma.model.structure import Structure
from wagma_rma.protocol.protocol import nothing


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return FakeCuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def fake(library):
    library.reset(0.002)
    return library


def leaves(seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(40 + 30 * i).astype(dtype) for i, dtype in enumerate(models.DTYPES)]


class DeviceRank:
    """A rank whose leaves are on a device."""

    def __init__(self, rank):
        self.rank = rank
        self.kept = []  # as XLA keeps buffers until the stream has passed what uses them
        self.accelerators = Accelerators(
            rank.snapshots, rank.layout, Structure("test", leaves(0)), rank.window.rank
        )
        self.copies = self.accelerators.cuda()

    def call(self, method, model, out=None, stream=STREAM, moved=False):
        """Make a call; return what is on the device when the stream has come there."""
        out = [np.full_like(leaf, 77) for leaf in model] if out is None else out
        self.kept += [model, out]
        on_device = DeviceLeaves(self.copies, stream, addresses(model), addresses(out), moved=moved)
        try:
            self.rank.pointers.hold(on_device, self.copies.room)
            method(self.rank.pointers)
        finally:
            self.rank.pointers.release()
        return out

    def average(self, step, model, out=None, **how):
        return self.call(lambda pointers: self.rank.protocol.step(step, pointers), model, out, **how)


def worlds(fake, **options):
    """Return two ranks on a device, and two that do the same on this host."""
    ours = [DeviceRank(rank) for rank in make_ranks(leaves(0), **options)]
    return ours, make_ranks(leaves(0), **options)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"overlap": True}, {"chunk_bytes": 64}, {"group_period": 2}], ids=str
)
def test_steps_give_the_bits_of_steps_on_this_host(fake, options, in_place):
    ours, theirs = worlds(fake, **options)
    # Rank 1 comes late to each step, and misses some: rank 0 is three steps ahead.
    order = [(0, 1), (0, 2), (1, 1), (0, 3), (0, 4), (0, 5), (1, 2), (1, 3)]
    results = []
    for rank, step in order:
        model = leaves(10 * rank + step)
        expected = theirs[rank].average(step, leaves(10 * rank + step))
        found = ours[rank].average(step, model, model if in_place else None)
        for one in (ours[rank].rank, theirs[rank]):
            one.protocol.await_rest(nothing, nothing)
        results.append((rank, step, found, expected))
        assert ours[rank].rank.protocol.report()["outcome"] == theirs[rank].protocol.report()["outcome"]
        # What the next step may overwrite has been copied by then.
    fake.synchronize()
    for rank, step, found, expected in results:
        assert models.same_bits(found, expected), (rank, step)
    for one in ours:
        one.accelerators.close()
    assert (fake.registered, fake.retained, fake.depth) == (0, 0, 0)


def test_a_model_can_be_completed_on_its_device(fake):
    ours, theirs = worlds(fake, overlap=True)
    ours[0].average(1, leaves(1))
    theirs[0].average(1, leaves(1))
    for one in (ours[0].rank, theirs[0]):
        one.protocol.await_rest(nothing, nothing)
    expected = [np.empty_like(leaf) for leaf in leaves(2)]
    theirs[0].pointers.hold(leaves(2), expected)
    theirs[0].protocol.make_move(theirs[0].pointers)
    found = ours[0].call(ours[0].rank.protocol.make_move, leaves(2))
    fake.synchronize()
    assert models.same_bits(found, expected)


def test_streams_may_differ_from_call_to_call(fake):
    ours, theirs = worlds(fake)
    found = [ours[0].average(step, leaves(step), stream=step) for step in range(1, 4)]
    expected = [theirs[0].average(step, leaves(step)) for step in range(1, 4)]
    fake.synchronize()
    assert all(models.same_bits(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("cuPointerGetAttribute", "CUDA_ERROR_LAUNCH_FAILED (unspecified launch failure)"),
        ("cuDeviceGet", "CUDA_ERROR_LAUNCH_FAILED"),
        ("cuDevicePrimaryCtxRetain", "CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuCtxPushCurrent", "error 201"),
        ("cuEventCreate", "CUDA_ERROR_LAUNCH_FAILED"),
        ("cuMemHostRegister", "CUDA_ERROR_OUT_OF_MEMORY (out of memory)"),
        ("cuMemcpyDtoHAsync", "CUDA_ERROR_LAUNCH_FAILED"),
        ("cuEventRecord", "CUDA_ERROR_LAUNCH_FAILED"),
        ("cuEventQuery", "CUDA_ERROR_LAUNCH_FAILED"),
        ("cuMemcpyHtoDAsync", "CUDA_ERROR_LAUNCH_FAILED"),
    ],
)
@pytest.mark.parametrize("after", [0, 1])
def test_a_call_that_fails_is_named_and_the_context_is_left(fake, call, error, after):
    ours, _ = worlds(fake)
    fake.fail(call, 0 if call == "cuDevicePrimaryCtxRetain" else after)
    with pytest.raises(CudaError, match=f"^rank 0: {call} failed: ") as raised:
        for step in range(1, 4):
            ours[0].average(step, leaves(step))
    assert error in str(raised.value)
    assert fake.depth == 0
    fake.fail("", 0)
    ours[0].accelerators.close()
    assert (fake.registered, fake.retained) == (0, 0)


@pytest.mark.parametrize("options", [{}, {"group_period": 2}], ids=str)
def test_a_device_may_add_what_a_step_has_brought(fake, options):
    ours, theirs = worlds(fake, overlap=True, **options)
    for step in range(1, 7):
        for rank in (0, 1):
            model = leaves(10 * rank + step)
            expected = theirs[rank].average(step, [leaf.copy() for leaf in model])
            wide = [np.result_type(leaf.dtype, np.float32) for leaf in model]
            difference = [np.full(leaf.shape, 99, dtype) for leaf, dtype in zip(model, wide, strict=True)]
            flag = np.full(1, 9, np.uint8)
            one = ours[rank]
            nowhere = [0] * len(model)
            place = DeviceLeaves(one.copies, STREAM, nowhere, addresses(difference), flag.ctypes.data)
            exchanges = step % options.get("group_period", 1) == 0
            for _ in range(2):  # what is not used may be asked for again
                one.rank.snapshots.give_difference(place, exchanges)
                fake.synchronize()
            assert flag[0] in (0, 1)
            if flag[0]:
                model = [
                    (leaf.astype(dtype) + moved).astype(leaf.dtype)
                    for leaf, dtype, moved in zip(model, wide, difference, strict=True)
                ]
            found = one.average(step, model, moved=True)
            for each in (one.rank, theirs[rank]):
                each.protocol.await_rest(nothing, nothing)
            fake.synchronize()
            assert models.same_bits(found, expected), (rank, step)


def test_what_the_device_computes_before_a_step_is_no_part_of_it(fake):
    ours, _ = worlds(fake)
    fake.work(0.5)
    began = time.monotonic()
    ours[0].average(1, leaves(1))
    assert time.monotonic() - began > 0.5
    assert ours[0].rank.protocol.report()["seconds"] < 0.4


def test_leaves_may_move_to_another_device_but_lie_on_one(fake):
    ours, theirs = worlds(fake)
    first, second, mixed = leaves(1), [np.zeros(0, leaf.dtype) for leaf in leaves(1)], leaves(3)
    expected = [theirs[0].average(1, leaves(1)), theirs[0].average(2, leaves(2))]
    found = [ours[0].average(1, first)]
    fake.synchronize()
    block = np.empty(1 << 16, np.uint8)
    fake.place_on_second(block)
    begin = 0
    for i, leaf in enumerate(leaves(2)):
        second[i] = block[begin : begin + leaf.nbytes].view(leaf.dtype)
        second[i][:] = leaf
        begin += -(-leaf.nbytes // 64) * 64
    found.append(ours[0].average(2, second, second))
    fake.synchronize()
    assert all(models.same_bits(*pair) for pair in zip(found, expected, strict=True))
    assert fake.retained == 1
    with pytest.raises(CudaError, match="leaves lie on CUDA devices 0 and 1"):
        ours[0].average(3, mixed, second)
    ours[0].accelerators.close()
    assert (fake.registered, fake.retained) == (0, 0)


def test_a_library_that_is_not_there_or_lacks_a_call_is_named(tmp_path):
    with pytest.raises(CudaError, match=r"libnowhere\.so can't be used: .*No such file"):
        Driver("libnowhere.so")
    with pytest.raises(CudaError, match=r"libm\.so\.6 can't be used: cuInit"):
        Driver("libm.so.6")
    assert LIBRARY == "libcuda.so.1"


def test_a_driver_without_a_device_is_refused(fake):
    fake.fail("cuInit")
    with pytest.raises(CudaError, match=r"^cuInit failed: CUDA_ERROR_NO_DEVICE"):
        Driver()
