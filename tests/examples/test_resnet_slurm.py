"""The script of the training jobs for SLURM, with other programs in place of SLURM's."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

JOB = Path(__file__).parent / "resnet" / "job.slurm"
# In place of srun: notes its arguments, and ends by a code when it is told to, or at once.
SRUN = """#!/bin/bash
echo "$@" >srun.arguments
trap 'echo usr1 >>srun.signals; exit $CODE' USR1
if [ "$WAITS" = 1 ]; then touch srun.began; for _ in $(seq 300); do sleep 0.1; done; fi
exit $CODE
"""


def submit(tmp_path, code, waits=False):
    """Start the script as SLURM does; srun ends with a code."""
    for name, text in (("srun", SRUN), ("scontrol", '#!/bin/sh\necho "$@" >>scontrol.arguments\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    env = {
        "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
        "LAUNCHER": "srun --mpi=pmi2",
        "VENV": "",
        "SLURM_JOB_ID": "42",
        "SLURM_NTASKS": "8",
        "CODE": str(code),
        "WAITS": str(int(waits)),
    }
    return subprocess.Popen(
        ["bash", str(JOB), "--steps", "1000"], env=env, cwd=tmp_path, start_new_session=True
    )


def told(tmp_path, program):
    path = tmp_path / f"{program}.arguments"
    return path.read_text().strip() if path.exists() else None


def test_the_script_is_one():
    subprocess.run(["bash", "-n", str(JOB)], check=True, timeout=20)
    assert os.access(JOB, os.X_OK)
    wanted = [line for line in JOB.read_text().splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --requeue" in wanted
    assert "#SBATCH --signal=B:USR1@300" in wanted


@pytest.mark.parametrize(("code", "requeued"), [(0, None), (75, "requeue 42"), (1, None), (137, None)])
def test_a_job_is_requeued_if_it_has_steps_left_and_not_if_it_is_done_or_has_failed(tmp_path, code, requeued):
    assert submit(tmp_path, code).wait(20) == code
    assert told(tmp_path, "scontrol") == requeued
    program = "-m tests.examples.resnet.flax_train --directory runs/42 --resume auto --steps 1000"
    assert told(tmp_path, "srun") == f"--mpi=pmi2 python {program}"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_request_to_stop_is_passed_on_and_the_script_waits_for_what_comes_of_it(tmp_path, number):
    job = submit(tmp_path, 75, waits=True)
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "srun.began").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        job.send_signal(number)
        assert job.wait(20) == 75
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    assert (tmp_path / "srun.signals").read_text() == "usr1\n"
    assert told(tmp_path, "scontrol") == "requeue 42"
