"""The invariants of the protocol, each looked for a schedule that breaks it.

Worlds are small and schedules adversarial: see wagma_rma.testing for what a schedule can do to a memory. A
failure prints a world and a schedule, which `simulation.run(world, schedule)` repeats exactly.
"""

import itertools
import os
import re
import time
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.proof import oracle, simulation
from tests.proof.simulation import World
from tests.support import models
from wagma_rma.report import Outcome
from wagma_rma.testing import FOREVER, Interruption, NoEnd, Schedule, Silence, Stop

HUNTING = os.environ.get("HYPOTHESIS_PROFILE") == "hunt"  # for mutations.py: any invariant will do
SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "0"))  # for each test

LEAVES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 32, 33, 100, 130])), min_size=1, max_size=3
)
TURNS = st.integers(1, 2000)
KINDS = st.sampled_from(Interruption.KINDS)
VERBS = ("fetch_add", "compare_and_swap", "fetch_max")


@st.composite
def worlds(draw, **fixed):
    ranks = draw(st.integers(1, 6))
    group_size = draw(st.integers(1, ranks))
    sync_period = fixed.get("sync_period") or draw(st.integers(1, 5))
    steps = draw(st.integers(1, 2 * sync_period + 1))
    joins = st.tuples(*[st.integers(0, steps)] * ranks)
    world = World(
        ranks=ranks,
        group_size=group_size,
        sync_period=sync_period,
        group_period=draw(st.one_of(st.just(1), st.integers(1, sync_period))),
        quorum=draw(st.one_of(st.just(1), st.integers(1, group_size))),
        sync_quorum=draw(st.one_of(st.none(), st.just(1), st.integers(1, ranks))),
        patience=draw(st.sampled_from([0.0, 0.0, 1e-5, 1e-3, -1.0])),
        steps=steps,
        leaves=(leaves := tuple(draw(LEAVES))),
        synchronized=draw(st.integers(0, len(leaves) - 1)),
        chunks=draw(st.integers(1, 4)),
        lanes=draw(st.integers(1, 3)),
        lent=draw(st.booleans()),
        overlap=draw(st.sampled_from([False, False, True])),
        columns=draw(st.booleans()),
        direct=draw(st.booleans()),
        hosts=draw(st.sampled_from([1, 1, min(2, ranks), min(3, ranks)])),
        # The field of the pins that were ever taken has 20 bits.
        pins_before=draw(st.sampled_from([0, 0, (1 << 20) - 1, (1 << 20) - 3])),
        joins=draw(st.one_of(st.just(()), st.just(()), st.just(()), joins)),
    )
    return replace(world, **fixed)


@st.composite
def schedules(draw, world, forever=False):
    ranks = st.integers(0, world.ranks - 1)
    turns = st.just(FOREVER) if forever else TURNS
    # Between two of its own operations a rank holds what others need: a pin, a claim, a record it will open.
    at_turn = st.builds(Stop, TURNS, ranks, turns)
    at_verb = st.builds(Stop, st.integers(1, 60), ranks, turns, st.sampled_from(VERBS))
    stops = st.lists(at_turn | at_verb, min_size=int(forever), max_size=4)
    interruptions = (
        [] if forever else draw(st.lists(st.builds(Interruption, TURNS, ranks, KINDS), max_size=2))
    )
    schedule = Schedule(stops=tuple(draw(stops)), interruptions=tuple(interruptions))
    policy = draw(st.sampled_from(["drawn", "random", "round-robin", "priorities"]))
    if policy == "drawn":
        return replace(schedule, choices=draw(st.binary(max_size=600)))
    span = draw(st.integers(1, 100) if policy == "round-robin" else st.sampled_from([100, 1000, 3000]))
    return replace(schedule, policy=policy, seed=draw(st.integers(0, 1 << 32)), span=span)


@st.composite
def cases(draw, **fixed):
    """Return a world and a schedule in which every rank gets through."""
    world = draw(worlds(**fixed))
    return world, draw(schedules(world))


@st.composite
def cases_with_stops_for_good(draw):
    """Return a world without a synchronisation, and a schedule that stops at least one rank for good."""
    period = draw(st.integers(2, 6))
    world = draw(worlds(sync_period=period, steps=period - 1, quorum=1, joins=()))
    return world, draw(schedules(world, forever=True))


@st.composite
def preempting(draw, stops, spans, changes):
    """Return a schedule that preempts ranks at random, beside the stops."""
    return Schedule(
        policy=draw(st.sampled_from(["random", "priorities"])),
        seed=draw(st.integers(0, 1 << 32)),
        span=draw(st.sampled_from(spans)),
        changes=changes,
        stops=tuple(draw(stops)),
    )


@st.composite
def cases_with_held_pins(draw):
    """Return a world, and a schedule that often stops ranks right after they have added to a word."""
    ranks, group_size = draw(st.sampled_from([(3, 3), (4, 2), (4, 2), (4, 4), (5, 3), (6, 6)]))
    world = World(
        ranks=ranks,
        group_size=group_size,
        sync_period=7,
        patience=draw(st.sampled_from([0.0, 0.0, 1e-5, 1e-3])),
        steps=7,
        leaves=draw(st.sampled_from([((1, 0),), ((1, 33),)])),
        chunks=draw(st.integers(1, 2)),
        lent=draw(st.booleans()),
    )
    turns = st.sampled_from([100, 300, 1000, 3000])
    stop = st.builds(Stop, st.integers(1, 40), st.integers(0, ranks - 1), turns, st.just("fetch_add"))
    interruption = st.builds(Interruption, TURNS, st.integers(0, ranks - 1), KINDS)
    schedule = draw(preempting(st.lists(stop, min_size=2, max_size=6), spans=[100, 300], changes=5))
    return world, replace(schedule, interruptions=tuple(draw(st.lists(interruption, max_size=1))))


@st.composite
def cases_with_slow_readers(draw):
    """Return a world, and a schedule that stops a rank while it collects: sums are replaced meanwhile."""
    world = World(
        ranks=draw(st.sampled_from([2, 2, 3])),
        group_size=2,
        sync_period=8,
        steps=7,
        leaves=((draw(st.integers(0, 3)), 33),),
        chunks=draw(st.integers(1, 2)),
        lanes=draw(st.integers(1, 2)),
    )
    stop = st.builds(Stop, st.integers(5, 70), st.just(1), st.integers(80, 400), st.just("load"))
    return world, draw(preempting(st.lists(stop, min_size=1, max_size=2), spans=[200, 400], changes=6))


@st.composite
def cases_with_silence(draw):
    """Return a world, and a schedule in which round trips of ranks end by an exception."""
    world = draw(worlds(chained=False))
    silence = st.builds(Silence, st.integers(1, 150), st.integers(0, world.ranks - 1), KINDS)
    silences = draw(st.lists(silence, min_size=1, max_size=3))
    return world, replace(draw(schedules(world)), silences=tuple(silences))


def violations(case, check=oracle.violations):
    """Run a case; return what it breaks: sentences, by the name of the invariant."""
    world, schedule = case
    try:
        history = simulation.run(world, schedule)
    except NoEnd as error:
        return {"progress": [str(error)]}
    except Exception as error:
        # With the error's own traceback where a person looks at it.
        if not HUNTING:
            raise
        return {"raised": [repr(error)]}
    stopped = {stop.rank for stop in schedule.stops if stop.turns == FOREVER}
    stuck = [
        rank
        for rank, through in enumerate(history.through)
        if not through and rank not in stopped and not history.departed[rank]
    ]
    if stuck:
        return {"progress": [f"ranks {stuck} are not through"]}
    return check(history)


def explore(invariant, looked_at=cases, examples=(), check=oracle.violations):
    """Look for a case whose history breaks an invariant; "", or with SOAK_SECONDS: any invariant."""
    tried = found = 0

    @settings(suppress_health_check=list(HealthCheck))
    @given(looked_at())
    def holds(case):
        nonlocal tried, found
        tried += 1
        for name, broken in violations(case, check).items():
            if HUNTING or SOAK_SECONDS or invariant in ("", name) or name == "progress":
                found = found or tried  # Hypothesis runs what fails once more
                raise AssertionError(f"{name}, after {found} examples: {broken[0]}; {case}")

    for case in examples:
        holds = example(case)(holds)
    until = time.monotonic() + SOAK_SECONDS
    holds()
    while time.monotonic() < until:
        holds()


def reaches(example, situation):
    """Check that some step of an example comes into a situation. A mutation may lead it elsewhere."""
    if not HUNTING:
        assert any(situation(step) for steps in simulation.run(*example).steps for step in steps)


def test_a_snapshot_is_never_written_while_it_may_still_be_read():
    explore("slot")


def test_all_who_use_a_step_use_the_sum_of_exactly_its_contributions_to_the_bit():
    explore("same_sum")


def test_between_two_group_steps_a_rank_exchanges_nothing():
    explore("local", lambda: cases(sync_period=8, group_period=3))


def test_sums_that_are_replaced_while_they_are_read_are_not_used():
    # Each finds sums that become visible before their tag, if no fence keeps them back.
    world = World(sync_period=8, steps=7, leaves=((1, 33),))
    found = [
        (2, "priorities", 400, 202, [Stop(60, 1, 181, "load")]),
        (2, "random", 400, 2150, [Stop(42, 1, 82, "load")]),
        (1, "priorities", 200, 2246, [Stop(36, 1, 321, "load"), Stop(10, 1, 122, "load")]),
        (1, "priorities", 200, 3535, [Stop(28, 1, 95, "load")]),
    ]
    examples = [
        (
            replace(world, chunks=chunks),
            Schedule(policy=policy, span=span, seed=seed, changes=6, stops=tuple(stops)),
        )
        for chunks, policy, span, seed, stops in found
    ]
    explore("same_sum", cases_with_slow_readers, examples)


def test_a_record_is_opened_once_and_moves_only_forward():
    explore("opened_once")


def test_no_record_is_opened_without_its_quorum():
    explore("quorum")


def test_each_chunk_has_one_owner_and_is_counted_once():
    explore("one_owner")


def test_no_contribution_is_older_than_the_last_synchronisation():
    explore("age")


def test_sums_never_lie_under_the_tag_of_another_step():
    explore("tag")


def test_latest_names_complete_steps_only():
    explore("latest")


def test_whoever_is_not_stopped_completes_its_steps():
    explore("progress", cases_with_stops_for_good)


def test_what_stopped_ranks_leave_behind_hurts_nobody():
    explore("", cases_with_stops_for_good)


def test_ranks_whose_snapshots_are_all_pinned_go_on_without_publishing():
    held = [Stop(5, 2, 3000, "fetch_add"), Stop(18, 0, 3000, "fetch_add")]
    at_once = (
        World(ranks=4, group_size=3, sync_period=6, steps=6, leaves=((1, 0),)),
        Schedule(policy="random", seed=94, span=200, stops=tuple(held)),
    )
    reaches(at_once, lambda step: not step.published)
    # With patience they wait for a slot first, until that is over or they are interrupted.
    world = World(ranks=3, group_size=3, sync_period=7, steps=7, patience=1e-3, leaves=((1, 33),))
    schedule = Schedule(policy="random", span=100, changes=5)
    held = [Stop(5, 1, 300, "fetch_add"), Stop(10, 0, 1000, "fetch_add")]
    in_vain = world, replace(schedule, seed=677039, stops=tuple(held))
    reaches(in_vain, lambda step: not step.published and step.seconds_waited > world.patience)
    held = [Stop(3, 4, 1000, "fetch_add"), Stop(4, 0, 300, "fetch_add"), Stop(26, 2, 1000, "fetch_add")]
    cut_short = (
        replace(world, ranks=6, group_size=6),
        replace(schedule, seed=166487400, stops=tuple(held), interruptions=(Interruption(76, 4),)),
    )
    reaches(cut_short, lambda step: not step.published and step.interrupted)
    explore("", cases_with_held_pins, [at_once, in_vain, cut_short])


def test_all_pins_are_back_and_all_chunks_counted_at_every_synchronisation():
    # If every LATE rank might use a later step, all would leave a record here that no rank finishes.
    world = World(ranks=5, group_size=3, sync_period=7, steps=7, leaves=((1, 33),))
    stops = (Stop(1, 0, 100, "fetch_add"), Stop(6, 3, 300, "fetch_add"))
    explore(
        "pins", cases, [(world, Schedule(policy="priorities", seed=269, span=100, changes=5, stops=stops))]
    )


@st.composite
def cases_with_joins(draw):
    """Return a world whose ranks join after different steps, and a schedule."""
    world = draw(worlds())
    steps = draw(st.tuples(*[st.integers(0, world.steps)] * world.ranks))
    world = replace(world, joins=steps)
    return world, draw(schedules(world))


def test_ranks_that_join_after_different_steps_end_together_with_one_mean():
    explore("", cases_with_joins)


def test_only_a_quorum_of_arrivals_calls_the_others():
    explore("called")


def test_no_rank_passes_a_barrier_before_all_have_arrived():
    explore("barrier")


@st.composite
def cases_with_many_arrivals(draw):
    """Return a world whose ranks call each other at every step; they are stopped as they arrive."""
    # Of five on three hosts the fourth rank sums no column: others get to the next barrier without it.
    ranks, hosts = draw(st.sampled_from([(4, 2), (5, 3), (5, 3), (6, 2)]))
    world = World(
        ranks=ranks,
        group_size=1,
        sync_period=1,
        sync_quorum=draw(st.integers(ranks - 2, ranks - 1)),
        steps=4,
        leaves=((1, 0),),
        hosts=hosts,
        joins=draw(st.one_of(st.just(()), st.tuples(*[st.integers(0, 4)] * ranks))),
    )
    stop = st.builds(Stop, st.integers(1, 12), st.integers(0, ranks - 1), TURNS, st.just("fetch_add"))
    return world, draw(preempting(st.lists(stop, min_size=1, max_size=4), spans=[300, 1000], changes=5))


def test_arrivals_are_handed_on_to_another_host_once_and_in_their_barrier():
    explore("barrier", cases_with_many_arrivals)


def test_all_models_are_equal_to_the_bit_after_every_synchronisation():
    explore("models_equal")


def test_fresh_late_and_missed_ranks_get_what_their_formulas_say():
    # A rank that could not publish, and misses the step, has its own model in private memory only.
    world = World(ranks=6, group_size=6, sync_period=7, steps=7, leaves=((1, 33),))
    stops = (Stop(2, 5, 100, "fetch_add"), Stop(7, 0, 1000, "fetch_add"))
    schedule = Schedule(
        policy="random", span=100, changes=5, stops=stops, interruptions=(Interruption(1, 3),)
    )
    example = world, schedule
    reaches(example, lambda step: step.outcome is Outcome.MISSED and not step.published)
    explore("formulas", cases, [example])


def test_with_overlap_a_model_gets_what_the_group_step_before_has_brought():
    explore("overlap", lambda: cases(overlap=True))


def test_models_without_elements_are_averaged_like_any_other():
    for leaves in (((0, 0),), ((1, 0), (0, 0), (3, 0))):
        case = World(sync_period=4, steps=5, leaves=leaves, lanes=2), Schedule()
        assert violations(case) == {}


def departs_without_cause(history):
    """Say which ranks depart though no exception has ended a round trip of theirs, and no other rank left."""
    broken = []
    for why in history.departed:
        named = re.search(r"rank (\d+) (?:has|synchronises|averages)", why)
        if (
            why
            and "Silence(trip" not in why.split("rank ")[0]
            and not (named and history.departed[int(named[1])])
        ):
            broken.append(why)
    return {**oracle.violations(history), **({"departures": broken} if broken else {})}


def test_an_exception_in_any_round_trip_leaves_nothing_wrong_and_nobody_waiting():
    """A rank goes on with a synchronisation or departs, and the others that need it learn that."""
    # Each round trip of a small world: a group step, a synchronisation, and what follows one.
    worlds = [
        World(quorum=2, sync_period=2, steps=1),
        World(ranks=3, group_size=1, sync_period=1, steps=2),
        World(ranks=3, sync_period=2, steps=3),
    ]
    examples = [(world, Schedule(silences=(Silence(trip, 1),))) for world in worlds for trip in range(1, 50)]
    # A rank of the first host told the end of the last synchronisation closes before the third host is told.
    stops = (Stop(22, 0, 509), Stop(22, 4, 509), Stop(1160, 1, 1503), Stop(10, 3, 256, "compare_and_swap"))
    interruptions = (Interruption(118, 3, StopIteration), Interruption(383, 1, StopIteration))
    silences = tuple(Silence(trip, rank, StopIteration) for trip, rank in ((1, 1), (25, 2), (22, 4)))
    hosts = World(
        ranks=6, group_size=6, sync_period=1, sync_quorum=1, patience=-1.0, steps=3, leaves=((1, 1),)
    )
    schedule = Schedule(
        policy="round-robin", seed=23462932, span=19, stops=stops, interruptions=interruptions
    )
    hosts = replace(hosts, lanes=3, hosts=3, lent=True, pins_before=(1 << 20) - 3)
    examples.append((hosts, replace(schedule, silences=silences)))
    # A rank that finds no free slot for the model of its last step closes while another is in that step.
    small = World(ranks=5, group_size=4, sync_period=4, sync_quorum=1, steps=7, leaves=((0, 0),), lent=True)
    silence = Silence(1, 0, KeyboardInterrupt)
    examples.append((small, Schedule(policy="random", seed=0, span=100, changes=3, silences=(silence,))))
    # A rank whose telling of its last round is ended must not write its sums again.
    leaves = (0, 0), (0, 100)
    told = World(
        ranks=5, group_size=1, sync_period=1, sync_quorum=2, steps=1, leaves=leaves, synchronized=1, chunks=4
    )
    told = replace(told, lanes=2, hosts=2, columns=False, direct=False, lent=True)
    silence = Silence(30, 1, KeyboardInterrupt)
    schedule = Schedule(policy="random", seed=28365358, span=100, changes=3, silences=(silence,))
    examples.append((told, schedule))
    explore("", cases_with_silence, examples, check=departs_without_cause)


@st.composite
def cases_with_silence_between_hosts(draw):
    """Return a world that only synchronises, and a schedule.

    The schedule stops a rank, and ends some round trips of the same rank by exceptions.
    """
    ranks, hosts = draw(st.sampled_from([(2, 2), (3, 2), (3, 3), (4, 2)]))
    world = World(
        ranks=ranks,
        group_size=1,
        sync_period=1,
        sync_quorum=draw(st.one_of(st.none(), st.integers(1, ranks))),
        steps=3,
        leaves=((1, 1),),
        hosts=hosts,
        direct=draw(st.booleans()),
    )
    rank = draw(st.integers(0, ranks - 1))
    verbs = st.sampled_from(["compare_and_swap", "fetch_max"])
    stop = st.builds(Stop, st.integers(1, 8), st.just(rank), st.sampled_from([100, 300, 1000]), verbs)
    first, trips = draw(st.integers(1, 60)), draw(st.integers(1, 4))
    silences = [Silence(trip, rank, draw(KINDS)) for trip in range(first, first + trips)]
    schedule = draw(preempting(st.lists(stop, min_size=1, max_size=3), spans=[300, 1000], changes=5))
    return world, replace(schedule, silences=tuple(silences))


def test_what_other_hosts_are_told_may_be_told_again_after_an_exception():
    # Rank 1 stops when it has set its mark, which it does not learn. The other goes on to the next barrier.
    world = World(group_size=1, sync_period=1, leaves=((1, 1),), hosts=2)
    examples = [
        (
            world,
            Schedule(
                policy="random",
                span=300,
                seed=seed,
                changes=5,
                stops=(Stop(mark, 1, 1000, "compare_and_swap"),),
                silences=(Silence(trip, 1, KeyboardInterrupt),),
            ),
        )
        for seed, trip, mark in [(2, 83, 5), (6, 47, 4), (7, 89, 8), (9, 53, 4), (10, 37, 3)]
    ]
    explore("", cases_with_silence_between_hosts, examples, check=departs_without_cause)


@st.composite
def cases_of_a_full_turn(draw):
    """Return a world of P = S^k ranks that wait for their groups, its k steps, and a schedule."""
    group_size, steps = draw(st.sampled_from([(2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (4, 1)]))
    world = World(
        ranks=group_size**steps,
        group_size=group_size,
        sync_period=steps + 1,
        quorum=group_size,
        patience=draw(st.sampled_from([0.0, 1e-3])),
        steps=steps,
        leaves=((0, draw(st.integers(1, 70))), (1, 1)),
        chunks=draw(st.integers(1, 3)),
        chained=True,
    )
    return world, replace(draw(schedules(world)), interruptions=())


def misses_the_global_mean(history):
    """Say where a full turn of FRESH ranks has not given the mean of all."""
    world, broken = history.world, []
    start = [simulation.model(world.leaves, rank, 1) for rank in range(world.ranks)]
    for rank, steps in enumerate(history.steps):
        if {step.outcome for step in steps} != {Outcome.FRESH}:
            broken.append(f"rank {rank} is not FRESH at each step: {steps}")
        for leaf, *all_of_it in zip(steps[-1].result, *start, strict=True):
            if not np.allclose(leaf, np.mean(all_of_it, axis=0), rtol=1e-5, atol=1e-6):
                broken.append(f"rank {rank} ends with {leaf}")
    # What ranks come with to later steps the oracle can't know here.
    return {**oracle.Replay(history).wrong, **({"full_turn": broken} if broken else {})}


def test_a_full_turn_of_fresh_ranks_gives_the_global_mean():
    explore("full_turn", cases_of_a_full_turn, check=misses_the_global_mean)


def test_a_result_is_missed_only_when_it_has_been_recycled():
    explore("missed")


def replays_otherwise(history):
    """Say whether the choices of a history make another one."""
    stops, interruptions = history.schedule.stops, history.schedule.interruptions
    same = Schedule(history.choices, stops=stops, interruptions=interruptions)
    again = simulation.run(history.world, same)
    broken = []
    if again.events != history.events or again.choices != history.choices:
        broken.append("other events")
    for one, other in zip(history.steps, again.steps, strict=True):
        if len(one) != len(other):
            broken.append("other steps")
        for step, repeated in zip(one, other, strict=False):
            if replace(step, result=()) != replace(repeated, result=()):
                broken.append(f"{repeated} after {step}")
            if not models.same_bits(step.result, repeated.result):
                broken.append(f"another result: {repeated} after {step}")
    return {"replay": broken} if broken else {}


def test_the_choices_of_a_run_repeat_it_exactly():
    explore("replay", check=replays_otherwise)


def check_patience(case, holds):
    """Check that all is well with a case, and that its steps, by rank, are as they should be."""

    def check(history):
        late = {} if holds(history.steps) else {"patience": [str(history.steps)]}
        return {**oracle.violations(history), **late}

    for name, broken in violations(case, check).items():
        raise AssertionError(f"{name}, after 1 examples: {broken[0]}; {case}")


def test_ranks_that_are_in_time_meet_though_one_would_be_enough():
    """The first rank waits for the others, whose stops end one after the other within 100 us."""
    world = World(ranks=4, group_size=4, sync_period=4, quorum=1, patience=-1.0, steps=3)

    def all_are_fresh(ranks):
        return all(step.outcome is Outcome.FRESH for steps in ranks for step in steps)

    for turns in range(13):
        stops = tuple(Stop(1, rank, rank * turns) for rank in range(1, 4))
        check_patience((world, Schedule(stops=stops)), all_are_fresh)


def test_ranks_whose_steps_vary_by_some_per_cent_meet_by_default():
    """The other rank is stopped again and again, for longer than an exchange takes."""
    world = World(sync_period=12, patience=-1.0, steps=11, computes=(0.1,))

    def all_are_fresh(ranks):
        return all(step.outcome is Outcome.FRESH for steps in ranks for step in steps)

    for every, turns in ((40, 20), (60, 20), (80, 30)):
        schedule = Schedule(stops=tuple(Stop(at, 1, turns) for at in range(80, 2000, every)))
        check_patience((world, schedule), all_are_fresh)
        at_once = simulation.run(replace(world, computes=(0.0,)), schedule).steps
        assert HUNTING or not all_are_fresh(at_once), "these ranks differ by too little"


def test_a_rank_waits_for_an_absent_one_a_tenth_of_what_its_steps_usually_take():
    schedule = Schedule(stops=(Stop(1, 0),))
    for out_of_the_ordinary in (0.0, 0.1, 100.0):  # one step in four
        world = World(sync_period=12, patience=-1.0, steps=11, computes=(0.1, 0.1, out_of_the_ordinary, 0.1))

        def waits_a_tenth(ranks):
            # A pause ends too late by at most a quarter of what the rank has waited.
            return all(0.01 <= step.seconds_waited < 0.0126 for step in ranks[1][1:])

        check_patience((world, schedule), waits_a_tenth)


def test_what_a_rank_computes_after_a_synchronisation_counts_too():
    world = World(sync_period=2, patience=-1.0, steps=6, computes=(0.1,))
    before = simulation.run(world, Schedule()).steps[1][3].ended

    def waits_a_tenth(ranks):
        return 0.01 <= ranks[0][4].seconds_waited < 0.0126 and ranks[1][4].outcome is Outcome.LATE

    check_patience((world, Schedule(stops=(Stop(before + 1, 1, 300),))), waits_a_tenth)


def test_a_rank_that_was_stopped_in_a_sum_waits_no_longer_afterwards():
    absent = Stop(1, 0)
    # One of these comes between the tag and the sums that lie under it.
    places = [Stop(at, 1, 10, "fetch_max", seconds=1.0) for at in range(1, 7)]
    for chunks, stopped in itertools.product((1, 50), places):
        world = World(sync_period=4, patience=-1.0, steps=3, leaves=((0, 1600),), chunks=chunks)

        def waits_as_ever(ranks, world=world):
            usual = simulation.run(world, Schedule(stops=(absent,))).steps
            waits = zip(ranks[1], usual[1], strict=True)
            return all(0 < step.seconds_waited < 2 * before.seconds_waited for step, before in waits)

        check_patience((world, Schedule(stops=(absent, stopped))), waits_as_ever)
