"""An averager is not made where MPI can't be used, or without a communicator."""

from types import SimpleNamespace

import pytest
from mpi4py import MPI

from wagma_rma import opening
from wagma_rma.opening import check_mpi


@pytest.fixture
def mpi(monkeypatch):
    """Have the module see an MPI whose state a test can change."""
    pretended = SimpleNamespace(
        Is_initialized=lambda: True,
        Is_finalized=lambda: False,
        Query_thread=lambda: MPI.THREAD_MULTIPLE,
        THREAD_MULTIPLE=MPI.THREAD_MULTIPLE,
        Intracomm=MPI.Intracomm,
        COMM_NULL=MPI.COMM_NULL,
    )
    monkeypatch.setattr(opening, "MPI", pretended)
    return pretended


def test_an_intracommunicator_will_do(mpi):
    check_mpi("GroupAverager", MPI.COMM_SELF)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "Is_initialized",
            False,
            "make: MPI is not initialised; import mpi4py.MPI, or call MPI.Init_thread() "
            "if mpi4py.rc.initialize is off",
        ),
        ("Is_finalized", True, "make: MPI has been finalised; make the averager before"),
        (
            "Query_thread",
            MPI.THREAD_SERIALIZED,
            f"make: MPI provides thread level {MPI.THREAD_SERIALIZED}, less than MPI_THREAD_MULTIPLE "
            f"({MPI.THREAD_MULTIPLE}); leave mpi4py.rc.thread_level at 'multiple'",
        ),
    ],
)
def test_an_mpi_that_cannot_be_used_is_refused(mpi, name, value, text):
    setattr(mpi, name, lambda: value)
    with pytest.raises(RuntimeError) as raised:
        check_mpi("make", MPI.COMM_SELF)
    assert str(raised.value) == text


@pytest.mark.parametrize("comm", [None, 4, MPI.COMM_NULL, MPI.Intracomm(), MPI.COMM_WORLD.Get_group()])
def test_anything_but_an_intracommunicator_is_refused(mpi, comm):
    with pytest.raises(TypeError, match=r"^make: comm is .*; pass an mpi4py intracommunicator such as "):
        check_mpi("make", comm)
