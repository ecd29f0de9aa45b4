"""What python -m wagma_rma says, as a program of the tests."""

import contextlib
import io

from tests.support.changes import changed
from wagma_rma import GroupAverager, diagnosis


def diagnosis_of(comm):
    """Return (exit code, what was printed)."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = diagnosis.main()
    return code, said.getvalue()


def broken(comm):
    """The same, with averages that are wrong at rank 1."""
    average = GroupAverager.average

    def wrong(self, model, out=None):
        result = average(self, model, out)
        result += comm.rank
        return result

    with changed(GroupAverager, average=wrong):
        return diagnosis_of(comm)
