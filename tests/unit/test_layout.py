"""Where everything lies in a window: nothing overlaps, and every element has its place and its chunk."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import models
from tests.support.worlds import layout_of, make_ranks
from wagma_rma import window_bytes
from wagma_rma.kernels.dtypes import DTYPES
from wagma_rma.model.structure import Structure
from wagma_rma.options import Options
from wagma_rma.protocol.layout import CHUNK_BYTES, LEAST_CHUNK_BYTES, Layout, chunk_elements

LINE, PAGE = 64, 4096
RESULTS = 3
NUMBERS = [name for name in dir(Layout) if name[0] != "_" and not name.endswith("offsets")]

LEAVES = st.lists(
    st.tuples(st.integers(0, len(DTYPES) - 1), st.integers(0, 3) | st.integers(0, 200_000)), max_size=6
)
MANY = settings(max_examples=60, deadline=None)


@st.composite
def layouts(draw):
    """Return arguments of a layout: dtypes, counts, group_size, records, slots, network, synchronized,
    children, peers."""
    leaves = draw(LEAVES)
    dtypes, counts = [leaf[0] for leaf in leaves], [leaf[1] for leaf in leaves]
    group_size = draw(st.integers(1, 40))
    return (
        dtypes,
        counts,
        group_size,
        draw(st.integers(0, 12)),
        draw(st.integers(3, 20)),
        draw(st.booleans()),
        draw(st.just(()) | st.lists(st.booleans(), min_size=len(leaves), max_size=len(leaves))),
        draw(st.integers(0, 16)),
        draw(st.integers(0, 40)),
    )


def grouped(arguments):
    """Return the arguments for the leaves alone that are averaged in groups."""
    dtypes, counts, group_size, records, slots, network, synchronized, *_ = arguments
    kept = [i for i in range(len(dtypes)) if not any(synchronized[i : i + 1])]
    return [dtypes[i] for i in kept], [counts[i] for i in kept], group_size, records, slots, network


EMPTY = ([], [], 2, 3, 3, False, (), 0, 0)
ONLY_EMPTY_LEAVES = ([1, 0], [0, 0], 2, 3, 3, False, (), 1, 1)


def pieces(layout):
    """Return (begin, end) of each part of a window."""
    record = range(layout.records)
    return [
        (layout.published, layout.published + 8),
        (layout.result_tag, layout.result_tag + 8 * RESULTS),
        (layout.retired, layout.retired + 8 * layout.slots),
        (layout.latest, layout.latest + 8),
        *((word, word + 8) for word in (layout.entered, layout.departure, layout.process)),
        *((word, word + 8) for word in (layout.contributed, layout.progress)),
        (layout.note, layout.note + 64),
        *((word, word + 8) for word in (layout.reached, layout.said, layout.refusing, layout.node)),
        *((word, word + 8) for word in (layout.summed, layout.gathered, layout.refused, layout.called)),
        (layout.counted, layout.counted + 8 * layout.places),
        (layout.heard, layout.heard + 8 * layout.peers),
        *(
            (
                layout.first_record + i * layout.record_bytes,
                layout.first_record + (i + 1) * layout.record_bytes,
            )
            for i in record
        ),
        *(
            (begin, begin + layout.snapshot_bytes)
            for begin in range(layout.first_snapshot, layout.first_result, max(1, layout.snapshot_bytes))
        ),
        *(
            (begin, begin + layout.result_bytes)
            for begin in range(layout.first_result, layout.first_region, max(1, layout.result_bytes))
        ),
        *(
            (begin, begin + layout.region_bytes)
            for begin in range(layout.first_region, layout.first_message, max(1, layout.region_bytes))
        ),
        (layout.first_message, layout.nbytes),
    ]


def leaf_ranges(layout, dtypes, counts):
    """Return (begin, end) of each leaf in a snapshot."""
    return [
        (begin, begin + count * DTYPES[dtype].width)
        for begin, dtype, count in zip(layout.offsets(), dtypes, counts, strict=True)
    ]


@MANY
@given(layouts())
@example(EMPTY)
@example(ONLY_EMPTY_LEAVES)
def test_no_two_parts_of_a_window_overlap_and_all_lie_in_it(arguments):
    layout = Layout(*arguments)
    parts = sorted(pieces(layout))
    assert parts[0][0] == 0
    assert all(end <= begin for (_, end), (begin, _) in pairwise(parts))
    assert parts[-1][1] <= layout.nbytes
    if layout.model_bytes:
        regions = layout.region_parts * (layout.region_bytes > 0)
        assert len(parts) == 21 + layout.records + layout.slots + RESULTS + regions


@MANY
@given(layouts())
@example(EMPTY)
def test_words_come_first_and_a_record_has_room_for_every_member_and_chunk(arguments):
    layout = Layout(*arguments)
    end_of_records = layout.first_record + layout.records * layout.record_bytes
    assert end_of_records <= layout.words_bytes == layout.first_snapshot
    # Its state has a line of its own; `finished` comes before the others.
    assert LINE + 8 * (1 + layout.group_size + layout.chunks) <= layout.record_bytes


@MANY
@given(layouts())
@example(EMPTY)
def test_what_ranks_wait_for_has_a_line_of_its_own_and_bulk_memory_begins_at_pages(arguments):
    layout = Layout(*arguments)
    of_ranks = layout.latest, layout.entered
    of_hosts = layout.reached, layout.gathered, layout.counted
    for place in (*of_ranks, *of_hosts, layout.heard, layout.first_record):
        assert place % LINE == 0
    assert layout.record_bytes % LINE == 0
    places = (
        layout.words_bytes,
        layout.first_snapshot,
        layout.first_result,
        layout.first_region,
        layout.first_message,
        layout.nbytes,
    )
    for place in places:
        assert place % PAGE == 0
    assert layout.snapshot_bytes % PAGE == layout.result_bytes % PAGE == 0


def test_the_pins_of_up_to_four_slots_share_the_first_line():
    for slots in (3, 4):
        layout = Layout([1], [10], 2, 3, slots)
        assert layout.published // LINE == (layout.retired + 8 * slots - 1) // LINE == 0


@MANY
@given(layouts())
def test_each_leaf_has_a_place_in_a_snapshot_that_suits_its_dtype(arguments):
    arguments = grouped(arguments)
    dtypes, counts, *_ = arguments
    layout = Layout(*arguments)
    ranges = leaf_ranges(layout, dtypes, counts)
    assert all(begin % DTYPES[dtype].width == 0 for (begin, _), dtype in zip(ranges, dtypes, strict=True))
    full = sorted(span for span in ranges if span[0] < span[1])
    assert all(end <= begin for (_, end), (begin, _) in pairwise(full))
    assert all(end <= layout.model_bytes <= layout.snapshot_bytes for _, end in full)


@MANY
@given(layouts())
def test_leaves_of_a_dtype_lie_end_to_end_in_a_section_that_begins_at_a_line(arguments):
    arguments = grouped(arguments)
    dtypes, counts, *_ = arguments
    layout = Layout(*arguments)
    ranges = leaf_ranges(layout, dtypes, counts)
    end_of_sections = 0
    for number in range(len(DTYPES)):
        of_dtype = [span for span, dtype in zip(ranges, dtypes, strict=True) if dtype == number]
        place = end_of_sections
        for begin, end in of_dtype:  # in the order of the model
            assert begin == place
            place = end
        end_of_sections = -(-place // LINE) * LINE
    assert end_of_sections == layout.model_bytes


@MANY
@given(layouts())
@example(EMPTY)
@example(ONLY_EMPTY_LEAVES)
def test_a_section_has_as_many_chunks_as_it_takes_to_cover_it(arguments):
    arguments = grouped(arguments)
    dtypes, counts, group_size, *_, network = arguments
    chunks = 0
    for number, dtype in enumerate(DTYPES):
        count = sum(n for n, d in zip(counts, dtypes, strict=True) if d == number)
        if count:
            chunks += -(-count // chunk_elements(count, dtype.width, group_size, network))
    assert Layout(*arguments).chunks == max(1, chunks)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 31, 32, 33, 100, 257])), min_size=1, max_size=5
    ),
    st.sampled_from([64, 128, 500, 1 << 20]),
)
def test_chunks_cover_every_element_once(leaves, chunk_bytes):
    dtypes = [np.dtype(DTYPES[dtype].name) for dtype, _ in leaves]
    start = [np.zeros(count, dtype) for dtype, (_, count) in zip(dtypes, leaves, strict=True)]
    model = [np.arange(count).astype(dtype) for dtype, (_, count) in zip(dtypes, leaves, strict=True)]
    first, late = make_ranks(start, chunk_bytes=chunk_bytes)
    # Every element is reached,
    assert models.same_bits(first.average(1, model), models.group_mean([model, start]))
    late.average(1, model)
    # and none twice: a rank that collects all sums reads each once.
    sums = sum(count * DTYPES[dtype].sum_width for dtype, count in leaves)
    assert late.protocol.report()["bytes_read"] == sums


@MANY
@given(layouts())
def test_no_chunk_is_larger_than_the_room_for_it(arguments):
    arguments = grouped(arguments)
    dtypes, counts, group_size, *_, network = arguments
    layout = Layout(*arguments)
    for number, dtype in enumerate(DTYPES):
        count = sum(n for n, d in zip(counts, dtypes, strict=True) if d == number)
        if count:
            elements = min(count, chunk_elements(count, dtype.width, group_size, network))
            assert elements * dtype.sum_width <= layout.chunk_bytes


@MANY
@given(layouts())
@example(EMPTY)
def test_equal_arguments_give_equal_layouts_on_every_rank(arguments):
    one, other = Layout(*arguments), Layout(*arguments)
    assert [getattr(one, name) for name in NUMBERS] == [getattr(other, name) for name in NUMBERS]
    assert (one.offsets(), one.private_offsets()) == (other.offsets(), other.private_offsets())


@MANY
@given(layouts())
@example(EMPTY)
def test_leaves_that_synchronisations_alone_average_change_nothing_for_the_others(arguments):
    layout, without = Layout(*arguments), Layout(*grouped(arguments), (), *arguments[-2:])
    of_the_others = {
        "first_message",
        "row",
        "chunk_bytes",  # which bounds the reads of a synchronisation too
        "leaf_count",
        "order",
        "private_bytes",
        "region_bytes",
        "nbytes",
    }
    for name in set(NUMBERS) - of_the_others:
        assert getattr(layout, name) == getattr(without, name), name
    assert [place for place in layout.offsets() if place >= 0] == without.offsets()
    assert layout.nbytes == without.nbytes + layout.region_parts * layout.region_bytes
    # A private model begins with the leaves that are in a snapshot, at the same places.
    private = layout.private_offsets()
    assert all(place in (-1, private[i]) for i, place in enumerate(layout.offsets()))
    # A private model holds all leaves; the region has a part for the contribution, and one for the sums.
    dtypes, counts, *_, synchronized, _, _ = arguments
    others = [(DTYPES[d], n) for d, n, alone in zip(dtypes, counts, synchronized, strict=False) if alone]
    assert layout.private_bytes >= layout.snapshot_bytes + sum(dtype.width * n for dtype, n in others)
    assert layout.region_bytes >= sum(dtype.sum_width * n for dtype, n in others)
    assert layout.group_leaves == without.leaf_count


# Chunks.


@MANY
@given(st.integers(0, 1 << 26), st.sampled_from([2, 4, 8]), st.integers(1, 64), st.booleans())
def test_a_chunk_ends_at_a_line_and_is_no_larger_than_a_cache_wants(count, width, group_size, network):
    elements = chunk_elements(count, width, group_size, network)
    assert elements > 0
    assert elements % (LINE // 2) == 0  # of 16-bit floats, a line
    most = CHUNK_BYTES * (8 if network else 1)
    assert (elements - LINE // 2) * width < most


@pytest.mark.parametrize("group_size", [2, 3, 5, 8])
def test_members_get_the_same_number_of_chunks_where_there_is_enough_to_share(group_size):
    count = group_size * LEAST_CHUNK_BYTES // 4
    assert -(-count // chunk_elements(count, 4, group_size)) == group_size
    # With less, one member's sum costs less than the help of the others.
    assert chunk_elements(count - 1, 4, group_size) >= count - 1


def test_chunks_are_larger_over_a_network():
    million = 1_000_000
    assert chunk_elements(million, 4, 4, network=True) > chunk_elements(million, 4, 4)


# The bytes that a user is told.


@pytest.mark.parametrize("across_hosts", [False, True])
@pytest.mark.parametrize(("ranks", "group_size", "sync_period"), [(1, 1, 10), (4, 2, 10), (16, None, 3)])
def test_window_bytes_is_the_size_of_the_layout(ranks, group_size, sync_period, across_hosts):
    model = {"w": np.zeros((300, 7), np.float32), "b": [np.zeros(5), np.zeros(0)]}
    options = Options("test", ranks, group_size, sync_period, 1, "auto", None, 0, None)
    layout = options.layout(Structure("test", model), across_hosts)
    told = window_bytes(
        model, ranks, group_size=group_size, sync_period=sync_period, across_hosts=across_hosts
    )
    assert told == layout.nbytes


def test_there_is_a_snapshot_more_than_a_turn_has_groupings():
    structure = Structure("test", np.zeros(5))
    for ranks, size, slots in ((8, 2, 4), (32, 2, 6), (4, 2, 3), (4, 4, 3)):
        options = Options("test", ranks, size, 10, 1, "auto", None, 0, None)
        assert options.layout(structure, False).slots == max(3, options.grouping.period + 1) == slots


def test_groups_of_one_need_no_records():
    options = Options("test", 4, 1, 10, 1, "auto", None, 0, None)
    assert options.layout(Structure("test", np.zeros(5)), False).records == 0


def test_snapshots_keep_16_bits_and_results_have_32():
    layout = layout_of([np.zeros(100_000, np.float16)])
    assert layout.model_bytes == 2 * 100_000
    assert layout.sums_bytes == 4 * 100_000
