/*
 * Reading MessagePack in place, without allocation: a cursor over bytes that the scanner (scan.h)
 * has already proved to be whole, well formed and within limits. Used on frames, on the stored
 * batch and on replies, so that a million ops are never unpacked at once.
 * https://github.com/msgpack/msgpack/blob/master/spec.md
 */
#ifndef PROTO_MP_H
#define PROTO_MP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/slice.h"

enum mp_type {
	MP_NIL,
	MP_BOOL,
	MP_INT,
	MP_UINT64,
	MP_FLOAT,
	MP_STR,
	MP_BIN,
	MP_ARRAY,
	MP_MAP,
	MP_EXT,
	MP_BAD
};

/* One value's head. MP_UINT64 is only for what exceeds INT64_MAX; everything smaller is MP_INT. */
struct mp_value {
	enum mp_type type;
	union {
		bool b;
		int64_t i;
		uint64_t u;
		double f;
		uint32_t count; /* MP_ARRAY: elements, MP_MAP: pairs; they follow at the cursor */
		struct slice bytes; /* MP_STR, MP_BIN, MP_EXT */
	};
};

struct mp {
	const char *p, *end;
};

static inline struct mp mp_of(struct slice s)
{
	const char *p = s.p ? s.p : "";
	return (struct mp){ p, p + s.len };
}

/*
 * What a first byte says: the bytes of its head, and either a body of fixed length or a length (or
 * count) that the head holds. One table for the scanner and for us, so that what it proved is what
 * we read.
 */
struct mp_shape {
	uint8_t type; /* enum mp_type */
	uint8_t head; /* bytes: type byte, length, and the type of an ext */
	uint8_t body; /* bytes after the head; 0: mp_shape_len() says */
};
extern const struct mp_shape mp_shapes[256];

/* The length or count in the whole head at p; of no meaning for scalars. */
static inline uint64_t mp_shape_len(const struct mp_shape *shape, const char *p)
{
	const unsigned char *u = (const unsigned char *)p;
	unsigned ext = shape->type == MP_EXT;
	if (ext && shape->body)
		return shape->body;
	switch (shape->head - ext) {
	case 1:
		return u[0] & (shape->type == MP_STR ? 0x1f : 0x0f);
	case 2:
		return u[1];
	case 3:
		return (uint64_t)u[1] << 8 | u[2];
	default:
		return (uint64_t)u[1] << 24 | (uint64_t)u[2] << 16 | (uint64_t)u[3] << 8 | u[4];
	}
}

/* Bytes of the head at p (type byte and length), 0 when more bytes are needed, -1 for 0xc1. Fills
 * ret but for `bytes.p`. */
int mp_head(const char *p, const char *end, struct mp_value *ret);
/* Reads one head; for str, bin and ext its bytes too; for array and map the cursor then stands at
 * the first element. At the end of the bytes, or on what cannot be: MP_BAD, the cursor stays. */
struct mp_value mp_next(struct mp *m);
/* The type of the next value without moving. */
enum mp_type mp_peek(const struct mp *m);
/* Steps over one whole value; its bytes. On what cannot be: SLICE_NONE, and the cursor at the end.
 */
struct slice mp_skip(struct mp *m);
/* The same for the last value there is, without looking for its end. */
static inline struct slice mp_rest(struct mp *m)
{
	struct slice rest = slice_of(m->p, (size_t)(m->end - m->p));
	m->p = m->end;
	return rest.len ? rest : SLICE_NONE;
}
/* How many containers stand within each other in a value of ours; at most LIMIT_DEPTH_IN are
 * counted.
 */
unsigned mp_depth(struct slice value);
/* Looks `key` up in the map whose bytes are `map` (an empty array counts as an empty map); absent
 * or nil gives SLICE_NONE. */
struct slice mp_find(struct slice map, const char *key);
struct slice mp_find_slice(struct slice map, struct slice key);
/* What a value is called in an error text: "str", "map", ... */
const char *mp_type_name(enum mp_type type);

/* Convenience over mp_find for replies we made ourselves: the default where absent or of another
 * type. */
int64_t mp_get_int(struct slice map, const char *key, int64_t dflt);
bool mp_get_bool(struct slice map, const char *key);
struct slice mp_get_str(struct slice map, const char *key); /* str or bin */

#endif
