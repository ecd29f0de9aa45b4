"""m-synchronous SGD: each step takes the first m gradients of its model, and the others are given up.

Source: "Do We Need Asynchronous SGD?", arXiv 2602.03802.
"""


def fastest(world, share=0.75, interrupt=True):
    """m-synchronous SGD.

    Args:
        share: m over the ranks.
        interrupt: ranks that are given up begin the next gradient at once. Else they finish the old one
            first, as a step on an accelerator does.
    """
    fleet, ranks = world.fleet, world.ranks
    m = max(1, round(share * ranks))
    cost = world.costs.allreduce(ranks)
    step, calls = 0, [0] * ranks
    number = [0] * ranks  # of each rank's last beginning; what ends another one is void
    of_step = [0] * ranks  # the step whose model it began with
    here = {}  # rank -> (gradient, when it ended)

    def begin(rank):
        fleet.begin(rank)
        number[rank] += 1
        of_step[rank] = step
        calls[rank] += 1
        world.at(world.now + world.seconds(rank, calls[rank] - 1), end, rank, number[rank])

    def end(rank, begun):
        nonlocal step
        if number[rank] != begun:
            return
        world.gradients += 1
        if of_step[rank] != step:
            begin(rank)
            return
        here[rank] = fleet.gradient(rank), world.now
        if len(here) < m:
            return
        world.waited += sum(world.now - when for _, when in here.values())
        fleet.update(0, world.factor(step), fleet.average([here[rank][0] for rank in sorted(here)]))
        fleet.models = [fleet.models[0]] * ranks
        step += 1
        world.reached(step, world.now + cost)
        if step >= world.steps:
            world.end()
            return
        world.at(world.now + cost, go_on, range(ranks) if interrupt else list(here))
        here.clear()

    def go_on(some):
        for rank in some:
            begin(rank)

    go_on(range(ranks))
    world.run()
