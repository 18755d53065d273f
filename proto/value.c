#include "proto/value.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "common/text.h"
#include "proto/limits.h"

const char *value_quote(struct slice s, char text[VALUE_QUOTE_MAX])
{
	struct buf b = BUF_INIT;
	text_one_line(&b, s, VALUE_QUOTE_MAX - 16);
	snprintf(text, VALUE_QUOTE_MAX, "%s", buf_str(&b));
	buf_done(&b);
	return text;
}

int value_at(struct err *e, const char *path, const char *key)
{
	if (!e)
		return 1;
	bool bare = !*path && !key;
	if (bare && (e->text[0] == '.' || (e->text[0] == ':' && e->text[1] == ' '))) {
		size_t cut = e->text[0] == '.' ? 1 : 2;
		memmove(e->text, e->text + cut, strlen(e->text + cut) + 1);
		return 1;
	}
	return err_prefix(e, "%s%s%s", path, *path && key ? "." : "", key ? key : "");
}

const char *value_type(struct slice raw)
{
	struct mp m = mp_of(raw);
	return mp_type_name(mp_peek(&m));
}

int value_key(struct mp *m, struct slice *ret, struct err *e)
{
	struct mp at = *m;
	struct mp_value k = mp_next(m);
	if (k.type != MP_STR)
		return err_set(e, E_PARAMS, ": keys must be str, not %s",
			       mp_type_name(mp_peek(&at)));
	if (!utf8_valid(k.bytes)) {
		char text[VALUE_QUOTE_MAX];
		return err_set(e, E_UTF8, ": key '%s' is not valid UTF-8",
			       value_quote(k.bytes, text));
	}
	*ret = k.bytes;
	return 0;
}

int value_open_map(struct slice raw, struct mp *m, uint32_t *ret_pairs, struct err *e)
{
	*m = mp_of(raw);
	struct mp_value head = mp_next(m);
	if (head.type != MP_MAP && !(head.type == MP_ARRAY && head.count == 0))
		return value_wrong(raw, "a map", e);
	*ret_pairs = head.count;
	return 0;
}

int value_open_array(struct slice raw, struct mp *m, uint32_t *ret_count, struct err *e)
{
	*m = mp_of(raw);
	struct mp_value head = mp_next(m);
	if (head.type != MP_ARRAY)
		return value_wrong(raw, "an array", e);
	*ret_count = head.count;
	return 0;
}

static int value_twice(struct slice key, struct err *e)
{
	char text[VALUE_QUOTE_MAX];
	return err_set(e, E_PARAMS, ".%s: given twice", value_quote(key, text));
}

static int slice_order(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;
	int r = memcmp(x->p, y->p, MIN2(x->len, y->len));
	return r ? r : (x->len > y->len) - (x->len < y->len);
}

static int value_keys_sorted(struct slice *keys, uint32_t n, struct err *e)
{
	qsort(keys, n, sizeof(*keys), slice_order);
	for (uint32_t i = 1; i < n; i++)
		if (slice_eq(keys[i - 1], keys[i]))
			return value_twice(keys[i], e);
	return 0;
}

int value_keys_distinct(struct slice map, struct err *e)
{
	enum { FEW = 16 };
	struct slice few[FEW], *keys = few;
	_cleanup_free_ struct slice *many = NULL;
	struct mp m;
	uint32_t n;
	if (value_open_map(map, &m, &n, e))
		return 1;
	if (n > FEW) {
		keys = many = reallocarray(NULL, n, sizeof(*many));
		if (!many)
			return err_set(e, E_MEMORY, ": no memory for a map of %" PRIu32 " keys", n);
	}
	for (uint32_t i = 0; i < n; i++) {
		keys[i] = mp_next(&m).bytes;
		mp_skip(&m);
	}
	if (n > FEW)
		return value_keys_sorted(keys, n, e);
	for (uint32_t i = 1; i < n; i++)
		for (uint32_t j = 0; j < i; j++)
			if (slice_eq(keys[i], keys[j]))
				return value_twice(keys[i], e);
	return 0;
}

static int value_scalar(struct mp_value v, struct err *e)
{
	if (v.type == MP_UINT64 || (v.type == MP_INT && (v.i > LIMIT_INT || v.i < -LIMIT_INT)))
		return err_set(e, E_PARAMS, ": integers must lie within +-2^53");
	if (v.type == MP_FLOAT && !isfinite(v.f))
		return err_set(e, E_PARAMS, ": must not be NaN or infinite");
	if (v.type == MP_STR && !utf8_valid(v.bytes))
		return err_set(e, E_UTF8, ": not valid UTF-8");
	if (v.type == MP_EXT || v.type == MP_BAD)
		return err_set(e, E_PARAMS, ": ext types are not allowed");
	return 0;
}

/* One value at the cursor; `depth` more containers may be open. Recursion is bounded by depth. */
static int value_walk(struct mp *m, int depth, struct err *e)
{
	struct mp start = *m;
	struct mp_value v = mp_next(m);
	if (v.type != MP_ARRAY && v.type != MP_MAP)
		return value_scalar(v, e);
	if (depth == 0)
		return err_set(e, E_LIMIT, ": nested too deep");
	for (uint32_t i = 0; i < v.count; i++) {
		struct slice key;
		if (v.type == MP_MAP && value_key(m, &key, e))
			return 1;
		if (value_walk(m, depth - 1, e) == 0)
			continue;
		char text[VALUE_QUOTE_MAX];
		if (v.type == MP_MAP)
			return err_prefix(e, ".%s", value_quote(key, text));
		return err_prefix(e, "[%" PRIu32 "]", i);
	}
	if (v.type == MP_ARRAY)
		return 0;
	return value_keys_distinct(slice_of(start.p, (size_t)(m->p - start.p)), e);
}

int value_verify(struct slice raw, int max_depth, struct err *e)
{
	struct mp m = mp_of(raw);
	return value_walk(&m, max_depth, e);
}

int value_check(struct slice value, int max_depth, const char *path, struct err *e)
{
	return value_verify(value, max_depth, e) ? value_at(e, path, NULL) : 0;
}
