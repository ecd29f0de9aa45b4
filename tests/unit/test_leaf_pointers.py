"""What is asked of the caller's arrays: are they plain, where do they begin, and may one change another."""

import weakref

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import models
from tests.support.worlds import make_ranks
from wagma_rma.model.leaf_pointers import LeafPointers, any_begins_in, begin_alike, is_like, is_plain

F32 = np.zeros((2, 3), np.float32)


def misaligned(count=6, dtype=np.float32):
    return np.zeros(count * 4 + 1, np.uint8)[1:].view(dtype)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


class Subclass(np.ndarray):
    pass


# Plain.

ARRAYS = {
    "contiguous": F32.copy(),
    "a scalar": np.zeros((), np.float64),
    "empty": np.zeros((0, 3), np.float32),
    "transposed": np.zeros((3, 2), np.float32).T,
    "a row of a transposed": np.zeros((1, 3), np.float32).T,
    "every second": np.zeros((4, 3), np.float32)[::2],
    "reversed": F32[::-1],
    "columns": np.zeros((2, 6), np.float32)[:, :3],
    "misaligned": misaligned(),
    "read-only": read_only(F32),
    "repeated": np.broadcast_to(np.float32(1), (2, 3)),
    "bfloat16": np.zeros(3, ml_dtypes.bfloat16),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_plain_is_one_aligned_run_of_memory(name):
    flags = ARRAYS[name].flags
    assert is_plain(ARRAYS[name]) == (flags.c_contiguous and flags.aligned)


def test_some_of_these_arrays_are_plain_and_some_are_not():
    plain = {name for name, array in ARRAYS.items() if is_plain(array)}
    assert plain == {
        "contiguous",
        "a scalar",
        "empty",
        "a row of a transposed",
        "read-only",
        "bfloat16",
    }


@pytest.mark.parametrize(
    ("array", "alike"),
    [
        (F32.copy(), True),
        (np.zeros((3, 2), np.float32), False),
        (np.zeros(6, np.float32), False),
        (np.zeros((2, 3, 1), np.float32), False),
        (F32.astype(np.float64), False),
        (F32.astype(np.dtype(np.float32).newbyteorder()), False),
        (np.zeros((2, 3), np.int32), False),
        (np.zeros((3, 2), np.float32).T, False),
        (read_only(F32), False),
        (misaligned().reshape(2, 3), False),
        (F32.view(Subclass), False),
        (np.ma.masked_array(F32), False),
        (F32.tolist(), False),
        (None, False),
    ],
)
def test_like_is_a_plain_writable_array_of_the_same_shape_and_dtype(array, alike):
    example = np.broadcast_to(np.empty((), np.float32), (2, 3))  # it may have no memory of its own
    assert is_like(array, example) == alike


def test_nothing_is_like_no_example():
    assert not is_like(F32, None)


# Places.


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4), st.integers(0, 9), st.data())
def test_a_leaf_begins_in_a_range_if_its_first_byte_lies_there(ends, begin, data):
    pool = np.zeros(10, np.float64)
    leaves = [pool[min(pair) : max(pair)] for pair in ends]
    nbytes = data.draw(st.integers(0, 80 - 8 * begin))
    at = pool.ctypes.data + 8 * begin
    expected = any(at <= leaf.ctypes.data < at + nbytes for leaf in leaves)
    assert any_begins_in(leaves, at, nbytes) == expected
    # Addresses will do.
    assert any_begins_in([leaf.ctypes.data for leaf in leaves], at, nbytes) == expected


def test_leaves_begin_alike_if_each_is_plain_and_begins_where_the_other_does():
    pool = np.zeros(10)
    assert begin_alike([pool[:3], pool[5:]], [pool[:9], pool[5:6]])
    assert begin_alike([], [])
    assert not begin_alike([pool[:3], pool[6:]], [pool[:3], pool[5:]])
    assert not begin_alike([pool[:6:2]], [pool[:3]])
    assert not begin_alike([pool[1:3]], [pool[:3]])


def test_leaves_without_elements_begin_anywhere():
    pool = np.zeros(10)
    assert begin_alike([pool[:3], np.zeros(0)], [pool[:3], pool[9:]])


# Entangled.

COUNTS = (1, 5, 33, 64)


@st.composite
def places(draw, disjoint):
    """Return where each leaf begins in a pool of memory, and the pool's size: elements."""
    room = 260
    if not disjoint:
        return [draw(st.integers(0, room - count)) for count in COUNTS]
    begins, end = {}, 0
    for leaf in draw(st.permutations(range(len(COUNTS)))):
        begins[leaf] = end + draw(st.integers(0, 40))
        end = begins[leaf] + COUNTS[leaf]
    return [begins[leaf] for leaf in range(len(COUNTS))]


@st.composite
def steps(draw):
    """Return where sources and targets lie at each of a few steps; targets do not overlap each other."""
    targets = draw(places(disjoint=True))
    sources = draw(st.one_of(st.just(targets), places(disjoint=True), places(disjoint=False)))
    if draw(st.booleans()):
        # Most are in place, some one is elsewhere.
        leaf = draw(st.integers(0, len(COUNTS) - 1))
        sources = [*sources[:leaf], draw(places(disjoint=False))[leaf], *sources[leaf + 1 :]]
    return sources, targets


@settings(max_examples=100, deadline=None)
@given(st.lists(steps(), min_size=1, max_size=3), st.integers(0, 1 << 32))
def test_an_output_anywhere_in_the_models_memory_gets_the_average_of_the_model_as_it_came(of_steps, seed):
    pool = np.zeros(400, np.float32)
    start = [np.zeros(count, np.float32) for count in COUNTS]
    rank, _ = make_ranks(start, chunk_bytes=128)
    for step, begins in enumerate(of_steps, 1):
        pool[:] = np.random.default_rng([seed, step]).standard_normal(400)
        sources, targets = (
            [pool[begin : begin + count] for begin, count in zip(where, COUNTS, strict=True)]
            for where in begins
        )
        expected = models.group_mean([[source.copy() for source in sources], start])
        rank.average(step, sources, targets)
        assert rank.protocol.report()["outcome"] == 0  # FRESH: it may read the caller's own memory
        assert models.same_bits(targets, expected)


# Holding.


def test_arrays_are_kept_alive_from_hold_to_release():
    pointers = LeafPointers([0])
    array = np.zeros(3)
    alive = weakref.ref(array)
    pointers.hold([array], [array])
    del array
    assert alive() is not None
    pointers.release()
    assert alive() is None


def test_leaves_lie_in_the_order_of_the_layout():
    # float64 comes first in a layout, whatever the order in the model.
    start = [np.zeros(2, np.float32), np.zeros(3, np.float64)]
    rank, _ = make_ranks(start)
    model = [np.full(2, 4, np.float32), np.full(3, 6, np.float64)]
    small, large = rank.average(1, model)
    assert rank.layout.order == [1, 0]
    assert small.tolist() == [2, 2]
    assert large.tolist() == [3, 3, 3]


def test_addresses_serve_as_arrays_do():
    start = [np.zeros(2, np.float32)]
    rank, _ = make_ranks(start)
    model, out = np.full(2, 4, np.float32), np.zeros(2, np.float32)
    rank.pointers.hold([model.ctypes.data], [out.ctypes.data])
    rank.protocol.step(1, rank.pointers)
    assert out.tolist() == [2, 2]


def test_a_source_may_be_a_function_which_is_called_once_when_the_array_is_needed():
    start = [np.zeros(2, np.float32), np.zeros(0, np.float32), np.zeros(3, np.float32)]
    rank, _ = make_ranks(start)
    called = []

    def source(leaf):
        def get():
            called.append(leaf)
            return np.full(start[leaf].size, 4, np.float32)

        return get

    out = rank.average(1, [source(leaf) for leaf in range(3)], [np.empty_like(leaf) for leaf in start])
    assert called == [0, 2], "nothing is needed of a leaf without elements"
    assert [leaf.tolist() for leaf in out] == [[2, 2], [], [2, 2, 2]]
