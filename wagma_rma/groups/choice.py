"""The choice of a grouping where the user names none."""

import math
from collections.abc import Sequence

from wagma_rma.groups.arguments import checked_size
from wagma_rma.groups.butterfly import Butterfly, possible_size, prime_factors
from wagma_rma.groups.grouping import Grouping
from wagma_rma.groups.strided import Strided


def choose(ranks: int, size: int | None = None, hosts: Sequence[int] | None = None) -> Grouping:
    """Return a grouping of `ranks` ranks into groups of at most `size`, a butterfly if one fits.

    Args:
        ranks: the size of the communicator.
        size: the largest group. None takes the size nearest to sqrt(ranks) for which there is a
            butterfly, or strided groups of about sqrt(ranks) if none is within a factor of 2.
        hosts: the number of each rank's host, the same at every rank; None for ranks on one host. The
            choice of kind and size does not depend on it.

    Raises:
        TypeError: an argument is not an integer, or `hosts` not a sequence of integers.
        ValueError: `size` is not between 1 and `ranks`, or `hosts` has not one number for each rank.
    """
    ranks, given = checked_size(ranks, 1 if size is None else size)
    factors = prime_factors(ranks)
    if size is not None:
        fits = possible_size(factors, given) == given
        return Butterfly(ranks, given, hosts) if fits else Strided(ranks, given, hosts)
    root = math.sqrt(ranks)
    least = min(2, ranks)
    near = range(max(least, math.ceil(root / 2)), min(ranks, math.floor(root * 2)) + 1)
    for candidate in sorted(near, key=lambda s: abs(s - root)):
        if possible_size(factors, candidate) == candidate:
            return Butterfly(ranks, candidate, hosts)
    return Strided(ranks, max(least, round(root)), hosts)
