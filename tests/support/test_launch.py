"""The ranks of a test: with TEST_HOSTS, the library takes them for ranks of so many hosts."""

import pytest

from tests.support import launch, pool


@pytest.mark.parametrize("hosts", [launch.TEST_HOSTS] if launch.TEST_HOSTS else ["", "2", "each"])
def test_ranks_pass_for_those_of_several_hosts(hosts):
    env = {} if launch.TEST_HOSTS else launch.apart(hosts)
    ran = pool.run(4, "support.hosts_pretended:seen", env=env)
    for found, _ in ran:
        assert len(set(found)) == {"": 1, "2": 2, "each": 4}[hosts]
    assert (sum(network for _, network in ran) > 0) == (hosts != "")
