"""Whether ranks need progress threads: what a user asks for, or what can be known without a measurement."""

import pytest

from wagma_rma.windows.progress_choice import choose_progress

UNUSED = object()  # a window and a communicator: a measurement would fail


@pytest.mark.parametrize("wanted", ["thread", "none"])
@pytest.mark.parametrize("hosts", [(0, 0), (0, 1)])
def test_what_is_asked_for_is_chosen_without_a_measurement(wanted, hosts):
    assert choose_progress(UNUSED, UNUSED, hosts, 0, wanted) == (wanted, "as asked for")


def test_ranks_of_one_host_need_no_thread():
    assert choose_progress(UNUSED, UNUSED, (0, 0, 0), 0, "auto") == ("none", "all ranks share a host")
