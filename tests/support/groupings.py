"""Groupings of many worlds, what they do step by step, and where their ranks may be."""

from hypothesis import strategies as st

from wagma_rma.groups import check as checking
from wagma_rma.groups.butterfly import Butterfly
from wagma_rma.groups.choice import choose
from wagma_rma.groups.strided import Strided
from wagma_rma.options import LONGEST_PERIOD

WORLDS = range(1, 65)
BUTTERFLIES = [
    choose(ranks, size)
    for ranks in WORLDS
    for size in range(1, ranks + 1)
    if isinstance(choose(ranks, size), Butterfly)
]
STRIDED = [Strided(ranks, size) for ranks in WORLDS for size in range(1, ranks + 1)]
MIXING = [g for g in STRIDED if g.size > 1]


def check(g, ranks):
    """Check a grouping as an averager does."""
    checking.check(g, ranks, LONGEST_PERIOD)


def turn(g):
    return range(1, g.period + 1)


def groups(g, step):
    """Return the different groups of a step."""
    return sorted({g.members(rank, step) for rank in range(g.ranks)})


def all_groups(g):
    """Return the groups of each step of a turn."""
    return [groups(g, step) for step in turn(g)]


def blocked(ranks, h):
    """Return the host of each rank where each host has the next h ranks."""
    return [rank // h for rank in range(ranks)]


def round_robin(ranks, h):
    """Return the host of each rank where ranks are dealt out to hosts of h ranks."""
    return [rank % (ranks // h) for rank in range(ranks)]


@st.composite
def placements(draw, ranks):
    """Draw the host of each rank: any, or as many ranks on each; in any order."""
    if draw(st.booleans()):
        return draw(st.lists(st.integers(-2, 5), min_size=ranks, max_size=ranks))
    h = draw(st.sampled_from([h for h in range(1, ranks + 1) if ranks % h == 0]))
    return draw(st.permutations(blocked(ranks, h)))


@st.composite
def placed(draw, plain):
    """Draw a grouping out of `plain`, and the same with hosts."""
    g = draw(st.sampled_from(plain))
    return g, type(g)(g.ranks, g.size, hosts=draw(placements(g.ranks)))


class Table:
    """A grouping as users write it: the groups of each rank, step by step."""

    def __init__(self, *steps, **attributes):
        self.steps = steps
        self.ranks = len(steps[0])
        self.size = max(len(group) for groups_of in steps for group in groups_of)
        self.period = len(steps)
        vars(self).update(attributes)

    def __repr__(self):
        return "Table"

    def members(self, rank, step):
        return self.steps[(step - 1) % len(self.steps)][rank]
