"""Real ranks and virtual time agree: the times, how many are LATE, and what is learned.

The virtual run computes as long before each step as the real ranks did, whatever else the machine did.
"""

import numpy as np
import pytest

from benchmarks.learning import agreement, curves, tables
from tests.support import pool

pytestmark = pytest.mark.slow

RANKS, STEPS, RATES = 8, 60, [0.05, 0.1, 0.2]


def real_and_virtual(path, method, slow):
    """Return a run on real ranks, and the same in virtual time."""
    how = {"method": method, "slow": slow, "steps": STEPS, "rates": RATES}
    real, *_ = pool.run(RANKS, "learning.agreement:trained", limit=180, **how)
    curves.save(path, [real | {"slow": slow, "task": "digits", "optimizer": "momentum"}])  # as --json does
    (real,) = tables.read(path)
    virtual = agreement.repeated(real)
    print(*(curves.line(run | {"slow": slow}) for run in (real, virtual)), sep="\n")
    return real, virtual


@pytest.mark.parametrize(
    ("method", "slow"),
    [
        ("wagma-elastic", "two late"),
        ("wagma-overlap", "two late"),
        ("wagma", "half speed"),
        ("wagma", "log-normal"),
        ("ad-psgd", "log-normal"),
    ],
)
def test_a_real_run_takes_as_long_and_learns_as_much_as_in_virtual_time(tmp_path, method, slow):
    was, virtual = real_and_virtual(tmp_path / "run.json", method, slow)
    assert curves.seconds(virtual) == pytest.approx(curves.seconds(was), rel=0.1)
    assert agreement.accuracy(virtual) == pytest.approx(agreement.accuracy(was), abs=1.5)
    if "late share" in was["report"]:
        assert virtual["report"]["late share"] == pytest.approx(was["report"]["late share"], abs=0.05)
    gradients = [run["report"]["gradients"] for run in (was, virtual)]
    assert gradients[0] == pytest.approx(gradients[1], rel=0.05)


def test_an_allreduce_learns_the_same_to_the_last_digits(tmp_path):
    was, virtual = real_and_virtual(tmp_path / "run.json", "allreduce", "balanced")
    for point, other in zip(was["points"], virtual["points"], strict=True):
        np.testing.assert_allclose(point["validation"], other["validation"], rtol=2e-2, atol=5e-3)
