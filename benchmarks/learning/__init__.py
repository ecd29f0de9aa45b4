"""Does it learn sooner? wagma_rma beside other methods, on real ranks and in virtual time.

    mpiexec -n 8 python -m benchmarks.learning --method wagma-elastic --slow "two late"
    python -m benchmarks.learning.virtual --ranks 64 --method wagma-elastic allreduce --slow "two late"

tasks        data and networks                    methods/   each method over real ranks
learner      gradients, updates, rates            real       one run on real ranks
curves       what a run has reached, and when     virtual/   the same methods in virtual time, in one process
tables       tables of runs                       scale      times alone, of any number of ranks
plot         pictures of runs                     experiments   tables and their commands
options      the command line of both kinds of runs   agreement   real runs, repeated in virtual time
"""
