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
    def differences():
        was, virtual = real_and_virtual(tmp_path / "run.json", method, slow)
        reports = was["report"], virtual["report"]
        compared = {
            "seconds": (curves.seconds(was), pytest.approx(curves.seconds(virtual), rel=0.1)),
            "accuracy": (agreement.accuracy(was), pytest.approx(agreement.accuracy(virtual), abs=1.5)),
            "gradients": (reports[0]["gradients"], pytest.approx(reports[1]["gradients"], rel=0.05)),
        }
        if "late share" in reports[0]:
            late = (report["late share"] for report in reports)
            compared["late share"] = next(late), pytest.approx(next(late), abs=0.05)
        return {name: pair for name, pair in compared.items() if pair[0] != pair[1]}

    # What else the machine has to do gives one rank the core before another: then the run is made again.
    assert not differences() or differences() == {}


def test_an_allreduce_learns_the_same_to_the_last_digits(tmp_path):
    was, virtual = real_and_virtual(tmp_path / "run.json", "allreduce", "balanced")
    for point, other in zip(was["points"], virtual["points"], strict=True):
        np.testing.assert_allclose(point["validation"], other["validation"], rtol=2e-2, atol=5e-3)
