"""Whether a process has ended is told from its number alone, and never guessed."""

import os
import signal
import subprocess
import sys

import pytest

from wagma_rma.waiting import processes
from wagma_rma.waiting.processes import has_ended, own_process, process_id

SAY = "from wagma_rma.waiting.processes import own_process; print(own_process(), flush=True); input()"


@pytest.fixture
def other():
    """Start another process; return it and the number that it gives itself."""
    with subprocess.Popen(
        [sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, int(process.stdout.readline())
        process.kill()


def test_a_number_names_a_process_and_fits_a_word():
    assert process_id(own_process()) == os.getpid()
    assert 0 < own_process() < 1 << 63
    assert own_process() == own_process()
    assert not has_ended(own_process())


def test_a_process_that_lives_or_is_stopped_has_not_ended(other):
    process, number = other
    assert process_id(number) == process.pid
    assert not has_ended(number)
    process.send_signal(signal.SIGSTOP)
    assert not has_ended(number)


def test_a_killed_process_has_ended_before_and_after_its_parent_asks(other):
    process, number = other
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(number), "a zombie"
    process.wait()
    assert has_ended(number)


def test_another_process_with_the_same_id_is_not_the_one_that_was_meant():
    assert has_ended(own_process() ^ 1)


def test_of_a_process_in_another_namespace_nothing_is_known(other):
    process, number = other
    process.kill()
    process.wait()
    assert not has_ended(number ^ 1 << processes.START_BITS)
    assert not has_ended(0)


def test_without_proc_nothing_is_known(monkeypatch, tmp_path):
    number = own_process()
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    assert own_process() == 0
    assert not has_ended(number)
