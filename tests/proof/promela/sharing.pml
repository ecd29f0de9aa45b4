/* How the members of an open record share its work, and collect the sums. */

#define PART(m) TERM(m, source - AGE(con[m]))
#if SIZE == 2
#define EXPECTED (PART(0) | PART(1))
#elif SIZE == 3
#define EXPECTED (PART(0) | PART(1) | PART(2))
#else
#define EXPECTED (PART(0) | PART(1) | PART(2) | PART(3))
#endif

#define WORD(c) chunk[r * CHUNKS + (c)]
#define SUMS_HERE SUMS_OF(i, source, c)
#define CONTENT(m) snapshot[SLOT_OF(RANK(i, source, m), SLOT(con[m]))]

#if CHUNKS == 1
#define FIRST_CHUNK 0
#else
#define FIRST_CHUNK (MEMBER(i, source) * CHUNKS / SIZE)
#endif

/* Between two claims what others have done may be collected. */
/* stands for: Exchange.perform, Exchange.own_part */
inline share() {
    c = FIRST_CHUNK;
    claim_and_sum();
#if CHUNKS == 2
    if
    :: collect_done(FIRST_CHUNK)
    :: true
    fi;
    c = 1 - FIRST_CHUNK;
    claim_and_sum();
#endif
    c = 0
}

/* A chunk word only goes from an older step to CLAIMED to DONE. So a swap that starts from an older load
   succeeds if and only if the chunk is unclaimed at the swap, and the load is left out. */
/* stands for: Exchange.begin, Exchange.next_to_claim, Exchange.begin_claims, Exchange.end_claims */
inline claim_and_sum() {
    if
    :: d_step {
        WORD_STEP(WORD(c)) < source ->
        WORD(c) = CHUNK(source, CLAIMED, MEMBER(i, source));
        word = WORD(c)
    };
        sum_chunk(true)
    :: WORD_STEP(WORD(c)) >= source
    fi
}

#ifdef TRAP_TAKE_OVER_UNTAGGED
#define MUST_TAG(is_claim) (!tagged && is_claim)
#else
#define MUST_TAG(is_claim) (!tagged)
#endif

/* stands for: Results.begin_write */
inline set_tag() {
    if
    :: result_tag[RESULT_OF(i, source)] < source -> result_tag[RESULT_OF(i, source)] = source
    :: else
    fi;
    tagged = true
}

/* Sum chunk c, and mark it done if it is still as `word` says. One's own snapshot is written by no other
   rank, so when it is read doesn't matter. */
/* stands for: Sums.begin_sum, Sums.end_sum, Results.end_write, Exchange.begin_mark, Exchange.end_mark,
   Exchange.begin_count, Exchange.end_count */
inline sum_chunk(is_claim) {
#ifndef TRAP_TAG_AFTER_DATA
    if
    :: d_step { MUST_TAG(is_claim) -> set_tag() }
    :: !MUST_TAG(is_claim)
    fi;
#endif
    d_step { result[SUMS_HERE] = ALL_GARBAGE; sums = TERM(MEMBER(i, source), CONTENT(MEMBER(i, source))) };
    OTHERS(add_snapshot);
    d_step { result[SUMS_HERE] = sums; sums = 0 };
#ifdef TRAP_TAG_AFTER_DATA
    if
    :: d_step { MUST_TAG(is_claim) -> set_tag() }
    :: !MUST_TAG(is_claim)
    fi;
#endif
    d_step {
#ifdef TRAP_DONE_STORED
        swapped = true;
        assert(WORD(c) != CHUNK(source, DONE, OWNER(WORD(c))));
#else
        swapped = WORD(c) == word;
#endif
        if
        :: swapped ->
            assert(result[SUMS_HERE] == EXPECTED);
            WORD(c) = CHUNK(source, DONE, MEMBER(i, source));
            collected = collected | 1 << c
        :: else
        fi;
        word = 0;
#ifdef TRAP_LOSERS_COUNT
        swapped = true
#endif
    };
    if
    :: d_step { swapped -> swapped = false; count_finished() };
        if
        :: d_step { is_last -> is_last = false };
            MEMBERS(unpin);
#ifndef TRAP_LATEST_AT_OPEN
            MEMBERS(raise_latest)
#endif
        :: !is_last
        fi
    :: !swapped
    fi
}

inline add_snapshot(k) {
    sums = sums | TERM(OTHER(k), CONTENT(OTHER(k)));
#if HALVES == 2
    d_step {
        if
        :: TERM(OTHER(k), CONTENT(OTHER(k))) != (sums & TERM(OTHER(k), 7)) -> sums = ALL_GARBAGE
        :: else
        fi
    }
#endif
}

inline count_finished() {
#ifdef TRAP_COMPARED_WITH_CHUNKS
    finished[r]++;
    is_last = finished[r] == CHUNKS
#else
    finished[r] = (finished[r] + 1) % CHUNKS;
#ifdef TRAP_UNPINNED_AT_FIRST
    is_last = finished[r] == 1 % CHUNKS
#else
    is_last = finished[r] == 0
#endif
#endif
}

/* stands for: Record.unpin_all */
inline unpin(m) {
    GIVE_BACK(RANK(i, source, m), SLOT(con[m]))
}

#define LACKS(c) (!(collected >> (c) & 1))
#define IS_DONE(c) (WORD(c) == CHUNK(source, DONE, OWNER(WORD(c))))

/* Chunks are collected in any order, and a claim may take too long at any moment; a step other than this
   rank's own is complete. */
/* stands for: Exchange.begin_looks */
inline collect() {
    do
    :: collected == (1 << CHUNKS) - 1 -> break
    :: collect_chunk(0)
#if CHUNKS == 2
    :: collect_chunk(1)
#endif
    od
}

/* stands for: Exchange.wait_or_take_over */
inline collect_chunk(k) {
    if
    :: collect_done(k)
    :: d_step {
        LACKS(k) && !IS_DONE(k) && (MAY_TAKE_OVER || source != step) ->
        assert(source == step && MARK(WORD(k)) == CLAIMED);
        c = k;
        word = WORD(c)
    };
        sum_chunk(false);
        c = 0
    fi
}

/* A word that is DONE stays, so it is loaded together with the first half of the sums. */
/* stands for: Exchange.is_done, Exchange.next_to_collect, Exchange.begin_collecting, Sums.begin_collecting,
   Results.begin_read, Sums.end_collecting, Sums.write_average */
inline collect_done(k) {
    d_step { LACKS(k) && IS_DONE(k) -> c = k; look_at_sums() };
#if HALVES == 2
    d_step { look_at_sums() };
#endif
    d_step {
#ifdef TRAP_LAST_OWNER_ONLY
        owners = 1 << OWNER(WORD(c));
#else
        owners = owners | 1 << OWNER(WORD(c));
#endif
        collected = collected | 1 << c;
        c = 0
    }
}

#define SUMS_OF_OWNER SUMS_OF(RANK(i, source, OWNER(WORD(c))), source, c)

inline look_at_sums() {
    wrong = wrong || result[SUMS_OF_OWNER] != EXPECTED
}

#define TAG_OF(m) result_tag[RESULT_OF(RANK(i, source, m), source)]

/* stands for: Results.end_read */
inline end_read() {
#ifndef TRAP_NO_TAG_CHECK
    OTHERS(check_tag);
#endif
    d_step {
        /* What is kept is the exact sum. */
        assert(missed || !wrong);
        /* No rank leaves a record that isn't open. */
        r = RECORD(i, step);
        assert(state[r] == STATE(step, OPEN, ARRIVALS(state[r])));
        /* A rank that mixes, or has missed the sums, needs its own model. */
        check_own_model();
        MEMBERS(forget);
        r = 0; source = 0; owners = 0; collected = 0;
        wrong = false; missed = false; tagged = false; has_published = false;
        step++
    }
}

/* A rank that doesn't keep the sums was overtaken by a later step. */
inline check_tag(k) {
    d_step {
        if
        :: owners >> OTHER(k) & 1 ->
            assert(TAG_OF(OTHER(k)) >= source);
            missed = missed || TAG_OF(OTHER(k)) != source
        :: else
        fi
    }
}
