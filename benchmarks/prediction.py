"""What a synchronisation costs with any number of ranks: messages, bytes and seconds; and MPI's allreduce.

The algorithm (wagma_rma/PROTOCOL.md, "A synchronisation"), on H hosts with n ranks each, for models of N
bytes:

1. Arrivals add to a word of their host. The last one of a host marks it in a word of its parent, in a tree
   of hosts with 16 children each. The root writes `gathered` down the tree.
2. In each host rank j sums part j (1/n of the model) of the host's n models.
3. Rank j of each host exchanges part j with those of the other hosts. Let the digits of the host's number
   have the radices r_1, r_2, ..., each 8 at most. In round k rank j reads 1/r_k of what it holds from each
   of the r_k - 1 hosts that differ in digit k alone, and adds. Then the rounds in reverse collect the
   parts. Each round is a word from those that are read, and the read. The last round and the first in reverse
   are one, each host reading all that it holds of the others, if r is 2 or the model small.
4. Each rank copies the mean from the ranks of its host, and a second barrier by the same tree ends it.

Where H has a prime factor above 7, the hosts above the largest power of two first add their models to those
of a partner, and get the mean from it.

MPI's usual allreduce is Rabenseifner's: a reduce-scatter by recursive halving, then an allgather by
recursive doubling, 2 log2 P messages of a rank, the first of them with the nearest ranks. So what goes over
the link of a host depends on the ranks that share it. If these are neighbours (`blocks`), the rounds
between hosts move 1/n of the model, and all n ranks together as much as the algorithm above does. If ranks
are dealt out to the hosts in turn (`dealt`), these rounds move all of it, n times as much.
"""

import dataclasses
import itertools
import math

from wagma_rma.protocol.reduction import SPARED_ROUND
from wagma_rma.protocol.rounds import direct_costs, radices

ARITY = 16  # children of a host in the tree


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a machine takes; the defaults stand for hosts with 8 cores and more on a network of 100 Gbit/s.

    Attributes:
        latency: seconds until a message or a read between two hosts is complete.
        message: seconds by which each further message to or from one rank delays it.
        link: bytes per second of a host's link, in each direction.
        memory: bytes per second that a core reads and writes.
        words: seconds until all ranks of a host have seen that all have come.
        near: seconds until a message between two ranks of a host is complete, in an allreduce.
        switch: seconds that it takes to give a core to another rank.
        cores: cores of a host; None: one for each rank.
    """

    latency: float = 3e-6
    message: float = 0.3e-6
    link: float = 12.5e9
    memory: float = 10e9
    words: float = 2e-6
    near: float = 0.5e-6
    switch: float = 0.0
    cores: int | None = None


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One way to average all models.

    Attributes:
        messages: the reads, or received messages, with parts of models of the rank that has most.
        network: bytes that this rank gets from other hosts.
        link: bytes that come into a host.
        seconds: the time.
    """

    messages: int
    network: float
    link: float
    seconds: float


def depth(hosts):
    """Return the levels below the root of the tree of hosts, numbered level by level."""
    levels, last = 0, hosts - 1
    while last > 0:
        last = (last - 1) // ARITY
        levels += 1
    return levels


def placed(ranks, per_host):
    """Return (hosts, ranks on each)."""
    per_host = min(ranks, per_host)
    if ranks % per_host:
        raise ValueError(f"ranks={ranks} is no multiple of per_host={per_host}: each host has as many")
    return ranks // per_host, per_host


def terms(ranks, per_host, nbytes):
    """Return how often a synchronisation pays each of the costs, on its longest path.

    `memory` counts bytes, of one rank: it widens its model (reads and writes N), sums its part (reads N,
    writes N/n), adds what the exchange brings it (3 times that), publishes the mean and writes it to the
    caller's model (reads N, writes 2 N).
    """
    hosts, n = placed(ranks, per_host)
    digits = radices(hosts)
    active = math.prod(digits)  # hosts, after the others have folded into them
    folds = 2 if active < hosts else 0  # a round before, and one after
    direct = bool(digits) and direct_costs(hosts) * nbytes <= SPARED_ROUND  # it costs nothing if r is 2
    last, before = (digits[-1], active // digits[-1]) if direct else (1, active)
    added = (1 - 1 / before + (last - 1) / before) * nbytes / n
    copied = (1 - 1 / before) * nbytes / n
    levels = depth(hosts)
    return {
        # Two barriers, each up and down the tree; there and back.
        "latency": 4 * levels + 2 * (2 * len(digits) - direct + folds),
        "message": 4 * levels * (min(ARITY, hosts - 1) - 1)
        + 2 * sum(r - 2 for r in digits)
        - direct * (last - 2),
        "link": n * (added + copied) + folds / 2 * nbytes,
        # With what the exchange brings, and what a folded host adds.
        "memory": 6 * nbytes + nbytes / n + 3 * added + folds * 3 / 2 * nbytes / n,
        "words": 2 * (n > 1),
        "messages": 2 * sum(r - 1 for r in digits) - direct * (last - 1) + folds // 2,
    }


def shared(costs, per_host):
    """Return (switches of a host's cores between its ranks, ranks to a core)."""
    cores = costs.cores or per_host
    return max(0, per_host - cores), max(1.0, per_host / cores)


def synchronisation(ranks, per_host, nbytes, costs):
    """Return the Prediction of a synchronisation."""
    per_host = min(ranks, per_host)
    of = terms(ranks, per_host, nbytes)
    switches, sharing = shared(costs, per_host)
    seconds = (
        of["latency"] * costs.latency
        + of["message"] * costs.message
        + of["link"] / costs.link
        + of["memory"] * sharing / costs.memory
        + of["words"] * costs.words
        + switches * costs.switch
    )
    return Prediction(of["messages"], of["link"] / per_host, of["link"], seconds)


def allreduce(ranks, per_host, nbytes, costs, dealt=False):
    """Return the Prediction of Rabenseifner's allreduce and the division.

    Args:
        dealt: whether the ranks are dealt out to the hosts, instead of in blocks.

    Numbers of hosts, and of ranks on each, that are no powers of two cost more than is counted here.
    """
    hosts, n = placed(ranks, per_host)
    between, within = math.ceil(math.log2(hosts)), math.ceil(math.log2(n))  # rounds each way
    link = 2 * (1 - 1 / hosts) * nbytes * (n if dealt else 1)
    switches, sharing = shared(costs, n)
    # It copies 1 - 1/P of the model there and back (4), adds as much (3), and divides all (2).
    memory = (4 + 3) * (1 - 1 / ranks) * nbytes + 2 * nbytes
    seconds = (
        2 * between * costs.latency
        + 2 * within * costs.near
        + link / costs.link
        + memory * sharing / costs.memory
        + switches * costs.switch
    )
    return Prediction(2 * (between + within), link / n, link, seconds)


def rows(per_host, sizes, costs, largest=65_536):
    """Yield a row for each size of a model (bytes) and number of ranks, 2, 4, ... up to the largest."""
    for nbytes in sizes:
        for ranks in itertools.takewhile(lambda r: r <= largest, (2 << k for k in itertools.count())):
            ours = synchronisation(ranks, per_host, nbytes, costs)
            blocks = allreduce(ranks, per_host, nbytes, costs)
            dealt = allreduce(ranks, per_host, nbytes, costs, dealt=True)
            yield {
                "bytes": nbytes,
                "ranks": ranks,
                "hosts": -(-ranks // per_host),
                **{f"wagma {name}": value for name, value in dataclasses.asdict(ours).items()},
                **{f"blocks {name}": value for name, value in dataclasses.asdict(blocks).items()},
                **{f"dealt {name}": value for name, value in dataclasses.asdict(dealt).items()},
            }
