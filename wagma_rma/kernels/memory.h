/* Sizes that memory is divided into, bytes, and memory that drivers of devices may keep. */
#ifndef WAGMA_MEMORY_H
#define WAGMA_MEMORY_H

#include <stddef.h>
#include <sys/mman.h>

enum { WAGMA_LINE = 64 };   /* of a cache */
enum { WAGMA_PAGE = 4096 }; /* that the operating system maps */

/* Return memory in pages of its own, or NULL. A fork of this process does not get it: a driver keeps the pages that are
 * registered with it, and after a fork this process would write to others. */
static inline char *wagma_map(size_t nbytes) {
    void *found;
    if (!nbytes) return NULL;
    found = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED) return NULL;
    madvise(found, nbytes, MADV_DONTFORK);
    return (char *)found;
}

static inline void wagma_unmap(char *memory, size_t nbytes) {
    if (memory) munmap(memory, nbytes);
}

#endif
