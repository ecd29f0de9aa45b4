/*
 * A synchronising step: two barriers of all ranks on a tree of hosts, and the sums between them.
 *
 * With one host a column is a rank's, and its sums are totals. With two, rank 0 and rank 1 have the column of their
 * host, and each sums it over both hosts. What is read is asserted to be right where it is read, so only what is there
 * is kept of sums.
 */

/* The barriers of step v, and how many columns each host has summed when it is over. */
#define FIRST(v) (2 * ((v) / TAU) - 1)
#define SECOND(v) (2 * ((v) / TAU))
#if HOSTS == 2
#define RANKS_OF(host) ((host) == 0 -> 1 : RANKS - 1)
#define HAS_COLUMN(i) ((i) < 2)
#define PEER(i) (1 - (i))
#define COLUMNS 1
#else
#define RANKS_OF(host) RANKS
#define HAS_COLUMN(i) true
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
    check_refusal(FIRST(step));
    sum();
    collect_mean();
    arrive_at(SECOND(step), false);
    d_step {
#ifndef TRAP_NO_BARRIER
        gathered[HOST(i)] >= SECOND(step) -> check_all_have_published();
#endif
        check_own_model();
        has_published = false;
        host_sums[i] = false; totals[i] = false;
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

/* The lowest rank that refuses has the greatest code. */
#define CODE(rank) (4 - (rank))
#define FIRST_CODE (REFUSES & 1 -> CODE(0) : (REFUSES & 2 -> CODE(1) : CODE(2)))

/* A barrier is over when `gathered` says so, which only grows. */
/* stands for: Barrier.go_on, Barrier.has_ended, Barrier.load_word */
inline arrive_at(number, calls) {
    count_in(number);
#if HOSTS == 2
    if
    :: is_last || (calls) && !IS_CALLED ->
#ifdef TRAP_LOOKS_BEFORE_IT_TELLS
        known = (counted[1 - HOST(i)] >> 3 == number -> counted[1 - HOST(i)] & 7 : 0);
#endif
        if
        :: (calls) -> tell_count(number)
        :: !(calls)
        fi;
        if
        :: is_last -> set_mark(number)
        :: !is_last
        fi;
        if
#ifdef TRAP_LOOKS_BEFORE_IT_TELLS
        :: (calls) && !is_last -> d_step { count = count + known; known = 0 }
#else
        :: (calls) && !is_last -> sum_counts(number)
#endif
        :: !(calls) || is_last
        fi
    :: else
    fi;
#endif
    if
    :: is_last -> tell(number)
    :: !is_last && (calls) && !IS_CALLED && count >= SYNC_QUORUM -> call()
    :: else
    fi;
    d_step {
        if
        :: (calls) ->
            told++;
            assert(told - (step / TAU - 1) * RANKS < SYNC_QUORUM || IS_CALLED || gathered[HOST(i)] >= number)
        :: else
        fi;
        count = 0; code = 0; is_last = false
    }
}

/* The word `entered` changes together with the arrival: nobody waits for it. Of two ranks that come for different steps
   one finds it out; here none do. */
/* stands for: Barrier.count_in */
inline count_in(number) {
#if REFUSES
    d_step { code = (REFUSES >> i & 1 && number == FIRST(step) -> CODE(i) : 0) };
    refuse(HOST(i), number);
#endif
    d_step {
        assert(said[HOST(i)] >> 4 <= number);
        assert(said[HOST(i)] >> 4 < number || said[HOST(i)] >> 1 == SAID(number, step, 0) >> 1);
        said[HOST(i)] = SAID(number, step, code > 0 || said[HOST(i)] >> 4 == number && REFUSED(said[HOST(i)]));
        entered[i] = 2 * step + (number == SECOND(step))
    };
    d_step {
        reached[HOST(i)]++;
        count = reached[HOST(i)] - ((number) - 1) * RANKS_OF(HOST(i));
        assert(count <= RANKS_OF(HOST(i)));
        is_last = count == RANKS_OF(HOST(i))
    };
#if REFUSES
    learn_code(HOST(i), is_last && REFUSED(said[HOST(i)]));
#endif
}

/* stands for: Barrier.refuse */
inline refuse(host, number) {
    if
    :: d_step { code > 0 -> refusing[host] = (refusing[host] > REFUSING(number, code) -> refusing[host]
                                                                                     : REFUSING(number, code)) }
    :: code == 0
    fi
}

/* stands for: Barrier.learn_code */
inline learn_code(host, is_told) {
    d_step { code = (is_told -> refusing[host] & 7 : 0) }
}

/* What is told at the end is which rank is the lowest that refuses. */
inline check_refusal(number) {
    d_step {
        code = 0;
        assert(is_refused[HOST(i)] == (REFUSES > 0));
        assert(!is_refused[HOST(i)] || refused[HOST(i)] == REFUSING(number, FIRST_CODE))
    }
}

/* Of the places of the root each has one mark, set once; the last finds both. The first guess is that the other has
   come, and that nobody there refuses. */
/* stands for: Barrier.set_mark */
inline set_mark(number) {
#if REFUSES && !defined(TRAP_CODE_STAYS)
    refuse(0, number);
#endif
    known = NODE(number, 1 << (1 - HOST(i)), 0);
    do
    :: d_step {
#ifdef TRAP_MARK_STORED
        swapped = true;
#else
        swapped = node == known;
#endif
        if
        :: swapped ->
            known = NODE(number, 1 << HOST(i) | (NODE_NUMBER(known) == number -> MARKS(known) : 0),
                         code > 0 || NODE_NUMBER(known) == number && REFUSED(known));
            node = known;
            is_last = MARKS(known) == ALL_MARKS
        :: else -> known = node
        fi
    };
        if
        :: swapped -> swapped = false; break
#ifdef REPEATS
        :: swapped -> swapped = false; known = NODE(number, 1 << (1 - HOST(i)), 0)
#endif
        :: d_step { !swapped && NODE_NUMBER(known) > number -> is_last = false } -> break
        :: d_step { !swapped && NODE_NUMBER(known) == number && MARKS(known) >> HOST(i) & 1 ->
            is_last = MARKS(known) == ALL_MARKS } -> break
        :: !swapped && !(NODE_NUMBER(known) > number || NODE_NUMBER(known) == number && MARKS(known) >> HOST(i) & 1)
        fi
    od;
#if REFUSES
    learn_code(0, is_last && REFUSED(known));
#endif
    known = 0
}

/* stands for: Barrier.tell_count */
inline tell_count(number) {
    d_step {
        if
        :: counted[HOST(i)] < COUNTED(number, count) -> counted[HOST(i)] = COUNTED(number, count)
        :: else
        fi
    }
}

/* stands for: Barrier.sum_counts */
inline sum_counts(number) {
    count = (counted[0] >> 3 == number -> counted[0] & 7 : 0);
    count = count + (counted[1] >> 3 == number -> counted[1] & 7 : 0)
}

/* stands for: Barrier.tell */
inline tell(number) {
#if REFUSES
    tell_code(0, number);
#if HOSTS == 2
    tell_code(1, number);
#endif
#endif
    tell_host(0, number)
#if HOSTS == 2
    ; tell_host(1, number)
#endif
}

inline tell_code(host, number) {
    if
    :: code > 0 -> refused[host] = REFUSING(number, code)
    :: code == 0
    fi
}

/* A maximum; nobody tells this barrier's end after the next one's. */
inline tell_host(host, number) {
    d_step {
        assert(gathered[host] == number - 1 || gathered[host] == number);
        gathered[host] = number;
        is_refused[host] = code > 0
    }
}

/* stands for: Barrier.call */
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
        totals[i] = true;
#else
        host_sums[i] = true;
        tell_stage(2);
        d_step {
#ifndef TRAP_ROUND_TOO_EARLY
            heard[i] >= PROGRESS(FIRST(step), 2) ->
#endif
            assert(host_sums[PEER(i)]);
            totals[i] = true
        };
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
    heard[PEER(i)] = PROGRESS(FIRST(step), stage)
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
        assert(totals[c]);
        c++
    }
    :: d_step { c < RANKS && !(HOST(c) == HOST(i) && HAS_COLUMN(c)) -> c++ }
    :: c == RANKS -> break
    od;
    c = 0
}
