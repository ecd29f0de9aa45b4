/*
 * A synchronising step: two barriers of all ranks on a tree of hosts, and the sums between them.
 *
 * With one host a column is a rank's, and its sums are totals. With two, rank 0 and rank 1 have the column of their
 * host, and each sums one of its two parts over both hosts and copies the other. What is read is asserted to be right
 * where it is read, so only what is there is kept of sums.
 */

/* The barriers of step v, and how many columns each host has summed when it is over. */
#define FIRST(v) (2 * ((v) / TAU) - 1)
#define SECOND(v) (2 * ((v) / TAU))
#if HOSTS == 2
#define RANKS_BELOW(host) (RANKS - 1)
#define HAS_COLUMN(i) ((i) < 2)
#define PEER(i) (1 - (i))
#define ALL_PARTS 3
#define COLUMNS 1
#else
#define RANKS_BELOW(host) RANKS
#define HAS_COLUMN(i) true
#define ALL_PARTS 1
#define COLUMNS RANKS
#endif

/* A call is to the next synchronisation. */
inline jump() {
    assert(called[HOST(i)] == NEXT_SYNCHRONIZATION(step));
    step = NEXT_SYNCHRONIZATION(step)
}

/* stands for: Synchronizer._phases, Announcements.raise_own, Announcements.loaded */
inline synchronize() {
    contribute();
    arrive_at(FIRST(step), SYNC_QUORUM > 0);
    d_step {
#ifndef TRAP_NO_FIRST_BARRIER
        gathered[HOST(i)] >= FIRST(step) -> check_all_have_arrived();
#endif
        check_pins(i);
        overwrite_results()
    };
    sum();
    collect_mean();
    arrive_at(SECOND(step), false);
    d_step {
#ifndef TRAP_NO_BARRIER
        gathered[HOST(i)] >= SECOND(step) -> check_all_have_published();
#endif
        check_own_model();
        has_published = false;
        host_sums[i] = false; totals[i] = 0;
        step++
    }
}

inline check_all_have_arrived() {
    c = 0;
    do
    :: c == RANKS -> break
    :: else -> assert(entered[c] >= 2 * step); c++
    od;
    c = 0
}

inline check_all_have_published() {
    c = 0;
    do
    :: c == RANKS -> break
    :: else -> assert(PUBLISHED_STEP(published[c]) >= step && entered[c] > 2 * step); c++
    od;
    c = 0
}

/* Nobody reads the results of group steps any more. */
inline overwrite_results() {
    c = 0;
    do
    :: c == RESULTS * CHUNKS -> break
    :: else -> result[i * RESULTS * CHUNKS + c] = ALL_GARBAGE; c++
    od;
    c = 0
}

/* stands for: Reduction.contribute, Snapshots.reserve, Snapshots.has_free_slot */
inline contribute() {
    d_step { ANY_FREE(i) -> begin_to_write() };
    snapshot[SLOT_OF(i, slot)] = OWN;
    contributed[i] = CONTRIBUTED(FIRST(step), slot)
}

/* Barriers. */

#define ARRIVED_AT(number, count) ((count) - ((number) - 1) * RANKS)
#define CALLS(number, calls) ((calls) && ARRIVED_AT(number, known) >= SYNC_QUORUM \
                              && ARRIVED_AT(number, known - added) < SYNC_QUORUM)

/* The word `entered` changes together with the first arrival: nobody waits for it. A barrier is over when `gathered`
   says so, which only grows. */
/* stands for: Barrier.go_on, Barrier.tell_end, Barrier.look */
inline arrive_at(number, calls) {
    host = HOST(i); added = 1;
    do
    :: say_newest(number);
        d_step {
            reached[host] = reached[host] + added;
            assert(reached[host] <= number * RANKS_BELOW(host) || host == 0 && reached[host] <= number * RANKS);
            known = reached[host]
        };
        if
        :: host == 0 && known == number * RANKS -> tell(number); break
        :: host == 0 && known != number * RANKS && CALLS(number, calls) -> call(); break
        :: host == 0 && known != number * RANKS && !CALLS(number, calls) -> break
        :: host > 0 && known != number * RANKS_BELOW(host) && (!(calls) || IS_CALLED) -> break
        :: host > 0 && (known == number * RANKS_BELOW(host) || (calls) && !IS_CALLED) -> claim(number);
            if
            :: added == 0 -> break
            :: added > 0 -> host = 0
            fi
        fi
    od;
    host = 0; added = 0; known = 0
}

/* Of two ranks that come for different steps one finds it out. Here none do. */
/* stands for: Barrier.say_newest */
inline say_newest(number) {
    d_step {
        assert(newest[host] >> 3 <= number);
        assert(newest[host] >> 3 < number || newest[host] == NEWEST(number, step));
        newest[host] = NEWEST(number, step);
        entered[i] = 2 * step + (number == SECOND(step))
    }
}

/* Of arrivals at a node one rank alone adds each to the node above; those at the next barrier a rank leaves to others. */
/* stands for: Barrier.claim, Barrier.load_word */
inline claim(number) {
    known = forwarded[host];
    do
    :: d_step {
        added = reached[host];
        if
#ifndef TRAP_LATER_ARRIVALS
        :: added > number * RANKS_BELOW(host) -> added = 0
#endif
        :: else -> added = added - known
        fi
    };
        if
        :: added == 0 -> break
        :: d_step {
            added > 0 ->
#ifdef TRAP_UNCLAIMED
            forwarded[host] = known + added; known = 0
        } -> break
#else
            swapped = forwarded[host] == known;
            if
            :: swapped -> forwarded[host] = known + added
            :: else -> known = forwarded[host]
            fi
        };
            if
            :: d_step { swapped -> swapped = false } -> break
            :: !swapped
            fi
#endif
        fi
    od
}

/* stands for: Barrier.tell */
inline tell(number) {
    gathered[0] = number;
#if HOSTS == 2
    gathered[1] = number
#endif
}

/* stands for: Barrier.call, Barrier.is_enough */
inline call() {
    called[0] = step;
#if HOSTS == 2
    called[1] = step
#endif
}

/* Sums. */

/* stands for: Reduction.sum_host, Reduction.missing, Reduction.perform */
inline sum() {
    if
    :: HAS_COLUMN(i) ->
        read_contributions();
#ifndef WHOLE
#if HOSTS == 1
        totals[i] = ALL_PARTS;
#else
        host_sums[i] = true;
        tell_stage(2);
        d_step {
#ifndef TRAP_ROUND_TOO_EARLY
            progress[PEER(i)] >= PROGRESS(FIRST(step), 2) ->
#endif
            assert(host_sums[PEER(i)]);
            totals[i] = 1 << HOST(i)
        };
        tell_stage(3);
        d_step {
            progress[PEER(i)] >= PROGRESS(FIRST(step), 3) ->
            assert(totals[PEER(i)] & 1 << (1 - HOST(i)));
            totals[i] = ALL_PARTS
        };
        tell_stage(4);
#endif
        tell_summed()
#endif
    :: !HAS_COLUMN(i)
    fi
}

/* stands for: Reduction.add_contributions */
inline read_contributions() {
    do
    :: d_step {
        c < RANKS && HOST(c) == HOST(i) ->
        assert(NUMBER(contributed[c]) == FIRST(step));
        assert(snapshot[SLOT_OF(c, SLOT(contributed[c]))] == OWN);
        c++
    }
    :: d_step { c < RANKS && HOST(c) != HOST(i) -> c++ }
    :: c == RANKS -> break
    od;
    c = 0
}

/* stands for: Reduction.tell_stage */
inline tell_stage(stage) {
    progress[i] = PROGRESS(FIRST(step), stage)
}

/* stands for: Reduction.tell_summed */
inline tell_summed() {
    summed[HOST(i)] = summed[HOST(i)] + 1
}

/* The mean of a small model overwrites the newest snapshot, since others may still read the reserved slot. */
/* stands for: Reduction.collect, Reduction.is_summed, Snapshots.begin_mean, Snapshots.publish_mean */
inline collect_mean() {
#ifdef WHOLE
#ifndef TRAP_MEAN_INTO_RESERVED
    d_step { slot = SLOT(published[i]) };
#endif
#else
#ifndef TRAP_MEAN_TOO_EARLY
    summed[HOST(i)] >= step / TAU * COLUMNS;
#endif
    read_totals();
#endif
    d_step { check_nobody_may_read(); snapshot[SLOT_OF(i, slot)] = GARBAGE };
    end_writing();
    name_newest()
}

inline read_totals() {
    do
    :: d_step {
        c < RANKS && HOST(c) == HOST(i) && HAS_COLUMN(c) ->
        assert(totals[c] == ALL_PARTS);
        c++
    }
    :: d_step { c < RANKS && !(HOST(c) == HOST(i) && HAS_COLUMN(c)) -> c++ }
    :: c == RANKS -> break
    od;
    c = 0
}
