#include "proto/mp.h"

#include "common/cleanup.h"
#include "proto/limits.h"

/* clang-format off */
const struct mp_shape mp_shapes[256] = {
	[0x00 ... 0x7f] = { MP_INT, 1, 0 },
	[0x80 ... 0x8f] = { MP_MAP, 1, 0 },
	[0x90 ... 0x9f] = { MP_ARRAY, 1, 0 },
	[0xa0 ... 0xbf] = { MP_STR, 1, 0 },
	[0xc0] = { MP_NIL, 1, 0 },
	[0xc1] = { MP_BAD, 1, 0 },
	[0xc2 ... 0xc3] = { MP_BOOL, 1, 0 },
	[0xc4] = { MP_BIN, 2, 0 }, [0xc5] = { MP_BIN, 3, 0 }, [0xc6] = { MP_BIN, 5, 0 },
	[0xc7] = { MP_EXT, 3, 0 }, [0xc8] = { MP_EXT, 4, 0 }, [0xc9] = { MP_EXT, 6, 0 },
	[0xca] = { MP_FLOAT, 1, 4 }, [0xcb] = { MP_FLOAT, 1, 8 },
	[0xcc] = { MP_INT, 1, 1 }, [0xcd] = { MP_INT, 1, 2 }, [0xce] = { MP_INT, 1, 4 }, [0xcf] = { MP_INT, 1, 8 },
	[0xd0] = { MP_INT, 1, 1 }, [0xd1] = { MP_INT, 1, 2 }, [0xd2] = { MP_INT, 1, 4 }, [0xd3] = { MP_INT, 1, 8 },
	[0xd4] = { MP_EXT, 2, 1 }, [0xd5] = { MP_EXT, 2, 2 }, [0xd6] = { MP_EXT, 2, 4 }, [0xd7] = { MP_EXT, 2, 8 },
	[0xd8] = { MP_EXT, 2, 16 },
	[0xd9] = { MP_STR, 2, 0 }, [0xda] = { MP_STR, 3, 0 }, [0xdb] = { MP_STR, 5, 0 },
	[0xdc] = { MP_ARRAY, 3, 0 }, [0xdd] = { MP_ARRAY, 5, 0 },
	[0xde] = { MP_MAP, 3, 0 }, [0xdf] = { MP_MAP, 5, 0 },
	[0xe0 ... 0xff] = { MP_INT, 1, 0 },
};
/* clang-format on */

static uint64_t mp_be(const char *p, unsigned n)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < n; i++)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

/* The integer whose first byte is c and whose `n` further bytes stand at p. */
static void mp_integer(unsigned char c, const char *p, unsigned n, struct mp_value *ret)
{
	uint64_t u = n ? mp_be(p, n) : c;
	ret->type = MP_INT;
	if (n == 0)
		ret->i = (int8_t)c;
	else if (c >= 0xd0)
		ret->i = (int64_t)(u << (64 - 8 * n)) >> (64 - 8 * n);
	else if (u <= INT64_MAX)
		ret->i = (int64_t)u;
	else
		*ret = (struct mp_value){ .type = MP_UINT64, .u = u };
}

static void mp_float(const char *p, unsigned n, struct mp_value *ret)
{
	uint64_t u = mp_be(p, n);
	uint32_t u4 = (uint32_t)u;
	float f;
	ret->type = MP_FLOAT;
	if (n == 8) {
		memcpy(&ret->f, &u, sizeof(u));
	} else {
		memcpy(&f, &u4, sizeof(f));
		ret->f = (double)f;
	}
}

int mp_head(const char *p, const char *end, struct mp_value *ret)
{
	if (p >= end)
		return 0;
	unsigned char c = (unsigned char)*p;
	const struct mp_shape *shape = &mp_shapes[c];
	unsigned scalar = shape->type == MP_INT || shape->type == MP_FLOAT ? shape->body : 0;
	if (shape->type == MP_BAD)
		return -1;
	if ((size_t)(end - p) < shape->head + scalar)
		return 0;
	ret->type = shape->type;
	switch (ret->type) {
	case MP_NIL:
	case MP_UINT64:
	case MP_BAD:
		break;
	case MP_BOOL:
		ret->b = c & 1;
		break;
	case MP_INT:
		mp_integer(c, p + 1, scalar, ret);
		break;
	case MP_FLOAT:
		mp_float(p + 1, scalar, ret);
		break;
	case MP_STR:
	case MP_BIN:
	case MP_EXT:
		ret->bytes = slice_of(NULL, mp_shape_len(shape, p));
		break;
	case MP_ARRAY:
	case MP_MAP:
		ret->count = (uint32_t)mp_shape_len(shape, p);
		break;
	}
	return (int)(shape->head + scalar);
}

/* A str, bin or ext of which p holds all, and how long it is with its head; 0 where it does not. */
static inline size_t mp_bytes(const struct mp_shape *shape, const char *p, size_t room,
			      struct mp_value *ret)
{
	if (room < shape->head)
		return 0;
	uint64_t len = mp_shape_len(shape, p);
	if (room - shape->head < len)
		return 0;
	ret->type = shape->type;
	ret->bytes = slice_of(p + shape->head, len);
	return shape->head + len;
}

struct mp_value mp_next(struct mp *m)
{
	struct mp_value v = { .type = MP_BAD };
	if (m->p >= m->end)
		return v;
	const struct mp_shape *shape = &mp_shapes[(unsigned char)*m->p];
	if (shape->type == MP_STR || shape->type == MP_BIN || shape->type == MP_EXT) {
		m->p += mp_bytes(shape, m->p, (size_t)(m->end - m->p), &v);
		return v;
	}
	int n = mp_head(m->p, m->end, &v);
	if (n <= 0)
		return (struct mp_value){ .type = MP_BAD };
	m->p += n;
	return v;
}

enum mp_type mp_peek(const struct mp *m)
{
	struct mp at = *m;
	return mp_next(&at).type;
}

struct slice mp_skip(struct mp *m)
{
	const char *start = m->p, *p = m->p, *end = m->end;
	for (uint64_t left = 1; left > 0; left--) {
		const struct mp_shape *shape = &mp_shapes[p < end ? (unsigned char)*p : 0xc1];
		size_t room = (size_t)(end - p), body = shape->body;
		if (shape->type == MP_BAD || room < shape->head)
			goto bad;
		if (shape->type >= MP_STR) {
			uint64_t len = mp_shape_len(shape, p);
			if (shape->type == MP_ARRAY || shape->type == MP_MAP)
				left += shape->type == MP_MAP ? 2 * len : len;
			else
				body = len;
		}
		if (room - shape->head < body)
			goto bad;
		p += shape->head + body;
	}
	m->p = p;
	return slice_of(start, (size_t)(p - start));
bad:
	m->p = end;
	return SLICE_NONE;
}

_Static_assert(MP_STR == MP_FLOAT + 1 && MP_BIN > MP_STR && MP_ARRAY > MP_STR && MP_MAP > MP_STR &&
		       MP_EXT > MP_STR,
	       "those with a length come last");

unsigned mp_depth(struct slice value)
{
	uint64_t left[LIMIT_DEPTH_IN] = { 1 };
	unsigned depth = 0, deepest = 0;
	struct mp m = mp_of(value);
	for (;;) {
		while (left[depth] == 0) {
			if (depth-- == 0)
				return deepest;
		}
		left[depth]--;
		struct mp_value v = mp_next(&m);
		if (v.type == MP_BAD)
			return deepest;
		if (v.type != MP_ARRAY && v.type != MP_MAP)
			continue;
		deepest = MAX2(deepest, depth + 1);
		if (v.count == 0)
			continue;
		if (depth + 1 == LIMIT_DEPTH_IN)
			return deepest;
		left[++depth] = v.type == MP_MAP ? 2 * (uint64_t)v.count : v.count;
	}
}

struct slice mp_find(struct slice map, const char *key)
{
	return mp_find_slice(map, slice_str(key));
}

struct slice mp_find_slice(struct slice map, struct slice key)
{
	struct mp m = mp_of(map);
	struct mp_value head = mp_next(&m);
	if (head.type != MP_MAP)
		return SLICE_NONE;
	for (uint32_t i = 0; i < head.count; i++) {
		enum mp_type type = mp_peek(&m);
		if (type != MP_STR && type != MP_BIN) {
			mp_skip(&m);
			mp_skip(&m);
			continue;
		}
		struct mp_value k = mp_next(&m);
		struct slice value = mp_skip(&m);
		if (slice_eq(k.bytes, key))
			return value.len && (unsigned char)value.p[0] == 0xc0 ? SLICE_NONE : value;
	}
	return SLICE_NONE;
}

const char *mp_type_name(enum mp_type type)
{
	static const char *const names[] = {
		[MP_NIL] = "nil",      [MP_BOOL] = "bool",   [MP_INT] = "int",
		[MP_UINT64] = "int",   [MP_FLOAT] = "float", [MP_STR] = "str",
		[MP_BIN] = "bin",      [MP_ARRAY] = "array", [MP_MAP] = "map",
		[MP_EXT] = "ext type", [MP_BAD] = "nothing",
	};
	_Static_assert(ARRAY_SIZE(names) == MP_BAD + 1, "a name for each type");
	return names[type];
}

static struct mp_value mp_get(struct slice map, const char *key)
{
	struct mp m = mp_of(mp_find(map, key));
	return mp_next(&m);
}

int64_t mp_get_int(struct slice map, const char *key, int64_t dflt)
{
	struct mp_value v = mp_get(map, key);
	return v.type == MP_INT ? v.i : dflt;
}

bool mp_get_bool(struct slice map, const char *key)
{
	struct mp_value v = mp_get(map, key);
	return v.type == MP_BOOL && v.b;
}

struct slice mp_get_str(struct slice map, const char *key)
{
	struct mp_value v = mp_get(map, key);
	return v.type == MP_STR || v.type == MP_BIN ? v.bytes : SLICE_NONE;
}
