/*
 * The two forms of a batch beside the one that came: what is stored, and what its digest is made
 * of. Both walk the raw bytes; depth is bounded by the scanner.
 */
#include <math.h>
#include <sha2.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "proto/batch.h"
#include "proto/limits.h"
#include "proto/pack.h"

static bool raw_is_nil(struct slice raw)
{
	return raw.len == 1 && (unsigned char)raw.p[0] == 0xc0;
}

/* A key; what is no str is none here, and refused elsewhere. */
static struct slice raw_key(struct mp *m)
{
	enum mp_type type = mp_peek(m);
	if (type == MP_STR || type == MP_BIN)
		return mp_next(m).bytes;
	mp_skip(m);
	return slice_str("");
}

/* --- stored --- */

static void strip_value(struct pk *pk, struct mp *m, struct slice *env_base);

static void strip_pair(struct pk *pk, struct mp *m, struct slice *env_base)
{
	struct slice key = raw_key(m);
	if (mp_peek(m) == MP_NIL) {
		mp_skip(m);
		return;
	}
	if (env_base && slice_is(key, "env_base")) {
		*env_base = mp_skip(m);
		return;
	}
	pk_keyslice(pk, key);
	if (slice_is(key, "env") || slice_is(key, "meta"))
		pk_raw(pk, mp_skip(m));
	else
		strip_value(pk, m, NULL);
}

/* In one go: no value is stepped over before it is walked. env_base: NULL but for the batch itself.
 */
static void strip_value(struct pk *pk, struct mp *m, struct slice *env_base)
{
	enum mp_type type = mp_peek(m);
	if (type == MP_MAP) {
		pk_map(pk);
		for (uint32_t left = mp_next(m).count; left > 0; left--)
			strip_pair(pk, m, env_base);
		pk_end(pk);
	} else if (type == MP_ARRAY) {
		pk_array(pk);
		for (uint32_t left = mp_next(m).count; left > 0; left--)
			strip_value(pk, m, NULL);
		pk_end(pk);
	} else {
		pk_raw(pk, mp_skip(m));
	}
}

struct slice batch_strip(struct slice batch, struct buf *b)
{
	struct slice env_base = SLICE_NONE;
	struct pk pk = PK_INIT(b);
	struct mp m = mp_of(batch);
	strip_value(&pk, &m, &env_base);
	return env_base;
}

/* --- digest --- */

/* Gathers small pieces: a hash update for each few bytes would cost more than the hash. */
struct digest {
	SHA2_CTX sha;
	size_t used;
	uint8_t pending[4096];
};

static void digest_flush(struct digest *d)
{
	SHA256Update(&d->sha, d->pending, d->used);
	d->used = 0;
}

static void digest_keep(struct digest *d, const void *p, size_t len)
{
	if (len)
		memcpy(d->pending + d->used, p, len);
	d->used += len;
}

static void digest_add(struct digest *d, const void *p, size_t len)
{
	if (len > sizeof(d->pending) - d->used)
		digest_flush(d);
	if (len > sizeof(d->pending))
		SHA256Update(&d->sha, p, len);
	else
		digest_keep(d, p, len);
}

/* Stored by way of the digest, never renumber. */
enum digest_tag {
	TAG_NIL = 'n',
	TAG_BOOL = 'b',
	TAG_INT = 'i',
	TAG_FLOAT = 'f',
	TAG_BYTES = 's',
	TAG_ARRAY = 'a',
	TAG_MAP = 'm'
};

/* Everything begins with a tag and a number (a value, a length or a count), seven bits a byte, the
 * lowest first. */
static void digest_tag(struct digest *d, enum digest_tag tag, uint64_t v)
{
	uint8_t out[11] = { (uint8_t)tag };
	size_t n = 1;
	for (; v >= 0x80; v >>= 7)
		out[n++] = (uint8_t)v | 0x80;
	out[n++] = (uint8_t)v;
	digest_add(d, out, n);
}

/* Sign last, so that small numbers are short. */
static void digest_int(struct digest *d, int64_t i)
{
	digest_tag(d, TAG_INT, (uint64_t)i << 1 ^ (uint64_t)(i >> 63));
}

static void digest_bytes(struct digest *d, struct slice s)
{
	digest_tag(d, TAG_BYTES, s.len);
	digest_add(d, s.p, s.len);
}

static void digest_float(struct digest *d, double f)
{
	uint64_t bits;
	if (f == floor(f) && fabs(f) <= (double)LIMIT_INT) {
		digest_int(d, (int64_t)f);
		return;
	}
	memcpy(&bits, &f, sizeof(bits));
	digest_tag(d, TAG_FLOAT, bits);
}

struct digest_pair {
	struct slice key, value;
};

static int digest_pair_order(const void *a, const void *b)
{
	const struct digest_pair *x = a, *y = b;
	int r = memcmp(x->key.p, y->key.p, MIN2(x->key.len, y->key.len));
	return r ? r : (x->key.len > y->key.len) - (x->key.len < y->key.len);
}

/* What a walk is in: the batch's own map leaves env_base out, env maps keep their nils. */
enum digest_in { IN_BATCH, IN_ENV, IN_OTHER };

static void digest_value(struct digest *d, struct slice raw, enum digest_in in);

static void digest_map(struct digest *d, struct mp *m, uint32_t pairs, enum digest_in in)
{
	enum { FEW = 24 };
	struct digest_pair few[FEW];
	_cleanup_free_ struct digest_pair *many =
		pairs > FEW ? xcalloc(pairs, sizeof(*many)) : NULL;
	struct digest_pair *p = many ? many : few;
	uint32_t n = 0;
	for (uint32_t i = 0; i < pairs; i++) {
		struct slice key = raw_key(m), value = mp_skip(m);
		bool left_out = in == IN_BATCH && slice_is(key, "env_base");
		if (!left_out && (in == IN_ENV || !raw_is_nil(value)))
			p[n++] = (struct digest_pair){ key, value };
	}
	if (n > 1)
		qsort(p, n, sizeof(*p), digest_pair_order);
	digest_tag(d, n ? TAG_MAP : TAG_ARRAY, n);
	for (uint32_t i = 0; i < n; i++) {
		digest_bytes(d, p[i].key);
		digest_value(d, p[i].value, slice_is(p[i].key, "env") ? IN_ENV : IN_OTHER);
	}
}

static void digest_value(struct digest *d, struct slice raw, enum digest_in in)
{
	struct mp m = mp_of(raw);
	struct mp_value v = mp_next(&m);
	switch (v.type) {
	case MP_BOOL:
		digest_tag(d, TAG_BOOL, v.b);
		break;
	case MP_INT:
		digest_int(d, v.i);
		break;
	case MP_FLOAT:
		digest_float(d, v.f);
		break;
	case MP_STR:
	case MP_BIN:
		digest_bytes(d, v.bytes);
		break;
	case MP_ARRAY:
		digest_tag(d, TAG_ARRAY, v.count);
		for (uint32_t i = 0; i < v.count; i++)
			digest_value(d, mp_skip(&m), IN_OTHER);
		break;
	case MP_MAP:
		digest_map(d, &m, v.count, in);
		break;
	case MP_NIL:
	case MP_UINT64: /* refused before: beyond 2^53 */
	case MP_EXT:
	case MP_BAD:
		digest_tag(d, TAG_NIL, 0);
		break;
	}
}

void batch_digest(struct slice batch, uint8_t ret[32])
{
	struct digest d = { .used = 0 };
	SHA256Init(&d.sha);
	digest_value(&d, batch, IN_BATCH);
	digest_flush(&d);
	SHA256Final(ret, &d.sha);
}
