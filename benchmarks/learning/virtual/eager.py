"""eager-SGD in virtual time; benchmarks/learning/methods/eager.py defines it."""

from benchmarks.learning.methods.eager import initiator


def eager(world, majority=False):
    """eager-SGD, solo or majority."""
    fleet, ranks = world.fleet, world.ranks
    cost = world.costs.allreduce(ranks)
    # A round is over from `over` on; `seen` is the round that each rank has taken part in, or found over,
    # last.
    rounds, over, seen = 0, 0.0, [0] * ranks
    left, waiting = (
        [],
        [],
    )  # gradients since the last round; (rank, call, time) of those who wait for this one

    def begin(rank, call):
        fleet.begin(rank)
        world.at(world.now + world.seconds(rank, call), come, rank, call)

    def come(rank, call):
        nonlocal rounds, over
        left.append(fleet.gradient(rank))
        world.gradients += 1
        if seen[rank] < rounds:
            # Late. What it finds may still be on its way.
            world.at(max(world.now, over), go_on, rank, call)
            return
        waiting.append((rank, call, world.now))
        if majority and rank != initiator(world.seed, rounds, ranks):
            return
        fleet.update(0, world.factor(rounds), fleet.average(left, ranks))
        fleet.models = [fleet.models[0]] * ranks
        left.clear()
        rounds += 1
        over = world.now + cost
        for one, its_call, since in waiting:
            world.waited += world.now - since
            world.at(over, go_on, one, its_call)
        waiting.clear()
        world.reached(rounds, over)
        if rounds >= world.steps:
            world.end()

    def go_on(rank, call):
        seen[rank] = rounds
        begin(rank, call + 1)

    for rank in range(ranks):
        begin(rank, 0)
    world.run()
