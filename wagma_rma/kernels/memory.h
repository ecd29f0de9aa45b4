/* Sizes that memory is divided into, bytes. */
#ifndef WAGMA_MEMORY_H
#define WAGMA_MEMORY_H

enum { WAGMA_LINE = 64 };   /* of a cache */
enum { WAGMA_PAGE = 4096 }; /* that the operating system maps */

#endif
