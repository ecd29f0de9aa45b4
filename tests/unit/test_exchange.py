"""Members share the chunks of a model: each is summed once, and a member that has stopped stops nobody."""

from functools import partial

import numpy as np
import pytest

from tests.proof import simulation
from tests.proof.simulation import World
from tests.support import models
from tests.support.worlds import make_ranks, together
from wagma_rma.protocol.exchange import shared_by
from wagma_rma.report import Outcome
from wagma_rma.testing import FOREVER, Schedule, Stop

COUNT = 4000


def model(value):
    return [np.full(COUNT, value, np.float32)]


def chunks_computed(rank):
    return rank.protocol.report()["chunks_computed"]


@pytest.mark.parametrize(("chunk_bytes", "chunks"), [(200, 63), (1000, 16), (1 << 20, 1)])
def test_a_member_that_is_alone_sums_every_chunk(chunk_bytes, chunks):
    ranks = make_ranks(model(0), chunk_bytes=chunk_bytes)
    ranks[0].average(1, model(1))
    assert chunks_computed(ranks[0]) == ranks[0].layout.chunks == chunks
    ranks[1].average(1, model(1))
    assert chunks_computed(ranks[1]) == 0


@pytest.mark.parametrize("ranks", [2, 4])
def test_members_together_sum_each_chunk_once(ranks):
    group = make_ranks(model(0), ([tuple(range(ranks))],), ranks, chunk_bytes=400, quorum=ranks)
    for step in range(1, 6):
        averages = together([partial(rank.average, step, model(3)) for rank in group])
        assert sum(map(chunks_computed, group)) == group[0].layout.chunks
        assert all((average == 3).all() for (average,) in averages)
        assert all(rank.protocol.unfinished() == [] for rank in group)


def test_a_model_without_elements_has_one_chunk_to_finish():
    ranks = make_ranks([np.zeros((0, 3), np.float32)])
    ranks[0].average(1, [np.zeros((0, 3), np.float32)])
    assert chunks_computed(ranks[0]) == ranks[0].layout.chunks == 1
    assert ranks[0].protocol.unfinished() == []


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("claims", [1, 2])
def test_what_a_stopped_member_has_claimed_is_summed_by_another(claims, lanes):
    # Its swaps: the arrival, the activation, two contributions, the record's opening, and then its claims.
    stop = Stop(5 + claims, 0, FOREVER, "compare_and_swap")
    world = World(sync_period=4, steps=1, leaves=((1, 160),), chunks=5, lanes=lanes)
    history = simulation.run(world, Schedule(stops=(stop,)))
    assert history.through == [False, True]
    (step,) = history.steps[1]
    assert step.chunks_computed == history.layout.chunks == 5
    # The stopped rank's model contributes, rank 1's start, and, as rank 1 is late, its model.
    assert step.outcome is Outcome.LATE
    used = [simulation.model(world.leaves, *of) for of in ((0, 1), (0, 0), (1, 1))]
    assert models.same_bits(step.result, models.group_mean(used))


def test_the_time_of_a_shared_exchange_does_not_grow_with_the_group():
    """By it ranks wait for others, in a large group as long as in a small one."""
    model = 0.01
    pair = shared_by(2, 1, model, model)
    assert pair == pytest.approx(model)
    for members in (4, 32, 256):
        assert pair < shared_by(members, 1, (members - 1) * model, model) < 2 * pair
