"""What python -m wagma_rma says, as a program of the tests."""

import contextlib
import io

from wagma_rma import __main__ as diagnosis


def diagnosis_of(comm):
    """Return (exit code, what was printed)."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = diagnosis.main()
    return code, said.getvalue()
