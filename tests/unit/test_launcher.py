"""What launchers tell of their ranks is compared with the world that an MPI has made of them."""

import pytest

from wagma_rma.mpi.launcher import why_lonely

MPIEXEC = "/env/bin/mpiexec"
SLURM_BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}

LONELY = {
    "Open MPI's mpiexec": (
        {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"},
        "Open MPI's mpiexec",
        "4 ranks",
    ),
    "MPICH's mpiexec": ({"PMI_SIZE": "4", "PMI_RANK": "0"}, "MPICH's mpiexec", "4 ranks (PMI_SIZE=4)"),
    "its local ranks": ({"MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"}, "MPICH's mpiexec", "2 ranks"),
    "PMIx": ({"PMIX_RANK": "2"}, "a launcher with PMIx", "at least 3 ranks (PMIX_RANK=2)"),
    "PALS": ({"PALS_RANKID": "1"}, "PALS", "at least 2 ranks"),
    "srun": ({**SLURM_BATCH, "SLURM_STEP_NUM_TASKS": "8"}, "srun", "8 ranks", "srun --mpi=list"),
    "rank 0 of srun by PMIx": ({"SLURM_STEP_NUM_TASKS": "8", "PMIX_RANK": "0"}, "srun", "8 ranks"),
    "srun by PMIx": ({**SLURM_BATCH, "SLURM_STEP_NUM_TASKS": "8", "PMIX_RANK": "5"}, "at least 6 ranks"),
    "torchrun": ({"ROLE_WORLD_SIZE": "2", "ROLE_RANK": "0", "WORLD_SIZE": "2"}, "torchrun", "2 ranks"),
    # mpiexec has started its daemons by srun, one for each of two hosts.
    "mpiexec under SLURM": (
        {**SLURM_BATCH, "SLURM_STEP_NUM_TASKS": "2", "PMI_SIZE": "8"},
        "MPICH's mpiexec",
        "8 ranks",
    ),
}
IN_COMPANY = {
    "no launcher": {},
    "rank 0 of who knows how many": {"PMIX_RANK": "0"},
    "one rank of MPICH's mpiexec": {"PMI_SIZE": "1", "PMI_RANK": "0", "MPI_LOCALNRANKS": "1"},
    "one rank of Open MPI's": {"OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0"},
    "one rank of srun": {**SLURM_BATCH, "SLURM_STEP_NUM_TASKS": "1"},
    "one rank of mpiexec on one of two hosts of SLURM": {
        **SLURM_BATCH, "SLURM_STEP_NUM_TASKS": "2", "OMPI_COMM_WORLD_SIZE": "1"
    },
    "a batch script": SLURM_BATCH,
    "a variable that somebody has set": {"WORLD_SIZE": "4", "RANK": "1"},
    "no number": {"PMI_SIZE": "many"},
}  # fmt: skip


@pytest.mark.parametrize("running", ["mpich", "openmpi"])
@pytest.mark.parametrize("case", LONELY)
def test_a_process_that_is_alone_among_others_is_told_of_them(case, running):
    environment, *parts = LONELY[case]
    told = why_lonely(environment, running, MPIEXEC)
    for part in (*parts, "trains alone", {"mpich": "MPICH", "openmpi": "Open MPI"}[running], MPIEXEC):
        assert part in told


def test_both_mpis_and_the_cure_are_named():
    assert why_lonely({"OMPI_COMM_WORLD_SIZE": "4"}, "mpich", MPIEXEC) == (
        "Open MPI's mpiexec has started 4 ranks (OMPI_COMM_WORLD_SIZE=4), but this one is alone in its "
        "MPI_COMM_WORLD, and so each of them trains alone: mpi4py runs on MPICH, which does not join what "
        "Open MPI starts. Start the ranks by /env/bin/mpiexec, or install Open MPI in a virtual environment "
        "of its own"
    )


@pytest.mark.parametrize("case", IN_COMPANY)
def test_nothing_is_said_of_a_process_that_was_started_alone(case):
    for running in ("mpich", "openmpi"):
        assert why_lonely(IN_COMPANY[case], running, MPIEXEC) == ""
