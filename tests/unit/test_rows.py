"""What a rank tells of its pace, as others read it, also while it writes."""

import struct
import threading
import time

import numpy as np
import pytest

from tests.support.worlds import layout_of
from wagma_rma.protocol.row import BYTES, ENDS, FORMAT, MOST_TIMES, Row
from wagma_rma.seeing.rows import read_row
from wagma_rma.testing import ThreadMemory, ThreadWindow, Verbs
from wagma_rma.testing.rows import write_calls

LEAVES = [np.zeros(10, np.float32)]


@pytest.fixture
def own():
    """Return a row, a function that reads it, and the memory of a second place."""
    layout = layout_of(LEAVES)
    window = ThreadWindow(ThreadMemory(1, layout.nbytes), 0)
    verbs, page = Verbs(window, 1, BYTES), bytearray(4096)
    row = Row(window, layout)
    row.show(page, 1024)
    return row, lambda: verbs.read(0, layout.row, BYTES), page


def test_the_format_has_the_size_of_a_row():
    assert struct.calcsize(FORMAT) == BYTES


def test_a_row_that_has_not_begun_says_nothing(own):
    _, read, _ = own
    assert read_row(read()) is None


def test_a_row_says_what_was_told_in_both_places(own):
    row, read, page = own
    row.open(12345, "a host", 7, 100.0)
    write_calls(
        row, begin=100.5, compute=[0.5, 0.25, 1.0], seconds=0.125, waited=0.0625, late=[False, True, True]
    )
    for found in (read_row(read()), read_row(bytes(page[1024 : 1024 + BYTES]))):
        assert (found.process, found.host, found.activity) == (12345, "a host", "computing")
        # The first call comes after no step.
        assert found.times.tolist() == [0.25, 1.0]
        assert (found.step, found.synchronized_step, found.synchronized) == (10, 7, 100.0)
        assert found.compute == pytest.approx(0.625)
        assert found.call == pytest.approx(0.125) and found.waited == pytest.approx(0.0625)
        assert found.late == pytest.approx(2 / 3)
        assert found.began == pytest.approx(102.0) and found.ended == pytest.approx(102.125)
    row.hide()
    row.set_activity(ENDS["left"])
    assert read_row(read()).activity == "left"
    assert read_row(bytes(page[1024 : 1024 + BYTES])).activity == "computing"
    row.forget_window()
    row.set_activity(ENDS["closed"])
    assert read_row(read()).activity == "left"


def test_the_last_times_are_kept_in_their_order(own):
    row, read, _ = own
    row.open(1, "a", 0, 0.0)
    seconds = np.linspace(1, 2, MOST_TIMES + 30)
    write_calls(
        row, begin=1.0, compute=[1.0, *seconds], seconds=0.5, waited=0.0, late=[False] * (len(seconds) + 1)
    )
    np.testing.assert_allclose(read_row(read()).times, seconds[-MOST_TIMES:], rtol=4e-3)


@pytest.mark.parametrize("seconds", [1e-7, 3.3e-6, 0.02, 1.0, 3600.0, 1e6])
def test_times_of_any_size_are_kept_to_half_a_per_cent(own, seconds):
    row, read, _ = own
    row.open(1, "a", 0, 0.0)
    write_calls(row, begin=0.0, compute=[seconds] * 4, seconds=0.0, waited=0.0, late=[False] * 4)
    np.testing.assert_allclose(read_row(read()).times, [seconds] * 3, rtol=5e-3)


def test_a_host_with_a_long_name_keeps_the_beginning_of_it(own):
    row, read, _ = own
    row.open(1, "h" * 100, 0, 0.0)
    assert read_row(read()).host == "h" * 55


def test_what_is_read_while_the_row_is_written_belongs_together_or_is_refused():
    layout = layout_of(LEAVES)
    window = ThreadWindow(ThreadMemory(1, layout.nbytes), 0)
    row = Row(window, layout)
    row.open(1, "a", 0, 0.0)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            # Call n begins at time n and ends at n + 0.5.
            write_calls(row, None, [0.5], seconds=0.5, waited=0.0, late=[False], repeats=1_000_000)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        found, steps, limit = [], set(), time.monotonic() + 60
        # A busy machine may give writer and reader their turns seldom.
        while len(found) < 2000 or len(steps) <= 10:
            assert time.monotonic() < limit, f"only {len(found)} rows of {len(steps)} steps were whole"
            one = read_row(window.look([0], layout.row, BYTES)[0])
            if one is not None and one.step > 1:
                found.append(one)
                steps.add(one.step)
    finally:
        stop.set()
        thread.join()
    for one in found:
        assert one.activity in ("computing", "averaging")
        if one.activity == "computing":
            assert one.ended == one.began + 0.5
        else:
            assert one.ended == one.began - 0.5
