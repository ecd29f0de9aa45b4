/*
 * The protocol of wagma_rma under sequential consistency: one statement per atomic on a word.
 *
 * "stands for" names what part of the code a piece is the model of. How to run it, what it leaves out and
 * what came of it stand in README.md.
 */

#include "words.pml"
#include "snapshots.pml"
#include "opening.pml"
#include "sharing.pml"
#include "synchronization.pml"

/* stands for: Protocol.group_step, Protocol.step, Protocol.miss */
inline group_step() {
    publish();
    if
    :: d_step { SIZE_AT(i, step) == 1 -> check_own_model(); has_published = false; step++ }
    :: SIZE_AT(i, step) > 1 ->
        arrive();
        wait_until_open();
        if
#ifdef TRAP_LATEST_AT_OPEN
        :: true -> share()
#else
        :: source == step -> share()
#endif
        :: else
        fi;
        collect();
        end_read()
    fi
}

inline end_run() {
    step = 0;
    ended++;
    if
    :: ended == RUNS(0) + RUNS(1) + RUNS(2) + RUNS(3) ->
        c = 0;
        do
        :: c == RANKS -> break
        :: else -> check_pins(c); c++
        od
    :: else
    fi;
    c = 0
}

/* Locals hold 0 when they have no meaning, so that states don't differ by what is over. */
proctype rank(byte i) {
    byte step = 1, source, slot, taken, old, r, seen, word, owners, collected, lost, c, u, got;
    byte count, known, code;
    bool was_open, initiated, swapped, is_last, tagged, wrong, missed, has_published;
    byte con[SIZE], pins[SIZE];
    short sums;
#ifdef TRAP_LOADED_AFTER_PIN
    byte again;
#endif
#if STOPS
    {
#endif
    do
    :: d_step { step > STEPS -> end_run() } -> break
    :: step <= STEPS && SYNCHRONIZES(step) -> synchronize()
    :: d_step { step <= STEPS && !SYNCHRONIZES(step) && IS_CALLED -> jump() }
    :: group_step()
    od
#if STOPS
    } unless {
        d_step {
            has_stopped[i] ->
            step = 0; source = 0; slot = 0; taken = 0; old = 0; r = 0; seen = 0; word = 0; owners = 0;
            collected = 0; lost = 0; c = 0; was_open = false; initiated = false; swapped = false; is_last = false;
            count = 0; known = 0; code = 0; tagged = false; wrong = false; missed = false; has_published = false; sums = 0;
            MEMBERS(forget)
        }
    }
#endif
}

#if STOPS
active proctype stopper() {
end:
    do
    :: (STOPS & 1) && !has_stopped[0] -> has_stopped[0] = true
    :: (STOPS & 2) && !has_stopped[1] -> has_stopped[1] = true
#if RANKS > 2
    :: (STOPS & 4) && !has_stopped[2] -> has_stopped[2] = true
#endif
#if RANKS > 3
    :: (STOPS & 8) && !has_stopped[3] -> has_stopped[3] = true
#endif
    od
}
#endif

init {
    atomic {
        byte k;
        do
        :: k == RANKS -> break
        :: else ->
            if
            :: RUNS(k) -> run rank(k)
            :: else
            fi;
            k++
        od;
        k = 0
    }
}
