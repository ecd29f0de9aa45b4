"""A run of benchmarks.learning on real ranks."""

from benchmarks import step_times
from benchmarks.learning.learner import Learner
from benchmarks.learning.real import train
from benchmarks.learning.tasks import digits


def trained(comm, method, slow, steps, rates):
    """Return the run, of rank 0."""
    learner = Learner(digits(), "momentum", rates)
    return train(comm, learner, method, step_times.table(slow, comm.size, 4 * steps), steps)
