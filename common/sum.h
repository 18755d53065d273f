/* A checksum that tells what was damaged by accident: 64 bits, no defence against anybody. */
#ifndef COMMON_SUM_H
#define COMMON_SUM_H

#include <stdint.h>

#include "common/slice.h"

/* FNV-1a, stored: never changes. Not 0. */
static inline uint64_t sum_bytes(struct slice s)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
	return h ? h : 1;
}

#endif
