/* A synchronising step. The sums are the MPI library's: every rank has the same ones. */

#define ALL_ENTERED(word) (entered[0] >= (word) && entered[1] >= (word) && ENTERED_2(word) && ENTERED_3(word))
#if RANKS > 2
#define ENTERED_2(word) entered[2] >= (word)
#else
#define ENTERED_2(word) true
#endif
#if RANKS > 3
#define ENTERED_3(word) entered[3] >= (word)
#else
#define ENTERED_3(word) true
#endif

/* The words only grow, so to have seen one rank after the other come is to have seen all. */
/* stands for: Synchronizer._phases, Announcements.raise_own, Announcements.loaded */
inline synchronize() {
    entered[i] = 2 * step;
    d_step { ALL_ENTERED(2 * step) -> contribute() };
    publish_mean();
    entered[i] = 2 * step + 1;
    d_step {
#ifndef TRAP_NO_BARRIER
        ALL_ENTERED(2 * step + 1) ->
#endif
        check_own_model();
        has_published = false;
        step++
    }
}

/* The accumulators lie in results 0 and 1; all pins are back by now. */
/* stands for: Snapshots.contribute, Snapshots.sums */
inline contribute() {
    check_pins(i);
    c = 0;
    do
    :: c == CHUNKS -> break
    :: else ->
        result[i * RESULTS * CHUNKS + c] = ALL_GARBAGE;
        result[(i * RESULTS + 1 % RESULTS) * CHUNKS + c] = ALL_GARBAGE;
        c++
    od;
    c = 0
}

/* stands for: Snapshots.publish_mean */
inline publish_mean() {
    d_step { assert(ANY_FREE(i)); begin_to_write() };
    end_writing();
    name_newest()
}
