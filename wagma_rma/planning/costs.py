"""What communication takes, by two numbers: the round trip of a word, and the time to move a model."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds.

    A rank moves one model at a time, and no link is shared. The defaults stand for 100 MB and 20 GB/s.

    Attributes:
        word: a message, or a one-sided operation on a word.
        model: moving a model from one rank to another.
    """

    word: float = 50e-6
    model: float = 5e-3

    def allreduce(self, ranks: int) -> float:
        """Return the time of MPI's: a reduce-scatter and an allgather, log2 P messages each."""
        return 2 * self.word * math.log2(ranks) + 2 * (1 - 1 / ranks) * self.model

    def synchronise(self, ranks: int) -> float:
        """Return the time of a synchronisation of wagma_rma: as many bytes, and a barrier at either end."""
        return self.allreduce(ranks) + 4 * self.word

    def exchange(self, members: int, sharing: int) -> float:
        """Return the time of a group step from its start, if so many of the members share the work.

        Each of those reads its part of the other models, and the sums that the others have made
        (PROTOCOL.md, "A group step").
        """
        return 4 * self.word + (members - 1 + sharing - 1) / sharing * self.model

    def collect(self) -> float:
        """Return the time in which a late member reads the sums of its group."""
        return 2 * self.word + self.model

    def messages(self, models: int) -> float:
        """Return the time until so many models have come, one after another."""
        return self.word + models * self.model


# Ranks of one host: a word is a look at shared memory, and the core must be given to the rank that looks.
# Measured with 8 ranks on 2 cores, 7,434 floats (benchmarks/scaling.py).
HOST = Costs(word=50e-6, model=20e-6)
