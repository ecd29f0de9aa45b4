/* How a rank sees that the record of its group opens. */

/* A rank that may take over need not remember that it is the one that must. */
#define MAY_TAKE_OVER (TAKES_OVER >> i & 1)

/* Move the record's state on from what was seen of it; either way what it holds now has been seen. */
/* stands for: Record.swap_state */
inline swap_state(phase, arrivals) {
    swapped = state[r] == seen;
    if
    :: swapped -> state[r] = STATE(step, phase, arrivals)
    :: else
    fi;
    seen = state[r]
}

#ifdef TRAP_ARRIVALS_WHILE_ACTIVATING
#define COUNTS_ARRIVALS(word) (PHASE(word) != OPEN)
#else
#define COUNTS_ARRIVALS(word) (PHASE(word) == GATHERING)
#endif
#define NEXT_PHASE(word) (ARRIVALS(word) + 1 == SIZE -> ACTIVATING : PHASE(word))

/* stands for: Record.arrive, Record.select */
inline arrive() {
    d_step {
        r = RECORD(i, step);
        seen = state[r];
        was_open = WORD_STEP(seen) == step && PHASE(seen) == OPEN;
        assert(WORD_STEP(seen) <= step)
    };
    do
    :: d_step { !swapped && WORD_STEP(seen) < step -> swap_state(GATHERING, 1) }
    :: d_step {
        !swapped && WORD_STEP(seen) == step && COUNTS_ARRIVALS(seen) ->
        swap_state(NEXT_PHASE(seen), ARRIVALS(seen) + 1)
    }
    :: d_step {
        swapped || WORD_STEP(seen) >= step && !COUNTS_ARRIVALS(seen) ->
        initiated = swapped && PHASE(seen) == ACTIVATING && !MAY_TAKE_OVER;
        swapped = false
    } -> break
    od
}

/* Time has no place here: patience may be over at once, and an activation may take too long at any moment.
   A look that finds nothing new changes nothing, so a pause is a wait for something new. */
/* stands for: Record.wait_until_open, Calls.begin_look */
inline wait_until_open() {
    do
    :: d_step { PHASE(seen) == OPEN -> choose_source() } -> break
    :: d_step { PHASE(seen) == GATHERING && ARRIVALS(seen) >= QUORUM -> initiate() }
#if INTERRUPTS
    :: d_step { PHASE(seen) == GATHERING && (INTERRUPTS >> i & 1) -> initiate() }
#endif
#ifndef TRAP_CALL_UNHEARD
    :: d_step { PHASE(seen) == GATHERING && IS_CALLED -> initiate() }
#endif
    :: PHASE(seen) == ACTIVATING && (initiated || MAY_TAKE_OVER) -> activate()
    :: d_step { PHASE(seen) != OPEN && state[r] != seen -> seen = state[r] }
    od
}

inline initiate() {
    swap_state(ACTIVATING, ARRIVALS(seen));
    initiated = swapped && !MAY_TAKE_OVER;
    swapped = false
}

/* stands for: Record.activate */
inline activate() {
    MEMBERS(load_contribution);
    MEMBERS(pin);
#ifdef TRAP_LOADED_AFTER_PIN
    MEMBERS(load_again);
#endif
    MEMBERS(swap_contribution);
    MEMBERS(unpin_lost);
    d_step {
        lost = 0;
        MEMBERS(forget);
        swap_state(OPEN, ARRIVALS(seen));
#ifdef TRAP_ARRIVALS_WHILE_ACTIVATING
        seen = STATE(step, OPEN, 0);
#endif
#ifndef TRAP_LATEST_AT_OPEN
        swapped = false
#endif
    };
#ifdef TRAP_LATEST_AT_OPEN
    if
    :: swapped -> MEMBERS(load_contribution); MEMBERS(raise_latest); d_step { swapped = false; MEMBERS(forget) }
    :: else
    fi
#endif
}

inline load_contribution(m) {
    con[m] = contribution[r * SIZE + m]
}

inline forget(m) {
    con[m] = 0; pins[m] = 0
}

#ifdef TRAP_LOADED_AFTER_PIN
inline load_again(m) {
    d_step {
        if
        :: WORD_STEP(con[m]) != step -> con[m] = contribution[r * SIZE + m]; again = again | 1 << m
        :: else
        fi
    }
}
#define IS_SET(m) (WORD_STEP(con[m]) == step && !(again >> m & 1))
#else
#define IS_SET(m) (WORD_STEP(con[m]) == step)
#endif

/* What contributes is set once, before the record opens, and not from before the last synchronisation. */
inline swap_contribution(m) {
    d_step {
        if
        :: IS_SET(m)
        :: else ->
            if
            :: PUBLISHED_STEP(pins[m]) <= step && contribution[r * SIZE + m] == con[m] ->
                assert(WORD_STEP(con[m]) < step && state[r] != STATE(step, OPEN, ARRIVALS(state[r])));
                assert(PUBLISHED_STEP(pins[m]) >= LAST_SYNCHRONIZATION(step));
                contribution[r * SIZE + m] =
                    CONTRIBUTION(step, step - PUBLISHED_STEP(pins[m]), SLOT(pins[m]))
            :: else -> lost = lost | 1 << m
            fi
        fi
    }
}

/* stands for: Snapshots.unpin */
inline unpin_lost(m) {
    d_step {
        if
        :: lost >> m & 1 ->
#ifdef TRAP_LOSER_KEEPS_PIN
            skip
#else
            GIVE_BACK(RANK(i, step, m), SLOT(pins[m]))
#endif
        :: else
        fi
    }
}

inline raise_latest(m) {
    d_step {
        if
        :: AGE(con[m]) != 0 && latest[RANK(i, step, m)] < step -> latest[RANK(i, step, m)] = step
        :: else
        fi
    }
}

/* The contributions of an open record stay, and so do those of a later, complete one: loading them in one
   go, and with `latest`, loses nothing. */
/* stands for: Protocol.choose_source, Record.load_contributions, Record.own_age */
inline choose_source() {
    source = step;
    MEMBERS(load_opened);
#ifdef TRAP_LATEST_FOR_ALL
    was_open = true;
#endif
    if
    :: was_open && AGE(con[MEMBER(i, source)]) != 0 && latest[i] > step ->
        source = latest[i];
        r = RECORD(i, source);
        MEMBERS(load_opened)
    :: else
    fi;
    was_open = false; initiated = false; seen = 0
}

inline load_opened(m) {
    con[m] = contribution[r * SIZE + m];
    assert(WORD_STEP(con[m]) == source)
}
