/*
 * Parameters, groups, words and memory of the model.
 *
 * Parameters (-D), and what they are when not given:
 *
 *   RANKS      ranks that the window has
 *   PRESENT    mask of the ranks that run; the others stay at step 0 for good, and publish nothing
 *   GROUPS     ALL: all ranks; PAIRS: butterfly of 4 ranks; ROTATING: of 3 ranks two, and one alone
 *   STEPS      steps that each rank does
 *   TAU        a multiple of it is a synchronisation
 *   CHUNKS     chunks of a model, 1 or 2
 *   SLOTS      snapshots of a rank
 *   RESULTS    results of a rank; 1 lets them be recycled at the next step
 *   RECORDS    records of a rank
 *   QUORUM     arrivals that it takes; patience may be over at any time
 *   HALVES     2: a reader looks twice at what it reads, so that a write may come in between
 *   STOPS      mask of the ranks that may stop for good between any two atomics
 *   TAKES_OVER mask of the ranks that may take what another one has begun for abandoned, at any moment;
 *              the others wait for it
 *   MAY_SKIP   a rank may skip publishing at any time, as if another rank held pins on all its snapshots
 *   INTERRUPTS mask of the ranks whose wait for the quorum may be interrupted
 *   HOSTS      1, or 2: rank 0 alone on host 0, the others on host 1
 *   WHOLE      at a synchronisation each rank sums the whole model for itself, as one host does for a small one
 *   SYNC_QUORUM arrivals at a synchronisation that call the others there; 0: nobody is called
 *   REFUSES    mask of the ranks that refuse the first barrier of each synchronisation; they go on all the same
 *   REPEATS    a rank may mark its host's place again, as after an exception
 *   PUNCTUAL   no rank may have to skip publishing
 *   TRAP_...   something done wrong; see README.md
 */

#define ALL 1
#define PAIRS 2
#define ROTATING 3

#ifndef RANKS
#define RANKS 2
#endif
#ifndef PRESENT
#define PRESENT ((1 << RANKS) - 1)
#endif
#ifndef GROUPS
#define GROUPS ALL
#endif
#ifndef STEPS
#define STEPS 2
#endif
#ifndef TAU
#define TAU 7
#endif
#ifndef CHUNKS
#define CHUNKS 1
#endif
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef RESULTS
#define RESULTS 3
#endif
#ifndef RECORDS
#if TAU > STEPS
#define RECORDS (STEPS + 1)
#else
#define RECORDS TAU
#endif
#endif
#ifndef QUORUM
#define QUORUM 1
#endif
#ifndef HALVES
#define HALVES 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef TAKES_OVER
#define TAKES_OVER 15
#endif
#ifndef INTERRUPTS
#define INTERRUPTS 0
#endif
#ifndef HOSTS
#define HOSTS 1
#endif
#ifndef REFUSES
#define REFUSES 0
#endif
#ifndef SYNC_QUORUM
#define SYNC_QUORUM 0
#endif

/* Group of rank i at step v: how many, which member i is, which rank member m is. */

#if GROUPS == ALL
#define SIZE RANKS
#define SIZE_AT(i, v) RANKS
#define MEMBER(i, v) (i)
#define RANK(i, v, m) (m)
#elif GROUPS == PAIRS
#define SIZE 2
#define SIZE_AT(i, v) 2
#define MEMBER(i, v) ((v) & 1 -> (i) & 1 : (i) >> 1)
#define RANK(i, v, m) ((v) & 1 -> ((i) & 2 | (m)) : ((i) & 1 | (m) << 1))
#else
#define SIZE 2
#define ALONE(v) (2 - ((v) + 2) % 3)
#define SIZE_AT(i, v) (ALONE(v) == (i) -> 1 : 2)
#define RANK(i, v, m) ((m) == 0 -> (ALONE(v) == 0 -> 1 : 0) : (ALONE(v) == 2 -> 1 : 2))
#define MEMBER(i, v) (RANK(i, v, 1) == (i) -> 1 : 0)
#endif

#define RUNS(i) (PRESENT >> (i) & 1)
#define SYNCHRONIZES(v) ((v) % TAU == 0)
#define LAST_SYNCHRONIZATION(v) (((v) - 1) / TAU * TAU)
#define NEXT_SYNCHRONIZATION(v) (((v) + TAU - 1) / TAU * TAU)

#if HOSTS == 1
#define HOST(i) 0
#else
#define HOST(i) ((i) > 0)
#endif

/* A statement for each member, or for each but this rank, one after the other. */

#if SIZE == 2
#define MEMBERS(do_for) do_for(0); do_for(1)
#define OTHERS(do_for) do_for(1)
#elif SIZE == 3
#define MEMBERS(do_for) do_for(0); do_for(1); do_for(2)
#define OTHERS(do_for) do_for(1); do_for(2)
#else
#define MEMBERS(do_for) do_for(0); do_for(1); do_for(2); do_for(3)
#define OTHERS(do_for) do_for(1); do_for(2); do_for(3)
#endif
#define OTHER(k) ((MEMBER(i, source) + (k)) % SIZE)

/* Words: fields as in wagma_rma/protocol/words.pxd, with fewer bits. Steps are 0 to 6. */

#define GATHERING 1
#define ACTIVATING 2
#define OPEN 3
#define CLAIMED 1
#define DONE 2

#define PUBLISHED(step, slot) ((step) << 2 | (slot))
#define ONE_PIN 32
#define PINS(word) ((word) >> 5)
#define PUBLISHED_STEP(word) ((word) >> 2 & 7)
#define SLOT(word) ((word) & 3)

#define WORD_STEP(word) ((word) >> 5)
#define STATE(step, phase, arrivals) ((step) << 5 | (phase) << 3 | (arrivals))
#define PHASE(word) ((word) >> 3 & 3)
#define ARRIVALS(word) ((word) & 7)
#define CONTRIBUTION(step, age, slot) ((step) << 5 | (age) << 2 | (slot))
#define AGE(word) ((word) >> 2 & 7)
#define CHUNK(step, mark, member) ((step) << 5 | (mark) << 3 | (member))
#define MARK(word) ((word) >> 3 & 3)
#define OWNER(word) ((word) & 7)
#define CONTRIBUTED(number, slot) ((number) << 2 | (slot))
#define SAID(number, step, refused) ((number) << 4 | (step) << 1 | (refused))
#define NODE(number, marks, refused) ((number) << 3 | (marks) << 1 | (refused))
#define NODE_NUMBER(word) ((word) >> 3)
#define MARKS(word) ((word) >> 1 & 3)
#define REFUSED(word) ((word) & 1)
#define REFUSING(number, code) ((number) << 3 | (code))
#define ALL_MARKS 3
#define COUNTED(number, count) ((number) << 3 | (count))
#define NUMBER(word) ((word) >> 2)
#define PROGRESS(number, stage) ((number) << 3 | (stage))

/* Bulk memory. The model of rank i at step v is the number v; a sum is the numbers of its members side by
   side. While something is being written it is garbage, which no step has as its number. */

#define GARBAGE 7
#define OWN 6  /* what a rank contributes to a synchronisation */
#define TERM(m, value) ((value) << 3 * (m))
#if SIZE == 2
#define ALL_GARBAGE 63
#elif SIZE == 3
#define ALL_GARBAGE 511
#else
#define ALL_GARBAGE 4095
#endif

byte published[RANKS];
byte retired[RANKS * SLOTS];           /* modulo 256 */
byte snapshot[RANKS * SLOTS];
byte result_tag[RANKS * RESULTS];
short result[RANKS * RESULTS * CHUNKS];
byte latest[RANKS];
byte entered[RANKS];                   /* 2 * step when arrived at a synchronisation, one more when published */
byte contributed[RANKS];
byte heard[RANKS];                     /* of its only peer */
bool host_sums[RANKS];                 /* whether a rank's column holds the sums of its host */
bool totals[RANKS];                    /* whether it holds totals */

byte reached[HOSTS];                   /* arrivals at all barriers so far */
byte said[HOSTS];
byte node;                             /* of the root; with one host it has no places */
byte counted[HOSTS];
byte told;                             /* ranks that have told what an arrival at a first barrier asks for, in all */
byte gathered[HOSTS];                  /* the last barrier that is over */
bool is_refused[HOSTS];                /* part of `gathered` */
byte refusing[HOSTS];
byte refused[HOSTS];
byte called[HOSTS];
byte summed[HOSTS];                    /* columns, of all synchronisations so far */

byte state[RANKS * RECORDS];
byte contribution[RANKS * RECORDS * SIZE];
byte chunk[RANKS * RECORDS * CHUNKS];
byte finished[RANKS * RECORDS];        /* modulo CHUNKS, which is all that is asked of it */

bool has_stopped[RANKS];
byte ended;                            /* ranks that have done all their steps */

#define HOME(i, v) RANK(i, v, (v) % SIZE_AT(i, v))
#define RECORD(i, v) (HOME(i, v) * RECORDS + (v) % RECORDS)
#define SLOT_OF(i, k) ((i) * SLOTS + (k))
#define RESULT_OF(i, v) ((i) * RESULTS + (v) % RESULTS)
#define SUMS_OF(i, v, c) (RESULT_OF(i, v) * CHUNKS + (c))
