"""A simulation runs one rank at a time, its choices repeat it, and one that has no end is ended."""

import pytest

from wagma_rma.testing import (
    FOREVER,
    Interruption,
    NoEnd,
    Schedule,
    Scheduler,
    SimulatedMemory,
    SimulatedWindow,
    Stop,
    Verbs,
)

RANDOM = Schedule(policy="random", seed=5)


def run(schedule, work, ranks=3, **options):
    """Run work(rank, verbs) on simulated ranks; return the scheduler, what each returned, and the events."""
    scheduler = Scheduler(ranks, schedule, **options)
    memory = SimulatedMemory(scheduler, 64, 64)
    verbs = [Verbs(SimulatedWindow(memory, rank)) for rank in range(ranks)]
    results = scheduler.run(lambda rank: work(rank, verbs[rank]))
    return scheduler, results, memory.events()


def count_up(rank, verbs):
    """Add to a word that all share; return what was found."""
    return [verbs.fetch_add(0, 0, 1) for _ in range(5)]


def order(events):
    return [rank for _, rank, *_ in events]


def test_the_dull_schedule_lets_one_rank_after_another_go_through():
    _, results, events = run(Schedule(), count_up)
    assert results == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert order(events) == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.parametrize(("policy", "span"), [("random", 1), ("round-robin", 3), ("priorities", 12)])
def test_other_policies_interleave_ranks_and_lose_nothing(policy, span):
    _, results, events = run(Schedule(policy=policy, seed=1, span=span), count_up)
    assert order(events) != sorted(order(events))
    assert sorted(number for found in results for number in found) == list(range(15))


def test_a_seed_repeats_a_run_and_so_do_the_choices_that_it_made():
    scheduler, results, events = run(RANDOM, count_up)
    again, *same = run(RANDOM, count_up)
    assert same == [results, events]
    _, *same = run(Schedule(choices=again.choices), count_up)
    assert same == [results, events]
    assert scheduler.choices == again.choices


def test_another_seed_makes_another_run():
    runs = {tuple(order(run(Schedule(policy="random", seed=seed), count_up)[2])) for seed in range(5)}
    assert len(runs) > 1


def test_a_rank_stopped_for_good_returns_nothing_and_the_others_go_through():
    stop = Stop(2, 0, FOREVER, "fetch_add")
    scheduler, results, events = run(Schedule(stops=(stop,)), count_up)
    assert results[0] is None
    assert order(events).count(0) == 2
    assert [len(found) for found in results[1:]] == [5, 5]
    assert "stopped for good" in scheduler.over


def test_a_rank_stopped_for_some_turns_goes_on_afterwards():
    _, results, events = run(Schedule(stops=(Stop(2, 0, 4, "fetch_add"),)), count_up)
    assert all(len(found) == 5 for found in results)
    assert order(events)[:3] == [0, 0, 1]


def test_waiting_for_what_never_comes_is_noticed():
    def wait(rank, verbs):
        verbs.window.waiter.wait_for(lambda: False)

    with pytest.raises(NoEnd, match="no end after 500 turns"):
        run(Schedule(), wait, most_turns=500)


def test_what_a_rank_raises_ends_the_simulation_and_the_lowest_ranks_error_is_raised():
    def fail(rank, verbs):
        count_up(rank, verbs)
        raise ValueError(f"rank {rank}")

    with pytest.raises(ValueError, match=r"^rank 0$"):
        run(Schedule(), fail)


def test_an_interruption_comes_once_in_a_wait_of_its_rank():
    def wait(rank, verbs):
        waiter, came = verbs.window.waiter, 0
        for _ in range(3):
            until = waiter.time() + 1e-3
            try:
                waiter.wait_for(lambda until=until: waiter.time() > until)
            except KeyboardInterrupt:
                came += 1
        return came

    _, results, _ = run(Schedule(interruptions=(Interruption(1, 1),)), wait)
    assert results == [0, 1, 0]
