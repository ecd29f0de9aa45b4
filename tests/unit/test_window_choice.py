"""Which window ranks use (windows/choice.py): shared memory within a host, unless asked otherwise."""

import pytest

from wagma_rma.windows.choice import is_remote


@pytest.mark.parametrize(
    ("hosts", "window", "remote"),
    [
        ((0,), "auto", False),
        ((0, 0, 0), "auto", False),
        ((0, 0, 1), "auto", True),
        ((0, 1, 2), "auto", True),
        ((0, 0, 0), "remote", True),
        ((0, 0, 1), "remote", True),
        ((0, 0, 0), "shared", False),
    ],
)
def test_the_window_is_remote_across_hosts_or_where_it_is_asked_for(hosts, window, remote):
    assert is_remote(hosts, window) == remote
