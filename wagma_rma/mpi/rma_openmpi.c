#define WAGMA_ABI_OPENMPI 1
#include "rma.c"
