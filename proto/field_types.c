#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "common/text.h"
#include "common/timeutil.h"
#include "proto/limits.h"
#include "proto/value.h"

typedef int (*field_fn)(const struct field *f, struct slice raw, void *at, struct err *e);

static struct mp_value field_head(struct slice raw)
{
	struct mp m = mp_of(raw);
	return mp_next(&m);
}

static int field_bool(const struct field *f _unused_, struct slice raw, void *at, struct err *e)
{
	struct mp_value v = field_head(raw);
	if (v.type != MP_BOOL)
		return value_wrong(raw, "a bool", e);
	*(bool *)at = v.b;
	return 0;
}

static int field_range(const struct field *f, int64_t v, struct err *e)
{
	bool own = !f->min && !f->max;
	int64_t min = own ? -LIMIT_INT : f->min, max = own ? LIMIT_INT : f->max;
	if (v >= min && v <= max)
		return 0;
	if (max == LIMIT_INT && v < min)
		return err_set(e, E_PARAMS, ": must be at least %" PRId64 ", not %" PRId64, min, v);
	return err_set(e, E_PARAMS, ": must be %" PRId64 " to %" PRId64 ", not %" PRId64, min, max,
		       v);
}

/* An int, or a float that is one (Lua and JavaScript have no other). */
static int field_integer(struct slice raw, int64_t *ret, struct err *e)
{
	struct mp_value v = field_head(raw);
	if (v.type == MP_UINT64 || (v.type == MP_FLOAT && fabs(v.f) > (double)LIMIT_INT))
		return err_set(e, E_PARAMS, ": integers must lie within +-2^53");
	if (v.type == MP_FLOAT && v.f == floor(v.f))
		v = (struct mp_value){ .type = MP_INT, .i = (int64_t)v.f };
	if (v.type != MP_INT)
		return value_wrong(raw, "an int", e);
	*ret = v.i;
	return 0;
}

static int field_int(const struct field *f, struct slice raw, void *at, struct err *e)
{
	int64_t i;
	if (field_integer(raw, &i, e) || field_range(f, i, e))
		return 1;
	*(int64_t *)at = i;
	return 0;
}

static int field_duration_wrong(struct slice raw, struct err *e)
{
	return value_wrong(raw, "a number of seconds or a str such as \"90s\"", e);
}

/* What is not nothing never rounds to 0, which would mean "no limit". */
static int64_t field_ms(double seconds)
{
	double ms = seconds * 1000;
	return ms > 0 && ms < 1 ? 1 : (int64_t)(ms + 0.5);
}

static int field_duration_str(struct slice s, int64_t *ret, struct err *e)
{
	char text[VALUE_QUOTE_MAX];
	value_quote(s, text);
	if (!duration_parse(s, ret))
		return err_set(e, E_PARAMS,
			       ": '%s' is no duration: write \"500ms\", \"90s\", \"10m\", "
			       "\"1h30m\" or \"2d\"",
			       text);
	/* Elsewhere digits alone are seconds. Here they may be milliseconds that somebody quoted.
	 */
	if (!(s.p[s.len - 1] >= 'a' && s.p[s.len - 1] <= 'z'))
		return err_set(e, E_PARAMS,
			       ": '%.20s' has no unit: write \"%.20sms\" or \"%.20ss\"", text, text,
			       text);
	for (size_t i = 0; i < s.len && *ret == 0; i++)
		if (s.p[i] >= '1' && s.p[i] <= '9')
			*ret = 1;
	return 0;
}

static int field_duration(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct mp_value v = field_head(raw);
	int64_t ms;
	if (v.type == MP_STR || v.type == MP_BIN) {
		if (field_duration_str(v.bytes, &ms, e))
			return 1;
	} else if (v.type == MP_INT || v.type == MP_FLOAT || v.type == MP_UINT64) {
		double s = v.type == MP_INT ? (double)v.i : v.type == MP_FLOAT ? v.f : (double)v.u;
		if (isnan(s) || s < 0)
			return err_set(e, E_PARAMS, ": must %s",
				       isnan(s) ? "be a number" : "not be negative");
		if (s > (double)(LIMIT_DURATION_MS / 1000))
			return err_set(e, E_PARAMS, ": must be at most 10000 days");
		ms = field_ms(s);
	} else {
		return field_duration_wrong(raw, e);
	}
	if ((f->min || f->max) && field_range(f, ms, e))
		return 1;
	*(int64_t *)at = ms;
	return 0;
}

static int field_str(struct slice raw, struct slice *ret, struct err *e)
{
	struct mp_value v = field_head(raw);
	if (v.type != MP_STR && v.type != MP_BIN)
		return value_wrong(raw, "a str", e);
	*ret = v.bytes;
	return 0;
}

static int field_utf8(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct slice s;
	if (field_str(raw, &s, e))
		return 1;
	if (!utf8_valid(s))
		return err_set(e, E_UTF8, ": not valid UTF-8");
	if (f->type == FIELD_UTF8 && f->max && s.len > (uint64_t)f->max)
		return err_set(e, E_LIMIT, ": longer than %" PRId64 " bytes", f->max);
	*(struct slice *)at = s;
	return 0;
}

static int field_name(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct slice s;
	if (field_utf8(f, raw, &s, e))
		return 1;
	if (s.len == 0)
		return err_set(e, E_PARAMS, ": must not be empty");
	int64_t max = f->type == FIELD_NAME && f->max ? f->max : LIMIT_NAME_BYTES;
	if (s.len > (uint64_t)max)
		return err_set(e, E_LIMIT, ": longer than %" PRId64 " bytes", max);
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return err_set(e, E_PARAMS, ": must not hold control characters");
	*(struct slice *)at = s;
	return 0;
}

static int field_name0(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct slice s;
	if (field_str(raw, &s, e))
		return 1;
	if (s.len > 0)
		return field_name(f, raw, at, e);
	*(struct slice *)at = s;
	return 0;
}

/* "3-7": where a run is asked for, runs 3 to 7. */
static bool label_is_range(struct slice s)
{
	const char *dash = memchr(s.p, '-', s.len);
	return dash && parse_all_digits(slice_of(s.p, (size_t)(dash - s.p))) &&
	       parse_all_digits(slice_of(dash + 1, (size_t)(s.p + s.len - dash - 1)));
}

int field_label_check(struct slice s, struct err *e)
{
	char text[VALUE_QUOTE_MAX];
	if (parse_all_digits(s))
		return err_set(e, E_PARAMS, ": '%s' must not be a number", value_quote(s, text));
	if (label_is_range(s))
		return err_set(e, E_PARAMS, ": '%s' must not be a range of numbers",
			       value_quote(s, text));
	if (slice_is(s, "last") || slice_is(s, "all"))
		return err_set(e, E_PARAMS, ": '%s' has a meaning of its own: choose another",
			       value_quote(s, text));
	for (size_t i = 0; i < s.len; i++)
		if (strchr("., ", s.p[i]))
			return err_set(e, E_PARAMS, ": '%s' must not hold '.', ',' or a blank",
				       value_quote(s, text));
	return 0;
}

static int field_label(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct slice s;
	if (field_name(f, raw, &s, e) || field_label_check(s, e))
		return 1;
	*(struct slice *)at = s;
	return 0;
}

static int field_bytes(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct slice s;
	if (field_str(raw, &s, e))
		return 1;
	if (f->max && s.len > (uint64_t)f->max)
		return err_set(e, E_LIMIT, ": longer than %" PRId64 " bytes", f->max);
	*(struct slice *)at = s;
	return 0;
}

static int field_no_nul(struct slice s, struct err *e)
{
	if (s.len && memchr(s.p, '\0', s.len))
		return err_set(e, E_PARAMS, ": must not hold a NUL byte");
	return 0;
}

static int field_cstr(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct slice s;
	if (field_bytes(f, raw, &s, e) || field_no_nul(s, e))
		return 1;
	if (f->min && s.len == 0)
		return err_set(e, E_PARAMS, ": must not be empty");
	*(struct slice *)at = s;
	return 0;
}

static int field_file(const struct field *f _unused_, struct slice raw, void *at, struct err *e)
{
	struct slice s;
	if (field_str(raw, &s, e) || field_no_nul(s, e))
		return 1;
	if (s.len == 0)
		return err_set(e, E_PARAMS, ": must not be empty");
	if (s.len > LIMIT_PATH_BYTES)
		return err_set(e, E_LIMIT, ": longer than %d bytes", LIMIT_PATH_BYTES);
	if (f->type == FIELD_ABSPATH && s.p[0] != '/')
		return err_set(e, E_PARAMS, ": must be absolute");
	*(struct slice *)at = s;
	return 0;
}

static int field_octal(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct mp_value v = field_head(raw);
	uint32_t octal, max = f->max ? (uint32_t)f->max : 07777;
	char text[VALUE_QUOTE_MAX];
	if (v.type != MP_STR && v.type != MP_BIN)
		return value_wrong(raw, "a str of octal digits such as \"022\"", e);
	if (!parse_octal(v.bytes, max, &octal))
		return err_set(e, E_PARAMS, ": '%s' must be octal digits up to %o",
			       value_quote(v.bytes, text), max);
	*(int64_t *)at = octal;
	return 0;
}

static int field_enum_unknown(const struct field *f, struct slice s, struct err *e)
{
	char text[VALUE_QUOTE_MAX], list[256];
	size_t len = 0;
	list[0] = '\0';
	for (const char *const *n = f->names; *n && len < sizeof(list); n++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s'%s'", len ? ", " : "",
					*n);
	return err_set(e, E_PARAMS, ": '%s' is unknown: must be one of %s", value_quote(s, text),
		       list);
}

static int field_enum(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct mp_value v = field_head(raw);
	struct slice s;
	if (v.type == MP_BOOL && !v.b && strcmp(f->names[0], "false") == 0) {
		*(int *)at = 0;
		return 0;
	}
	if (field_str(raw, &s, e))
		return 1;
	for (int i = 0; f->names[i]; i++)
		if (slice_is(s, f->names[i])) {
			*(int *)at = i;
			return 0;
		}
	return field_enum_unknown(f, s, e);
}

static int field_enumset(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct mp m = mp_of(raw);
	struct mp_value head = mp_next(&m);
	uint32_t set = 0;
	int one;
	if (head.type != MP_ARRAY) {
		if (field_enum(f, raw, &one, e))
			return 1;
		*(uint32_t *)at = UINT32_C(1) << one;
		return 0;
	}
	for (uint32_t i = 0; i < head.count; i++) {
		if (field_enum(f, mp_skip(&m), &one, e))
			return err_prefix(e, "[%" PRIu32 "]", i);
		set |= UINT32_C(1) << one;
	}
	*(uint32_t *)at = set;
	return 0;
}

static int field_opref(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct mp_value v = field_head(raw);
	const struct field range = { .min = 1, .max = LIMIT_OPS };
	struct op_ref ref = { 0 };
	if (v.type == MP_INT || v.type == MP_FLOAT || v.type == MP_UINT64) {
		if (field_int(&range, raw, &ref.index, e))
			return 1;
	} else if (v.type != MP_STR && v.type != MP_BIN) {
		return value_wrong(raw, "an op's index (int) or id (str)", e);
	} else if (field_name(f, raw, &ref.id, e)) {
		return 1;
	} else if (parse_int(ref.id, 1, LIMIT_OPS, &ref.index)) {
		ref.id = SLICE_NONE; /* no id is all digits */
	}
	*(struct op_ref *)at = ref;
	return 0;
}

static int field_map(const struct field *f _unused_, struct slice raw, void *at, struct err *e)
{
	struct mp m;
	uint32_t n;
	if (value_open_map(raw, &m, &n, e))
		return 1;
	*(struct slice *)at = n ? raw : slice_of("\x80", 1); /* [] is {} */
	return 0;
}

static int field_array(const struct field *f _unused_, struct slice raw, void *at, struct err *e)
{
	struct mp m;
	uint32_t n;
	if (value_open_array(raw, &m, &n, e))
		return 1;
	*(struct slice *)at = raw;
	return 0;
}

/* An array whose elements each pass `one`; their values are thrown away. */
static int field_each(const struct field *f, struct slice raw, void *at, field_fn one,
		      struct err *e)
{
	union {
		struct slice s;
		int64_t i;
	} scratch;
	struct mp m;
	uint32_t n;
	if (value_open_array(raw, &m, &n, e))
		return 1;
	for (uint32_t i = 0; i < n; i++)
		if (one(f, mp_skip(&m), &scratch, e))
			return err_prefix(e, "[%" PRIu32 "]", i);
	*(struct slice *)at = raw;
	return 0;
}

static int field_names(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct mp m;
	uint32_t n;
	if (value_open_array(raw, &m, &n, e))
		return 1;
	if (f->max && n > f->max)
		return err_set(e, E_LIMIT, ": more than %" PRId64 " names", f->max);
	return field_each(f, raw, at, field_name, e);
}

static int field_ints(const struct field *f, struct slice raw, void *at, struct err *e)
{
	return field_each(f, raw, at, field_int, e);
}

static int field_bytesv(const struct field *f, struct slice raw, void *at, struct err *e)
{
	return field_each(f, raw, at, field_cstr, e);
}

static int field_env_pair(struct mp *m, struct err *e)
{
	struct mp_value k = mp_next(m);
	struct slice raw = mp_skip(m), value;
	char text[VALUE_QUOTE_MAX];
	if (k.type != MP_STR && k.type != MP_BIN)
		return err_set(e, E_PARAMS, ": names must be str, not %s", mp_type_name(k.type));
	value_quote(k.bytes, text);
	if (k.bytes.len == 0)
		return err_set(e, E_PARAMS, ": a name must not be empty");
	if (memchr(k.bytes.p, '=', k.bytes.len) || memchr(k.bytes.p, '\0', k.bytes.len))
		return err_set(e, E_PARAMS, ": name '%s' must not hold '=' or a NUL byte", text);
	if (field_head(raw).type == MP_NIL)
		return 0;
	if (field_str(raw, &value, e) || field_no_nul(value, e))
		return err_prefix(e, ".%s", text);
	if (k.bytes.len + value.len + 2 > LIMIT_STRING_BYTES)
		return err_set(e, E_LIMIT, ".%s: longer than %d bytes, more than Linux takes", text,
			       LIMIT_STRING_BYTES);
	return 0;
}

static int field_env(const struct field *f _unused_, struct slice raw, void *at, struct err *e)
{
	struct mp m;
	uint32_t n;
	if (value_open_map(raw, &m, &n, e))
		return 1;
	for (uint32_t i = 0; i < n; i++)
		if (field_env_pair(&m, e))
			return 1;
	if (value_keys_distinct(raw, e))
		return 1;
	*(struct slice *)at = raw;
	return 0;
}

static int field_meta(const struct field *f, struct slice raw, void *at, struct err *e)
{
	if (value_verify(raw, LIMIT_META_DEPTH, e))
		return 1;
	return field_map(f, raw, at, e);
}

static int field_any(const struct field *f _unused_, struct slice raw, void *at, struct err *e)
{
	if (value_verify(raw, LIMIT_DEPTH_IN, e))
		return 1;
	*(struct slice *)at = raw;
	return 0;
}

/* [method, args...]: it goes back to the client with an event inside, so it must not be deep. */
static int field_push(const struct field *f, struct slice raw, void *at, struct err *e)
{
	struct slice name;
	struct mp m;
	uint32_t n;
	if (value_open_array(raw, &m, &n, e))
		return 1;
	if (n == 0)
		return err_set(e, E_PARAMS, ": must be [method, args...], not empty");
	if (raw.len > LIMIT_PUSH_BYTES)
		return err_set(e, E_LIMIT, ": longer than %u bytes", LIMIT_PUSH_BYTES);
	if (field_name(f, mp_skip(&m), &name, e))
		return err_prefix(e, "[0]");
	if (value_verify(raw, LIMIT_META_DEPTH, e))
		return 1;
	*(struct slice *)at = raw;
	return 0;
}

static int field_raw(const struct field *f _unused_, struct slice raw, void *at,
		     struct err *e _unused_)
{
	*(struct slice *)at = raw;
	return 0;
}

/* Not kept, yet it stays in a batch that is stored: so it must be sound. */
static int field_ignored(const struct field *f _unused_, struct slice raw, void *at _unused_,
			 struct err *e)
{
	return value_verify(raw, LIMIT_DEPTH_IN, e);
}

static const field_fn field_fns[] = {
	[FIELD_BOOL] = field_bool,	   [FIELD_INT] = field_int,
	[FIELD_DURATION] = field_duration, [FIELD_UTF8] = field_utf8,
	[FIELD_NAME] = field_name,	   [FIELD_LABEL] = field_label,
	[FIELD_BYTES] = field_bytes,	   [FIELD_CSTR] = field_cstr,
	[FIELD_PATH] = field_file,	   [FIELD_ABSPATH] = field_file,
	[FIELD_OCTAL] = field_octal,	   [FIELD_ENUM] = field_enum,
	[FIELD_ENUMSET] = field_enumset,   [FIELD_OPREF] = field_opref,
	[FIELD_MAP] = field_map,	   [FIELD_ARRAY] = field_array,
	[FIELD_NAMES] = field_names,	   [FIELD_INTS] = field_ints,
	[FIELD_BYTESV] = field_bytesv,	   [FIELD_ENV] = field_env,
	[FIELD_META] = field_meta,	   [FIELD_PUSH] = field_push,
	[FIELD_ANY] = field_any,	   [FIELD_NAME0] = field_name0,
	[FIELD_RAW] = field_raw,	   [FIELD_IGNORED] = field_ignored,
};

_Static_assert(ARRAY_SIZE(field_fns) == FIELD_TYPE_MAX, "a decoder for each type");

int field_value(const struct field *f, struct slice raw, void *into, struct err *e)
{
	return field_fns[f->type](f, raw, (char *)into + f->offset, e);
}
