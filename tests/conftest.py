"""Hypothesis profiles.

`HYPOTHESIS_PROFILE=soak SOAK_SECONDS=600 pytest tests/test_protocol.py` gives each property ten minutes.
"""

import os

from hypothesis import Phase, settings

# Where CI is set Hypothesis derandomizes by default: every run would look at the same few schedules again.
settings.register_profile("usual", deadline=None, derandomize=False, max_examples=300)
settings.register_profile("soak", deadline=None, derandomize=False, max_examples=2000)
# For tests/mutations.py: it only wants to know whether there is a failure.
settings.register_profile(
    "hunt",
    deadline=None,
    derandomize=False,
    max_examples=400,
    phases=[Phase.explicit, Phase.generate],
    database=None,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))
