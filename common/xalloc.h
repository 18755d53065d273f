/*
 * Allocation that does not fail: on lack of memory the program says so and ends with status 1 (not
 * by abort: a core file would hold the environments of ops). For small, bounded things only; what
 * is sized by a client's input is allocated with malloc and its failure answered (E_MEMORY). Losing
 * batchd this way loses no work: ops belong to the spawner, accepted batches to the database.
 */
#ifndef COMMON_XALLOC_H
#define COMMON_XALLOC_H

#include <stddef.h>

#include "common/slice.h"

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
/* The slice as a C string of its own; NULL for the absent slice. */
char *xslicedup(struct slice s);
char *xasprintf(const char *fmt, ...)
	__attribute__((malloc, returns_nonnull, format(printf, 1, 2)));

#endif
