#include "proto/field.h"

#include "proto/suggest.h"
#include "proto/value.h"

const char *field_type_name(enum field_type type)
{
	static const char *const names[] = {
		[FIELD_BOOL] = "bool",
		[FIELD_INT] = "int",
		[FIELD_DURATION] = "duration",
		[FIELD_UTF8] = "str",
		[FIELD_NAME] = "name",
		[FIELD_NAME0] = "name or empty",
		[FIELD_LABEL] = "label",
		[FIELD_BYTES] = "bytes",
		[FIELD_CSTR] = "bytes without NUL",
		[FIELD_PATH] = "path",
		[FIELD_ABSPATH] = "absolute path",
		[FIELD_OCTAL] = "str of octal digits",
		[FIELD_ENUM] = "one of",
		[FIELD_ENUMSET] = "one or array of",
		[FIELD_OPREF] = "int or name",
		[FIELD_MAP] = "map",
		[FIELD_ARRAY] = "array",
		[FIELD_NAMES] = "array of name",
		[FIELD_INTS] = "array of int",
		[FIELD_BYTESV] = "array of bytes without NUL",
		[FIELD_ENV] = "map str to bytes or nil",
		[FIELD_META] = "map",
		[FIELD_PUSH] = "array",
		[FIELD_ANY] = "anything",
		[FIELD_RAW] = "anything",
		[FIELD_IGNORED] = "anything",
	};
	_Static_assert(ARRAY_SIZE(names) == FIELD_TYPE_MAX, "a name for each type");
	return names[type];
}

static const struct field_opts no_opts = { 0 };

/* Keys that look like nothing the table knows are refused; with opts->unknown they are handed over.
 */
static int field_unknown(const struct field *table, struct slice key, struct slice value,
			 const struct field_opts *opts, struct err *e)
{
	char name[VALUE_QUOTE_MAX], hint[SUGGEST_TEXT_MAX];
	struct suggest s = SUGGEST_INIT(key);
	bool elsewhere = false;
	if (opts->unknown)
		return opts->unknown(opts->arg, key, value, e);
	for (const struct field *f = table; f->name; f++) {
		elsewhere = elsewhere || slice_is(key, f->name);
		if (!opts->kinds || !f->kinds || (f->kinds & opts->kinds))
			suggest_offer(&s, f->name);
	}
	value_quote(key, name);
	if (elsewhere)
		return err_set(e, E_PARAMS, ".%s: not a key of kind '%s'", name, opts->kind_name);
	return err_set(e, E_PARAMS, ".%s: unknown key%s", name, suggest_text(&s, hint));
}

static const struct field *field_find(const struct field *table, struct slice key,
				      const struct field_opts *opts)
{
	for (const struct field *f = table; f->name; f++) {
		if (f->name[0] != key.p[0] || !slice_is(key, f->name))
			continue;
		if (!opts->kinds || !f->kinds || (f->kinds & opts->kinds))
			return f;
	}
	return NULL;
}

/* One pair at the cursor. `keys` collects what was named, `seen` what had a value. The last one's
 * value is the rest of the map: it may be long, and where it ends is known. */
static int field_pair(const struct field *table, struct mp *m, bool last, void *into,
		      const struct field_opts *opts, uint64_t *keys, uint64_t *seen, struct err *e)
{
	struct slice key;
	if (value_key(m, &key, e))
		return 1;
	struct slice raw = last ? mp_rest(m) : mp_skip(m);
	const struct field *f = key.len ? field_find(table, key, opts) : NULL;
	if (!f)
		return field_unknown(table, key, raw, opts, e);
	uint64_t bit = UINT64_C(1) << (f - table);
	if (*keys & bit)
		return err_set(e, E_PARAMS, ".%s: given twice", f->name);
	*keys |= bit;
	if (!raw.p || (unsigned char)raw.p[0] == 0xc0)
		return 0;
	*seen |= bit;
	if (field_value(f, raw, into, e))
		return err_prefix(e, ".%s", f->name);
	if (f->has)
		*((bool *)((char *)into + f->has)) = true;
	return 0;
}

static int field_pairs(const struct field *table, struct slice map, void *into,
		       const struct field_opts *opts, uint64_t *seen, struct err *e)
{
	uint64_t keys = 0;
	uint32_t n;
	struct mp m;
	if (value_open_map(map, &m, &n, e))
		return 1;
	for (uint32_t i = 0; i < n; i++)
		if (field_pair(table, &m, i + 1 == n, into, opts, &keys, seen, e))
			return 1;
	for (const struct field *f = table; f->name; f++)
		if (f->required && !(*seen >> (f - table) & 1) &&
		    (!opts->kinds || !f->kinds || (f->kinds & opts->kinds)))
			return err_set(e, E_PARAMS, ".%s: required", f->name);
	return 0;
}

int field_decode_with(const struct field *table, struct slice map, void *into, const char *path,
		      const struct field_opts *opts, uint64_t *ret_seen, struct err *e)
{
	uint64_t seen = 0;
	if (field_pairs(table, map, into, opts, &seen, e))
		return value_at(e, path, NULL);
	if (ret_seen)
		*ret_seen = seen;
	return 0;
}

int field_decode(const struct field *table, struct slice map, void *into, const char *path,
		 uint64_t *ret_seen, struct err *e)
{
	return field_decode_with(table, map, into, path, &no_opts, ret_seen, e);
}

int array_count(struct slice array)
{
	struct mp m = mp_of(array);
	struct mp_value head = mp_next(&m);
	return head.type == MP_ARRAY ? (int)head.count : 0;
}

struct mp array_open(struct slice array, uint32_t *ret_count)
{
	struct mp m = mp_of(array);
	struct mp_value head = mp_next(&m);
	*ret_count = head.type == MP_ARRAY ? head.count : 0;
	return m;
}
