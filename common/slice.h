/*
 * A borrowed run of bytes: not owned, not NUL-terminated, may hold any byte. `p == NULL` means
 * absent; an empty but present slice has p != NULL and len == 0.
 */
#ifndef COMMON_SLICE_H
#define COMMON_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
	const char *p;
	size_t len;
};

#define SLICE_NONE ((struct slice){ NULL, 0 })
/* For printf("%.*s"). */
#define SLICE_FMT(s) (int)(s).len, (s).p ? (s).p : ""

static inline struct slice slice_of(const void *p, size_t len)
{
	return (struct slice){ (const char *)p, len };
}

/* A slice over a C string; NULL gives the absent slice. */
static inline struct slice slice_str(const char *s)
{
	return (struct slice){ s, s ? strlen(s) : 0 };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *s)
{
	return slice_eq(a, slice_str(s));
}

#endif
