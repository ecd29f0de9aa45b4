"""benchmarks/prediction.py counts what its algorithm exchanges, which a simulation of hosts shows."""

import dataclasses
import math

import numpy as np
import pytest

from benchmarks import prediction
from benchmarks.prediction import Costs

FREE = Costs(latency=0, message=0, link=math.inf, memory=math.inf, words=0, near=0)
HOSTS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 21, 49, 60, 64, 100, 11, 13, 22]


def exchanged(hosts, direct):
    """Return (messages, models received) of the host with most of each, in an exchange that is simulated.

    Args:
        direct: the last round of the reduction and the first on the way back are one.

    Each host has a model of as many elements as hosts take part; the exchange must give each the sum of all.
    """
    radices = prediction.radices(hosts)
    active = math.prod(radices)
    models = np.arange(1.0, hosts * active + 1).reshape(hosts, active)
    expected = models.sum(axis=0)
    messages, received = np.zeros(hosts), np.zeros(hosts)

    def tell(source, target, elements):
        messages[target] += 1
        received[target] += elements

    for host in range(active, hosts):
        models[host - active] += models[host]
        tell(host, host - active, active)
    held = [range(active) for _ in range(active)]
    weights = [math.prod(radices[:k]) for k in range(len(radices))]
    partners = [
        [
            [host + (digit - host // weight % radix) * weight for digit in range(radix)]
            for host in range(active)
        ]
        for weight, radix in zip(weights, radices, strict=True)
    ]
    scattered = radices[: len(radices) - direct]
    for k, radix in enumerate(scattered):
        before, kept = models.copy(), held.copy()
        for host in range(active):
            digit = host // weights[k] % radix
            held[host] = kept[host][digit * len(kept[host]) // radix : (digit + 1) * len(kept[host]) // radix]
            for other in partners[k][host]:
                if other != host:
                    models[host, held[host]] += before[other, held[host]]
                    tell(other, host, len(held[host]))
    if direct:
        before = models.copy()
        for host in range(active):
            for other in partners[-1][host]:
                if other != host:
                    models[host, held[host]] += before[other, held[host]]
                    tell(other, host, len(held[host]))
    for k in reversed(range(len(scattered))):
        before, kept = models.copy(), held.copy()
        for host in range(active):
            for other in partners[k][host]:
                if other != host:
                    models[host, kept[other]] = before[other, kept[other]]
                    tell(other, host, len(kept[other]))
            parts = [kept[other] for other in partners[k][host]]
            held[host] = range(parts[0].start, parts[-1].stop)
    for host in range(active, hosts):
        models[host] = models[host - active]
        tell(host - active, host, active)
    assert np.array_equal(models, np.tile(expected, (hosts, 1)))
    return messages.max(), received.max() / active


@pytest.mark.parametrize("hosts", HOSTS)
@pytest.mark.parametrize("per_host", [1, 8])
@pytest.mark.parametrize("nbytes", [1000, 10**9])
def test_bytes_and_messages_are_those_of_the_exchange(hosts, per_host, nbytes):
    radices = prediction.radices(hosts)
    messages, models = exchanged(hosts, hosts > 1 and (nbytes == 1000 or radices[-1] == 2))
    found = prediction.synchronisation(hosts * per_host, per_host, nbytes, FREE)
    assert found.link == pytest.approx(nbytes * models)
    assert found.network * per_host == pytest.approx(found.link)
    assert found.messages == messages


def test_eight_ranks_on_each_of_8192_hosts_exchange_57_messages():
    found = prediction.synchronisation(65_536, 8, 8e6, FREE)
    assert found.messages == 2 * (4 * 7 + 1) - 1
    assert found.link == 2 * (1 - 1 / 8192) * 8e6


def test_the_tree_of_hosts_grows_a_level_when_16_children_of_each_are_there():
    assert [prediction.depth(hosts) for hosts in (1, 2, 17, 18, 273, 274)] == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("constant", "value", "seconds"),
    [
        # Two hosts of two ranks: a level of the tree, both ways, and a round: a word and a read.
        ("latency", 1.0, 4 + 2),
        ("message", 1.0, 0),
        ("link", 1.0, 100),
        ("memory", 1.0, 6 * 100 + 50 + 3 * 50),
        ("words", 1.0, 2),
    ],
)
def test_each_constant_has_its_part_of_the_time(constant, value, seconds):
    costs = dataclasses.replace(FREE, **{constant: value})
    assert prediction.synchronisation(4, 2, 100, costs).seconds == pytest.approx(seconds)


def test_ranks_that_share_cores_take_turns():
    alone = dataclasses.replace(FREE, memory=1.0)
    shared = dataclasses.replace(alone, cores=2, switch=7.0)
    one = prediction.synchronisation(8, 8, 100, alone).seconds
    assert prediction.synchronisation(8, 8, 100, shared).seconds == pytest.approx(4 * one + 6 * 7.0)


def test_an_allreduce_of_ranks_that_are_dealt_out_moves_as_many_models_as_a_host_has_ranks():
    ours, blocks, dealt = (
        prediction.synchronisation(64, 8, 8e8, FREE),
        prediction.allreduce(64, 8, 8e8, FREE),
        prediction.allreduce(64, 8, 8e8, FREE, dealt=True),
    )
    assert (ours.link, blocks.link, dealt.link) == (14e8, 14e8, 8 * 14e8)
    assert blocks.messages == dealt.messages == 2 * 6


def test_the_table_goes_up_to_65536_ranks():
    rows = list(prediction.rows(8, [4000], Costs()))
    assert [row["ranks"] for row in rows] == [1 << k for k in range(1, 17)]
    assert rows[-1]["hosts"] == 8192
    assert rows[-1]["wagma link"] > rows[3]["wagma link"] > rows[2]["wagma link"] == 0


def test_a_number_of_ranks_that_no_host_number_fits_is_an_error():
    with pytest.raises(ValueError, match="ranks=9 is no multiple of per_host=8"):
        prediction.synchronisation(9, 8, 1000, Costs())


def test_an_allreduce_has_log2_of_the_hosts_rounds_between_hosts_and_the_others_within():
    between = dataclasses.replace(FREE, latency=1.0)
    within = dataclasses.replace(FREE, near=1.0)
    assert prediction.allreduce(64, 4, 100, between).seconds == 2 * 4
    assert prediction.allreduce(64, 4, 100, within).seconds == 2 * 2
