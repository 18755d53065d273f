/* json_t to MessagePack and back. */
#include "client/json.h"

#include <math.h>
#include <string.h>

#include "common/text.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

static int json_pack_value(const json_t *v, struct pk *pk, unsigned depth, struct err *e);

static int json_pack_bin(const json_t *v, struct pk *pk, struct err *e)
{
	struct buf bytes = BUF_INIT;
	const json_t *text = json_object_get(v, "$bin");
	bool good =
		base64_decode(slice_of(json_string_value(text), json_string_length(text)), &bytes);
	if (good)
		pk_bin(pk, buf_slice(&bytes));
	buf_done(&bytes);
	return good ? 0 : err_set(e, E_PARAMS, ": $bin is not base64");
}

/* Paths are put together on the way out of an error: ".ops" + "[2]" + ".content" + ": not base64".
 */
static int json_pack_members(const json_t *v, struct pk *pk, unsigned depth, struct err *e)
{
	const char *key;
	size_t len;
	json_t *child;
	json_object_keylen_foreach((json_t *)v, key, len, child)
	{
		pk_keyslice(pk, slice_of(key, len));
		if (json_pack_value(child, pk, depth, e))
			return err_prefix(e, ".%s", key);
	}
	return 0;
}

static int json_pack_object(const json_t *v, struct pk *pk, unsigned depth, struct err *e)
{
	pk_map(pk);
	if (json_pack_members(v, pk, depth, e))
		return 1;
	pk_end(pk);
	return 0;
}

static int json_pack_array(const json_t *v, struct pk *pk, unsigned depth, struct err *e)
{
	json_t *child;
	size_t i;
	pk_array(pk);
	json_array_foreach(v, i, child) if (json_pack_value(child, pk, depth, e)) return err_prefix(
		e, "[%zu]", i);
	pk_end(pk);
	return 0;
}

static int json_pack_integer(json_int_t n, struct pk *pk, struct err *e)
{
	if (n > LIMIT_INT || n < -LIMIT_INT)
		return err_set(e, E_LIMIT, ": integers lie within +-2^53");
	pk_int(pk, n);
	return 0;
}

static int json_pack_value(const json_t *v, struct pk *pk, unsigned depth, struct err *e)
{
	if ((json_is_object(v) || json_is_array(v)) && ++depth > LIMIT_DEPTH_IN)
		return err_set(e, E_LIMIT, ": nested more than %d deep", LIMIT_DEPTH_IN);
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return json_is_bin(v) ? json_pack_bin(v, pk, e) : json_pack_object(v, pk, depth, e);
	case JSON_ARRAY:
		return json_pack_array(v, pk, depth, e);
	case JSON_STRING:
		pk_str(pk, slice_of(json_string_value(v), json_string_length(v)));
		return 0;
	case JSON_INTEGER:
		return json_pack_integer(json_integer_value(v), pk, e);
	case JSON_REAL:
		pk_float(pk, json_real_value(v));
		return 0;
	case JSON_TRUE:
	case JSON_FALSE:
		pk_bool(pk, json_is_true(v));
		return 0;
	case JSON_NULL:
		pk_nil(pk);
		return 0;
	}
	return 0;
}

/* Paths begin with a key, not with the point before it. */
static int json_pack_refused(struct err *e)
{
	if (e && e->text[0] == '.')
		memmove(e->text, e->text + 1, strlen(e->text));
	return 1;
}

int json_to_mp(const json_t *v, struct buf *out, struct err *e)
{
	struct pk pk = PK_INIT(out);
	return json_pack_value(v, &pk, 0, e) ? json_pack_refused(e) : 0;
}

int json_pack_keys(const json_t *map, struct pk *pk, struct err *e)
{
	return json_pack_members(map, pk, 1, e) ? json_pack_refused(e) : 0;
}

static json_t *json_unpack_value(struct mp *m, struct err *e);

static int json_unpack_pair(struct mp *m, json_t *object, struct err *e)
{
	struct mp_value key = mp_next(m);
	if (key.type != MP_STR || !utf8_valid(key.bytes) || memchr(key.bytes.p, 0, key.bytes.len))
		return err_set(e, E_UTF8, "map keys must be UTF-8 strings without NUL");
	if (json_object_getn(object, key.bytes.p, key.bytes.len))
		return err_set(e, E_PARAMS, "key '%.*s' is given twice", SLICE_FMT(key.bytes));
	json_t *v = json_unpack_value(m, e);
	if (!v)
		return 1;
	json_object_setn_new_nocheck(object, key.bytes.p, key.bytes.len, v);
	return 0;
}

static json_t *json_unpack_map(struct mp *m, uint32_t count, struct err *e)
{
	json_t *v = json_object();
	for (uint32_t i = 0; i < count; i++) {
		if (json_unpack_pair(m, v, e)) {
			json_decref(v);
			return NULL;
		}
	}
	return v;
}

static json_t *json_unpack_array(struct mp *m, uint32_t count, struct err *e)
{
	json_t *v = json_array();
	for (uint32_t i = 0; i < count; i++) {
		json_t *child = json_unpack_value(m, e);
		if (!child) {
			json_decref(v);
			return NULL;
		}
		json_array_append_new(v, child);
	}
	return v;
}

static json_t *json_unpack_int(int64_t n, struct err *e)
{
	if (n >= -LIMIT_INT && n <= LIMIT_INT)
		return json_integer(n);
	err_set(e, E_LIMIT, "integers lie within +-2^53");
	return NULL;
}

static json_t *json_unpack_real(double v, struct err *e)
{
	if (isfinite(v))
		return json_real(v);
	err_set(e, E_PARAMS, "NaN and infinity are no numbers here");
	return NULL;
}

static json_t *json_unpack_value(struct mp *m, struct err *e)
{
	struct mp_value v = mp_next(m);
	switch (v.type) {
	case MP_NIL:
		return json_null();
	case MP_BOOL:
		return json_boolean(v.b);
	case MP_INT:
		return json_unpack_int(v.i, e);
	case MP_UINT64:
		return json_unpack_int(INT64_MAX, e);
	case MP_FLOAT:
		return json_unpack_real(v.f, e);
	case MP_STR:
	case MP_BIN:
		return json_bytes(v.bytes);
	case MP_ARRAY:
		return json_unpack_array(m, v.count, e);
	case MP_MAP:
		return json_unpack_map(m, v.count, e);
	case MP_EXT:
	case MP_BAD:
		break;
	}
	err_set(e, E_PARAMS, "not MessagePack that we take");
	return NULL;
}

int json_from_mp(struct slice one, json_t **ret, struct err *e)
{
	struct mp m = mp_of(one);
	json_t *v = json_unpack_value(&m, e);
	if (!v)
		return 1;
	*ret = v;
	return 0;
}
