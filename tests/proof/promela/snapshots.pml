/* The models that a rank publishes, and the pins that keep them. */

#ifdef TRAP_RETIRED_UNCHECKED
#define FREE(i, k) ((k) != SLOT(published[i]))
#else
#define FREE(i, k) ((k) != SLOT(published[i]) && retired[SLOT_OF(i, k)] == 0)
#endif
#if SLOTS == 2
#define ANY_FREE(i) (FREE(i, 0) || FREE(i, 1))
#elif SLOTS == 3
#define ANY_FREE(i) (FREE(i, 0) || FREE(i, 1) || FREE(i, 2))
#else
#define ANY_FREE(i) (FREE(i, 0) || FREE(i, 1) || FREE(i, 2) || FREE(i, 3))
#endif

/* What must hold before a slot is written: no record that lacks chunks has its old content. */
inline check_nobody_may_read() {
    u = 1;
    do
    :: u > STEPS -> break
    :: else ->
        if
        :: !SYNCHRONIZES(u) && SIZE_AT(i, u) > 1 ->
            got = contribution[RECORD(i, u) * SIZE + MEMBER(i, u)];
            if
            :: WORD_STEP(got) == u && SLOT(got) == slot ->
                c = 0;
                do
                :: c == CHUNKS -> break
                :: else ->
                    got = chunk[RECORD(i, u) * CHUNKS + c];
                    assert(WORD_STEP(got) > u || WORD_STEP(got) == u && MARK(got) == DONE);
                    c++
                od
            :: else
            fi
        :: else
        fi;
        u++
    od;
    u = 0; c = 0; got = 0
}

/* A slot that is free stays so until its owner takes it: to look for it and to begin to write it in one go
   loses nothing but which of several free slots it is. */
/* stands for: Snapshots.free_slot */
inline begin_to_write() {
    slot = 0;
    do
    :: FREE(i, slot) -> break
    :: else -> slot++
    od;
    check_nobody_may_read();
    snapshot[SLOT_OF(i, slot)] = GARBAGE
}

/* stands for: Snapshots.write, Snapshots.gather */
inline end_writing() {
    snapshot[SLOT_OF(i, slot)] = step
}

/* The pins field counts from the last publishing on, where the code's is never reset and the owner
   remembers what it has settled: only the difference has a meaning. */
/* stands for: Snapshots.name_newest */
inline name_newest() {
    d_step {
        taken = PINS(published[i]);
        old = SLOT(published[i]);
#ifdef TRAP_WHOLE_COUNT
        published[i] = taken << 5 | PUBLISHED(step, slot);
#else
        published[i] = PUBLISHED(step, slot);
#endif
#ifdef TRAP_PINS_NOT_SETTLED
        taken = 0;
#endif
        if
        :: taken == 0 -> old = 0
        :: else
        fi;
        slot = 0;
        has_published = true
    };
    if
    :: d_step {
        taken != 0 ->
        retired[SLOT_OF(i, old)] = retired[SLOT_OF(i, old)] + taken;
        taken = 0; old = 0
    }
    :: taken == 0
    fi
}

#define IS_CALLED (called[HOST(i)] >= step)
#define AT_A_GROUP_STEP (step <= STEPS && !SYNCHRONIZES(step) && !IS_CALLED)

/* stands for: Snapshots.publish */
inline publish() {
    if
    :: d_step { AT_A_GROUP_STEP && ANY_FREE(i) -> begin_to_write() };
        end_writing();
        name_newest()
#ifdef MAY_SKIP
    :: AT_A_GROUP_STEP
#else
    :: AT_A_GROUP_STEP && !ANY_FREE(i)
#endif
#ifdef PUNCTUAL
        -> assert(false)
#endif
    fi
}

/* What a rank keeps of its own model until its next step: in its snapshot, or else in private memory. */
/* stands for: Snapshots.restore */
inline check_own_model() {
#ifdef TRAP_RESTORED_FROM_SNAPSHOT
    assert(snapshot[SLOT_OF(i, SLOT(published[i]))] == step)
#else
    assert(!has_published || snapshot[SLOT_OF(i, SLOT(published[i]))] == step)
#endif
}

/* Pin the newest snapshot of member m, whose contribution isn't set. */
/* stands for: Snapshots.pin */
inline pin(m) {
    d_step {
        if
        :: WORD_STEP(con[m]) != step ->
            pins[m] = published[RANK(i, step, m)];
#ifndef TRAP_NO_PIN
            assert(PINS(pins[m]) < 7);
            published[RANK(i, step, m)] = published[RANK(i, step, m)] + ONE_PIN
#endif
        :: else
        fi
    }
}

#ifdef TRAP_NO_PIN
#define GIVE_BACK(r, slot) skip
#else
#define GIVE_BACK(r, slot) retired[SLOT_OF(r, slot)] = retired[SLOT_OF(r, slot)] - 1
#endif

/* All pins are back: at a synchronisation, and when all ranks have ended. */
/* stands for: Snapshots.pins, Protocol.unfinished */
inline check_pins(owner) {
#ifndef TRAP_WHOLE_COUNT
    assert((PINS(published[owner]) + retired[SLOT_OF(owner, SLOT(published[owner]))]) % 256 == 0);
#endif
    u = 0;
    do
    :: u == SLOTS -> break
    :: else ->
        assert(u == SLOT(published[owner]) || retired[SLOT_OF(owner, u)] == 0);
        u++
    od;
    u = 0;
    do
    :: u == RECORDS -> break
    :: else ->
        assert(finished[owner * RECORDS + u] % CHUNKS == 0);
        u++
    od;
    u = 0
}
