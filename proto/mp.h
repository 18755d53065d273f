/*
 * Reading MessagePack in place, without allocation: a cursor over bytes that the scanner (scan.h) has already proved to be whole,
 * well formed and within limits. Used on frames, on the stored batch and on replies, so that a million ops are never unpacked at
 * once. https://github.com/msgpack/msgpack/blob/master/spec.md
 */
#ifndef PROTO_MP_H
#define PROTO_MP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/slice.h"

enum mp_type { MP_NIL, MP_BOOL, MP_INT, MP_UINT64, MP_FLOAT, MP_STR, MP_BIN, MP_ARRAY, MP_MAP, MP_EXT, MP_BAD };

/* One value's head. MP_UINT64 is only for what exceeds INT64_MAX; everything smaller is MP_INT. */
struct mp_value {
	enum mp_type type;
	union {
		bool b;
		int64_t i;
		uint64_t u;
		double f;
		uint32_t count;	    /* MP_ARRAY: elements, MP_MAP: pairs; they follow at the cursor */
		struct slice bytes; /* MP_STR, MP_BIN, MP_EXT */
	};
};

struct mp {
	const char *p, *end;
};

static inline struct mp mp_of(struct slice s)
{
	return (struct mp){ s.p, s.p + s.len };
}

/* Bytes of the head at p (type byte and length), 0 when more bytes are needed, -1 for 0xc1. Fills ret but for `bytes.p`. */
int mp_head(const char *p, const char *end, struct mp_value *ret);
/* Reads one head; for str, bin and ext its bytes too; for array and map the cursor then stands at the first element. At the end
 * of the bytes, or on what cannot be: MP_BAD, the cursor stays. */
struct mp_value mp_next(struct mp *m);
/* The type of the next value without moving. */
enum mp_type mp_peek(const struct mp *m);
/* Steps over one whole value; its bytes. */
struct slice mp_skip(struct mp *m);
/* Looks `key` up in the map whose bytes are `map` (an empty array counts as an empty map); absent or nil gives SLICE_NONE. */
struct slice mp_find(struct slice map, const char *key);
/* What a value is called in an error text: "str", "map", ... */
const char *mp_type_name(enum mp_type type);

/* Convenience over mp_find for replies we made ourselves: the default where absent or of another type. */
int64_t mp_get_int(struct slice map, const char *key, int64_t dflt);
bool mp_get_bool(struct slice map, const char *key);
struct slice mp_get_str(struct slice map, const char *key); /* str or bin */

#endif
