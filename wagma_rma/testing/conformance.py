"""A suite of checks that every window must pass.

All ranks run it together, each on its own window: as MPI ranks, as threads, or as the ranks of a
``Scheduler``. It knows nothing of the memory behind the verbs; ``wagma_rma.windows.window`` states what each
verb promises.

To write a window for another memory, derive a Cython class from ``wagma_rma.windows.window.Window`` (cimport
it), as ``MappedWindow`` and ``SimulatedWindow`` do, with 1 to MOST_LANES lanes.
"""

import time
from collections.abc import Callable, Iterator

from wagma_rma.windows.verbs import Verbs
from wagma_rma.windows.window import MOST_LANES, Window

# Byte offsets of the words of the checks; bulk memory begins behind them.
FLAGS, COUNTER, SWAPPED, HIGHEST, TAG, IDLE, PLAIN = 0, 64, 128, 192, 256, 320, 384
WORDS_BYTES = 1024
BULK_BYTES = 8192
NBYTES = WORDS_BYTES + BULK_BYTES
ROUNDS = 20
FIRST_SLEEP, LAST_SLEEP = 0.05, 10.0  # seconds
MASK = (1 << 64) - 1


def check_window(
    make_window: Callable[[int, int], Window],
    barrier: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Check that a window keeps the promises of its verbs.

    Args:
        make_window: called once, at every rank, with the size of each rank's window and the size of its part
            for words, bytes; returns this rank's window. The caller frees it.
        barrier: waits until every rank has called it; what any rank did before is then visible to all.
        sleep: leaves its rank idle for some seconds: it calls no verb of the window, nor anything else that
            could help operations on the rank's memory. In a simulation it lets the other ranks run.

    Raises:
        AssertionError: a verb breaks its promise; names the verb and the rank, what it found and what it
            should find.

    Collective. Takes about a second.
    """
    window = make_window(NBYTES, WORDS_BYTES)
    suite = _Suite(window, barrier, sleep)
    for check in (
        suite.lanes_are_not_too_many,
        suite.words_begin_as_zero,
        suite.verbs_find_what_was_there,
        suite.operations_in_flight_are_all_performed,
        suite.additions_of_all_ranks_are_all_counted,
        suite.one_swap_wins,
        suite.the_maximum_stays,
        suite.bulk_data_is_there_before_its_word,
        suite.reads_in_flight_give_each_its_bytes,
        suite.a_tag_read_after_the_data_tells_torn_reads,
        suite.an_idle_target_holds_nobody_up,
        suite.time_goes_forward,
    ):
        check()
        barrier()


def _pattern(rank: int, generation: int, nbytes: int) -> bytes:
    """Return bytes of which each 8 hold their rank, generation and place."""
    return b"".join(
        (generation << 32 | rank << 16 | place).to_bytes(8, "little") for place in range(nbytes // 8)
    )


class _Suite:
    """The checks, on one rank's window."""

    def __init__(self, window: Window, barrier: Callable[[], None], sleep: Callable[[float], None]) -> None:
        self.verbs = Verbs(window, max(2, window.ranks), BULK_BYTES)
        self.window, self.barrier, self.sleep = window, barrier, sleep
        self.rank, self.ranks = window.rank, window.ranks
        self.everyone = range(window.ranks)
        self.next_rank = (window.rank + 1) % window.ranks

    def expect(self, verb: str, found: object, expected: object) -> None:
        assert found == expected, (
            f"{type(self.window).__name__}.{verb}: rank {self.rank} of {self.ranks} finds {found!r}, "
            f"not {expected!r}"
        )

    def wait_for_word(self, rank: int, word: int, value: int) -> None:
        """Wait until another rank has changed a word."""
        self.window.waiter.wait_for(lambda: self.verbs.load(rank, word)[0] == value)

    def lanes_are_not_too_many(self) -> None:
        self.expect(f"lanes, from 1 to {MOST_LANES}", 1 <= self.window.lanes <= MOST_LANES, True)

    def words_begin_as_zero(self) -> None:
        for rank in self.everyone:
            self.expect("load", self.verbs.load(rank, 0, WORDS_BYTES // 8), [0] * (WORDS_BYTES // 8))

    def verbs_find_what_was_there(self) -> None:
        """Operate on words of the next rank that no other rank uses, one word for each verb."""
        verbs, rank = self.verbs, self.next_rank
        added, highest, swapped = (PLAIN + 8 * i for i in range(3))
        self.expect("fetch_add", verbs.fetch_add(rank, added, 5), 0)
        self.expect("fetch_add", verbs.fetch_add(rank, added, MASK - 5), 5)
        self.expect("fetch_add, beyond 2^64", verbs.fetch_add(rank, added, 3), MASK)
        self.expect("load", verbs.load(rank, added), [2])
        self.expect("fetch_max", verbs.fetch_max(rank, highest, 7), 0)
        self.expect("fetch_max, a smaller one", verbs.fetch_max(rank, highest, 3), 7)
        self.expect("fetch_max, of the highest", verbs.fetch_max(rank, highest, MASK >> 1), 7)
        self.expect("load", verbs.load(rank, highest), [MASK >> 1])
        self.expect("compare_and_swap", verbs.compare_and_swap(rank, swapped, 0, 11), 0)
        self.expect("compare_and_swap, another", verbs.compare_and_swap(rank, swapped, 0, 12), 11)
        self.expect("compare_and_swap, the same", verbs.compare_and_swap(rank, swapped, 11, MASK), 11)
        self.expect("load", verbs.load(rank, added, 3), [2, MASK >> 1, MASK])
        self.barrier()
        self.expect("load of what another did", verbs.load(self.rank, added, 3), [2, MASK >> 1, MASK])

    def operations_in_flight_are_all_performed(self) -> None:
        """Begin operations at all ranks, on the same word too, and complete them together."""
        before = [self.verbs.load(rank, PLAIN + 64 + 8 * self.rank)[0] for rank in self.everyone]
        self.expect("load", before, [0] * self.ranks)
        operations = [
            ("fetch_add", rank, PLAIN + 64 + 8 * self.rank, 1 + again)
            for again in range(3)
            for rank in self.everyone
        ]
        found = self.verbs.several(operations)
        self.expect(
            "fetch_add, three in flight", found, [0] * self.ranks + [1] * self.ranks + [3] * self.ranks
        )
        for rank in self.everyone:
            self.expect("load", self.verbs.load(rank, PLAIN + 64 + 8 * self.rank), [6])

    def additions_of_all_ranks_are_all_counted(self) -> None:
        found = []
        for _ in range(ROUNDS):
            before, after = self.verbs.several([("fetch_add", 0, COUNTER, 1), ("load", 0, COUNTER)])
            self.expect("load after a fetch_add in flight, finds it", after > before, True)
            found.append(before)
        self.expect("fetch_add, ascending", found, sorted(set(found)))
        self.barrier()
        self.expect("fetch_add of all ranks", self.verbs.load(0, COUNTER), [ROUNDS * self.ranks])
        # Each addition must have found a different number. Then the sum of what all ranks found is known.
        self.verbs.fetch_add(0, COUNTER + 8, sum(found))
        self.barrier()
        total = ROUNDS * self.ranks
        self.expect(
            "fetch_add, sum of what was found", self.verbs.load(0, COUNTER + 8), [total * (total - 1) // 2]
        )

    def one_swap_wins(self) -> None:
        for generation in range(ROUNDS):
            mine = generation << 32 | self.rank + 1
            seen = self.verbs.load(0, SWAPPED)[0]
            while seen >> 32 < generation or seen == 0:
                found = self.verbs.compare_and_swap(0, SWAPPED, seen, mine)
                if found == seen:
                    self.verbs.fetch_add(0, SWAPPED + 8, 1)
                    break
                seen = found
        self.barrier()
        winners = self.verbs.load(0, SWAPPED + 8)[0]
        # Fewer than ROUNDS where a rank has swapped for a later generation before any swapped for an earlier
        # one.
        self.expect("compare_and_swap, winners of each swap at most one", winners <= ROUNDS, True)
        self.expect(
            "compare_and_swap, one rank won the last", self.verbs.load(0, SWAPPED)[0] >> 32, ROUNDS - 1
        )

    def the_maximum_stays(self) -> None:
        for i in range(ROUNDS):
            mine = i * self.ranks + self.rank
            self.verbs.fetch_max(0, HIGHEST, mine)
            seen = self.verbs.load(0, HIGHEST)[0]
            self.expect("fetch_max, at least one's own", seen >= mine, True)
        self.barrier()
        self.expect("fetch_max of all ranks", self.verbs.load(0, HIGHEST), [ROUNDS * self.ranks - 1])

    def bulk_data_is_there_before_its_word(self) -> None:
        nbytes = BULK_BYTES // 8 * 8
        for generation in range(1, ROUNDS + 1):
            self.verbs.write(WORDS_BYTES, _pattern(self.rank, generation, nbytes))
            self.verbs.write_fence()
            self.verbs.fetch_add(self.rank, FLAGS, 1)
            for rank in dict.fromkeys((self.next_rank, self.rank)):
                self.wait_for_word(rank, FLAGS, generation)
                data = self.verbs.read(rank, WORDS_BYTES, nbytes)
                self.verbs.read_fence()
                assert data == _pattern(rank, generation, nbytes), (
                    f"{type(self.window).__name__}: rank {self.rank} reads old data of rank {rank} in "
                    f"generation {generation}, though the word that follows a write fence is there"
                )
            self.barrier()

    def reads_in_flight_give_each_its_bytes(self) -> None:
        nbytes = BULK_BYTES // 8 * 8
        self.verbs.write(WORDS_BYTES, _pattern(self.rank, 1, nbytes))
        self.verbs.write_fence()
        self.barrier()
        for ranges in self.ranges():
            # Different bytes in each lane.
            lanes = [
                [
                    (rank, offset + 8 * lane, size - 8 * lane)
                    for rank, offset, size in ranges
                    if lane == 0 or size > 8 * lane
                ]
                for lane in range(self.window.lanes)
            ]
            for lane, reads in enumerate(lanes):
                self.verbs.start_reads(lane, reads)
            for lane, reads in reversed(list(enumerate(lanes))):
                for (rank, offset, size), data in zip(reads, self.verbs.complete_reads(lane), strict=True):
                    expected = _pattern(rank, 1, nbytes)[offset - WORDS_BYTES : offset - WORDS_BYTES + size]
                    self.expect(f"read of {size} bytes at {offset} in lane {lane}", data, expected)
                self.verbs.read_fence()

    def ranges(self) -> Iterator[list[tuple[int, int, int]]]:
        for offset, size in ((0, 8), (8, 0), (24, 100), (4090, 13), (0, BULK_BYTES // 8 * 8)):
            yield [(rank, WORDS_BYTES + offset, size) for rank in self.everyone]

    def a_tag_read_after_the_data_tells_torn_reads(self) -> None:
        """Overwrite data while others read it. Writers set a tag before the data; readers load it after."""
        nbytes = BULK_BYTES // 8 * 8
        kept = 0
        for generation in range(2, ROUNDS + 2):
            self.verbs.fetch_max(self.rank, TAG, generation)
            self.verbs.write_fence()
            self.verbs.write(WORDS_BYTES, _pattern(self.rank, generation, nbytes))
            self.verbs.write_fence()
            self.verbs.fetch_max(self.rank, TAG + 8, generation)
            for rank in dict.fromkeys((self.next_rank, self.rank)):
                complete = self.verbs.load(rank, TAG + 8)[0]
                data = self.verbs.read(rank, WORDS_BYTES, nbytes)
                self.verbs.read_fence()
                if complete and self.verbs.load(rank, TAG)[0] == complete:
                    kept += 1
                    assert data == _pattern(rank, complete, nbytes), (
                        f"{type(self.window).__name__}: rank {self.rank} reads torn data of rank {rank} "
                        f"under the tag {complete}"
                    )
        self.expect("read, of one's own latest data", kept >= ROUNDS, True)

    def an_idle_target_holds_nobody_up(self) -> None:
        """Operate on the memory of a rank that calls no verb, and complete that before the rank calls one.

        If the target had to help, the operations of the other ranks would not be complete when the target
        calls its first verb, the one that tells the others that it is awake. Operations on other ranks
        are in flight at the same time; their completion must not hide that those on the idle rank are not
        complete. On a slow machine the others may need more time than the target sleeps, so its sleep is
        doubled until it is long enough.
        """
        if self.ranks == 1:
            return
        verbs, (awake, completed, added, highest, swapped) = self.verbs, (IDLE + 8 * i for i in range(5))
        mine, others = 2 * PLAIN + 8 * self.rank, [rank for rank in self.everyone if rank != 0]
        counted = 0
        seconds, times, before = FIRST_SLEEP, 0, 0
        self.verbs.write(WORDS_BYTES, _pattern(self.rank, 1, BULK_BYTES))
        self.verbs.write_fence()
        self.barrier()
        while True:
            if self.rank == 0:
                self.sleep(seconds)
                verbs.fetch_add(1, awake, 1)
            else:
                for _ in range(ROUNDS):
                    verbs.load(0, added)
                    verbs.fetch_add(0, added, 1)
                    verbs.fetch_max(0, highest, self.rank)
                    verbs.compare_and_swap(0, swapped, 0, self.rank)
                    *_, found = verbs.several([("fetch_add", rank, mine, 1) for rank in (*others, 0)])
                    self.expect("fetch_add on an idle rank, with others in flight", found, counted)
                    counted += 1
                    data = verbs.read(0, WORDS_BYTES, BULK_BYTES)
                    verbs.read_fence()
                    self.expect("read from an idle rank", data == _pattern(0, 1, BULK_BYTES), True)
                if verbs.load(1, awake)[0] == times:
                    verbs.fetch_add(1, completed, 1)
            self.barrier()
            total = verbs.load(1, completed)[0]
            in_time, before = total - before, total
            self.barrier()
            if in_time == self.ranks - 1:
                return
            seconds, times = 2 * seconds, times + 1
            assert seconds <= LAST_SLEEP, (
                f"{type(self.window).__name__}: while rank 0 calls no verb for {seconds / 2} s, only "
                f"{in_time} of {self.ranks - 1} ranks complete their operations on its memory"
            )

    def time_goes_forward(self) -> None:
        before = self.window.waiter.time()
        waited = self.verbs.pause(times=3)
        self.expect("now", self.window.waiter.time() >= before + waited >= before, True)
