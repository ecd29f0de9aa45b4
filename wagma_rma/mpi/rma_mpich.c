#define WAGMA_ABI_MPICH 1
#include "rma.c"
