"""Hypothesis profiles, the end of the pools, and the fixtures of hosts.

`HYPOTHESIS_PROFILE=soak SOAK_SECONDS=600 pytest tests/proof/test_protocol.py` gives each property ten
minutes.
"""

import os

import pytest
from hypothesis import Phase, settings

from tests.support.hosts import Hosts, why_not
from tests.support.pool import POOLS

# Where CI is set Hypothesis derandomizes by default: every run would look at the same few schedules again.
settings.register_profile("usual", deadline=None, derandomize=False, max_examples=100)
settings.register_profile("thorough", deadline=None, derandomize=False, max_examples=300)
settings.register_profile("soak", deadline=None, derandomize=False, max_examples=2000)
# For tests/proof/mutations.py: it only wants to know whether there is a failure, or whether tests run at all.
settings.register_profile("glance", deadline=None, max_examples=10, database=None)
settings.register_profile(
    "hunt",
    deadline=None,
    derandomize=False,
    max_examples=400,
    phases=[Phase.explicit, Phase.generate],
    database=None,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))


@pytest.fixture(scope="session")
def possible():
    """Skip where hosts of their own can't be made."""
    if reason := why_not():
        pytest.skip(f"no hosts here: {reason}")


@pytest.fixture(scope="module")
def two(possible):
    """Make two hosts."""
    with Hosts(2) as hosts:
        yield hosts


@pytest.fixture(scope="session", autouse=True)
def pools():
    """End the pools, and see that all of them end well."""
    yield
    POOLS.close()
    assert not POOLS.wrong, "\n".join(POOLS.wrong)
