#include "proto/pack.h"

#include <assert.h>
#include <math.h>
#include <msgpack/pack.h>
#include <string.h>

#include "common/text.h"
#include "proto/mp.h"

static int pk_write(void *data, const char *p, size_t len)
{
	buf_add(data, p, len);
	return 0;
}

static msgpack_packer pk_packer(struct pk *pk)
{
	msgpack_packer m;
	msgpack_packer_init(&m, pk->b, pk_write);
	return m;
}

static struct pk_open *pk_top(struct pk *pk)
{
	return pk->depth ? &pk->open[pk->depth - 1] : NULL;
}

/* A value begins: in an array it counts; in a map its key has been counted. */
static msgpack_packer pk_value(struct pk *pk)
{
	struct pk_open *top = pk_top(pk);
	if (top && !top->map)
		top->count++;
	return pk_packer(pk);
}

static void pk_open(struct pk *pk, bool map)
{
	pk_value(pk);
	assert(pk->depth < sizeof(pk->open) / sizeof(pk->open[0]));
	pk->open[pk->depth++] = (struct pk_open){ .at = pk->b->len, .head = 1, .map = map };
	buf_addc(pk->b, 0);
}

void pk_map(struct pk *pk)
{
	pk_open(pk, true);
}

void pk_array(struct pk *pk)
{
	pk_open(pk, false);
}

/* The head, no shorter than what is there; its length. */
static size_t pk_head(const struct pk_open *o, unsigned char head[5])
{
	uint32_t n = o->count;
	if (n < 16 && o->head == 1) {
		head[0] = (unsigned char)((o->map ? 0x80 : 0x90) | n);
		return 1;
	}
	if (n <= UINT16_MAX && o->head <= 3) {
		memcpy(head, (unsigned char[]){ o->map ? 0xde : 0xdc, n >> 8 & 0xff, n & 0xff }, 3);
		return 3;
	}
	memcpy(head,
	       (unsigned char[]){ o->map ? 0xdf : 0xdd, n >> 24, n >> 16 & 0xff, n >> 8 & 0xff,
				  n & 0xff },
	       5);
	return 5;
}

/* The head goes where one byte was kept for it; a longer one moves the content up. */
static void pk_write_head(struct pk *pk, struct pk_open *o)
{
	unsigned char head[5];
	size_t len = pk_head(o, head), more = len - o->head;
	if (more > 0) {
		buf_reserve(pk->b, more);
		char *body = pk->b->p + o->at + o->head;
		memmove(body + more, body, pk->b->len - o->at - o->head);
		pk->b->len += more;
		pk->key_at += more;
		pk->key_end += more;
		o->head = (uint8_t)len;
	}
	memcpy(pk->b->p + o->at, head, len);
}

void pk_end(struct pk *pk)
{
	assert(pk->depth > 0);
	pk_write_head(pk, &pk->open[--pk->depth]);
}

struct slice pk_peek(struct pk *pk)
{
	struct pk_open *o = pk_top(pk);
	assert(o);
	pk_write_head(pk, o);
	return slice_of(pk->b->p + o->at, pk->b->len - o->at);
}

void pk_unkey(struct pk *pk)
{
	pk->b->len = pk->key_at;
	pk->key_end = 0;
	pk_top(pk)->count--;
}

void pk_drop(struct pk *pk, const char *key)
{
	struct mp m = mp_of(pk_peek(pk));
	for (uint32_t left = mp_next(&m).count; left > 0; left--) {
		char *from = (char *)m.p;
		bool found = slice_is(mp_next(&m).bytes, key);
		mp_skip(&m);
		if (!found)
			continue;
		memmove(from, m.p, (size_t)(m.end - m.p));
		pk->b->len -= (size_t)(m.p - from);
		pk->key_end = 0;
		pk_top(pk)->count--;
		return;
	}
}

struct pk_mark pk_mark(const struct pk *pk)
{
	struct pk_mark mark = { .len = pk->b->len, .depth = pk->depth };
	if (pk->depth) {
		mark.count = pk->open[pk->depth - 1].count;
		mark.head = pk->open[pk->depth - 1].head;
	}
	return mark;
}

void pk_back(struct pk *pk, const struct pk_mark *mark)
{
	pk->depth = mark->depth;
	pk->key_end = 0;
	pk->b->len = mark->len;
	if (pk->depth) {
		pk_top(pk)->count = mark->count;
		pk->b->len += pk_top(pk)->head - mark->head;
	}
}

void pk_nil(struct pk *pk)
{
	struct pk_open *top = pk_top(pk);
	if (pk->omit_nil && top && top->map && pk->key_end == pk->b->len) {
		pk_unkey(pk);
		return;
	}
	msgpack_packer m = pk_value(pk);
	msgpack_pack_nil(&m);
}

void pk_bool(struct pk *pk, bool v)
{
	msgpack_packer m = pk_value(pk);
	if (v)
		msgpack_pack_true(&m);
	else
		msgpack_pack_false(&m);
}

void pk_int(struct pk *pk, int64_t v)
{
	msgpack_packer m = pk_value(pk);
	msgpack_pack_int64(&m, v);
}

void pk_float(struct pk *pk, double v)
{
	if (!isfinite(v)) {
		pk_nil(pk);
		return;
	}
	msgpack_packer m = pk_value(pk);
	msgpack_pack_double(&m, v);
}

void pk_str(struct pk *pk, struct slice s)
{
	if (!s.p) {
		pk_nil(pk);
		return;
	}
	msgpack_packer m = pk_value(pk);
	msgpack_pack_str(&m, s.len);
	buf_addslice(pk->b, s);
}

char *pk_str_room(struct pk *pk, size_t len)
{
	msgpack_packer m = pk_value(pk);
	msgpack_pack_str(&m, len);
	buf_reserve(pk->b, len);
	pk->b->len += len;
	return pk->b->p + pk->b->len - len;
}

void pk_bin(struct pk *pk, struct slice s)
{
	if (!s.p) {
		pk_nil(pk);
		return;
	}
	msgpack_packer m = pk_value(pk);
	msgpack_pack_bin(&m, s.len);
	buf_addslice(pk->b, s);
}

void pk_text(struct pk *pk, struct slice s)
{
	if (utf8_valid(s))
		pk_str(pk, s);
	else
		pk_bin(pk, s);
}

void pk_raw(struct pk *pk, struct slice one)
{
	if (!one.p || (one.len == 1 && (unsigned char)one.p[0] == 0xc0)) {
		pk_nil(pk);
		return;
	}
	pk_value(pk);
	buf_addslice(pk->b, one);
}

void pk_keyslice(struct pk *pk, struct slice key)
{
	struct pk_open *top = pk_top(pk);
	assert(top && top->map);
	top->count++;
	pk->key_at = pk->b->len;
	msgpack_packer m = pk_packer(pk);
	msgpack_pack_str(&m, key.len);
	buf_addslice(pk->b, key);
	pk->key_end = pk->b->len;
}

void pk_key(struct pk *pk, const char *key)
{
	pk_keyslice(pk, slice_str(key));
}

void pk_knil(struct pk *pk, const char *key)
{
	pk_key(pk, key);
	pk_nil(pk);
}

void pk_kbool(struct pk *pk, const char *key, bool v)
{
	pk_key(pk, key);
	pk_bool(pk, v);
}

void pk_kint(struct pk *pk, const char *key, int64_t v)
{
	pk_key(pk, key);
	pk_int(pk, v);
}

void pk_kint_or_nil(struct pk *pk, const char *key, int64_t v, bool present)
{
	pk_key(pk, key);
	if (present)
		pk_int(pk, v);
	else
		pk_nil(pk);
}

void pk_kstr(struct pk *pk, const char *key, struct slice s)
{
	pk_key(pk, key);
	pk_str(pk, s);
}

void pk_ktext(struct pk *pk, const char *key, struct slice s)
{
	pk_key(pk, key);
	pk_text(pk, s);
}

void pk_kbin(struct pk *pk, const char *key, struct slice s)
{
	pk_key(pk, key);
	pk_bin(pk, s);
}

void pk_kraw(struct pk *pk, const char *key, struct slice one)
{
	pk_key(pk, key);
	pk_raw(pk, one);
}
