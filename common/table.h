/*
 * Hash tables: uthash with a hash function of our own. Its default is a switch whose cases fall
 * through without saying so, which clang's -Wimplicit-fallthrough refuses. Include this instead of
 * <uthash.h>.
 */
#ifndef COMMON_TABLE_H
#define COMMON_TABLE_H

#include <stddef.h>

#include "common/xalloc.h"

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ */
static inline unsigned table_hash(const void *key, size_t len)
{
	const unsigned char *p = key;
	unsigned h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 16777619u;
	return h;
}

#define HASH_FUNCTION(key, len, value) ((value) = table_hash((key), (len)))

/* Its own answer to lack of memory is exit(-1) without a word. */
#define uthash_malloc(size) xmalloc(size)
#include <uthash.h>

#endif
