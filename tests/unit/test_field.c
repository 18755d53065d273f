/* Field tables: every type, right and wrong, with the words of the refusal; whole values;
 * suggestions. */
#include <check.h>

#include "common/text.h"
#include "proto/errors.h"
#include "proto/field.h"
#include "proto/limits.h"
#include "tests/unit/mp_text.h"

struct all {
	bool flag, has_flag, has_number;
	int64_t number, small, duration, octal;
	struct slice utf8, name, name0, label, bytes, cstr, path, abspath;
	int color, off;
	uint32_t colors;
	struct op_ref op;
	struct slice map, array, names, ints, bytesv, env, meta, push, any, raw;
	int64_t only_a, only_b;
};

static const char *const colors[] = { "red", "green", "blue", NULL };
static const char *const off_names[] = { "false", "sizes", NULL };

#define AT(m) offsetof(struct all, m)
static const struct field table[] = {
	{ "flag", FIELD_BOOL, AT(flag), AT(has_flag) },
	{ "number", FIELD_INT, AT(number), AT(has_number) },
	{ "small", FIELD_INT, AT(small), .min = 1, .max = 10 },
	{ "count", FIELD_INT, AT(small), .min = 1, .max = LIMIT_INT },
	{ "duration", FIELD_DURATION, AT(duration) },
	{ "octal", FIELD_OCTAL, AT(octal), .max = 0777 },
	{ "utf8", FIELD_UTF8, AT(utf8), .max = 5 },
	{ "name", FIELD_NAME, AT(name) },
	{ "name0", FIELD_NAME0, AT(name0) },
	{ "label", FIELD_LABEL, AT(label) },
	{ "bytes", FIELD_BYTES, AT(bytes) },
	{ "cstr", FIELD_CSTR, AT(cstr) },
	{ "path", FIELD_PATH, AT(path) },
	{ "abspath", FIELD_ABSPATH, AT(abspath) },
	{ "color", FIELD_ENUM, AT(color), .names = colors },
	{ "off", FIELD_ENUM, AT(off), .names = off_names },
	{ "colors", FIELD_ENUMSET, AT(colors), .names = colors },
	{ "op", FIELD_OPREF, AT(op) },
	{ "map", FIELD_MAP, AT(map) },
	{ "array", FIELD_ARRAY, AT(array) },
	{ "names", FIELD_NAMES, AT(names) },
	{ "ints", FIELD_INTS, AT(ints), .min = 0, .max = 255 },
	{ "bytesv", FIELD_BYTESV, AT(bytesv), .min = 1 },
	{ "env", FIELD_ENV, AT(env) },
	{ "meta", FIELD_META, AT(meta) },
	{ "push", FIELD_PUSH, AT(push) },
	{ "any", FIELD_ANY, AT(any) },
	{ "raw", FIELD_RAW, AT(raw) },
	{ "ignored", FIELD_IGNORED },
	{ "mine", FIELD_INT, AT(only_a), .kinds = 1 },
	{ "mine", FIELD_INT, AT(only_b), .kinds = 2 },
	{ "other", FIELD_INT, AT(only_b), .required = true, .kinds = 2 },
	FIELD_END,
};

static int decode(struct buf *b, const char *text, const char *path, struct all *ret, struct err *e)
{
	buf_clear(b);
	*ret = (struct all){ .number = -7, .color = -1 };
	struct field_opts opts = { .kinds = 1, .kind_name = "a" };
	return field_decode_with(table, mp_text(b, text), ret, path, &opts, NULL, e);
}

static const struct {
	const char *text, *error;
	int sym;
} refusals[] = {
	{ "7", "at: must be a map, not int", E_PARAMS },
	{ "[1]", "at: must be a map, not array", E_PARAMS },
	{ "{'flag': 1}", "at.flag: must be a bool, not int", E_PARAMS },
	{ "{'flag': true, 'flag': true}", "at.flag: given twice", E_PARAMS },
	{ "{'flag': nil, 'flag': true}", "at.flag: given twice", E_PARAMS },
	{ "{'flga': true}", "at.flga: unknown key (did you mean 'flag'?)", E_PARAMS },
	{ "{'dur': 1}", "at.dur: unknown key (did you mean 'duration'?)", E_PARAMS },
	{ "{'xyzzy': 1}", "at.xyzzy: unknown key", E_PARAMS },
	{ "{'': 1}", "at.: unknown key", E_PARAMS },
	{ "{'flag\\x00\\x00': true}", "at.flag\\x00\\x00: unknown key (did you mean 'flag'?)",
	  E_PARAMS },
	{ "{'a\\nb': 1}", "at.a\\nb: unknown key", E_PARAMS },
	{ "{'\\xff': 1}", "at: key '\\xff' is not valid UTF-8", E_UTF8 },
	{ "{'other': 1}", "at.other: not a key of kind 'a'", E_PARAMS },
	{ "{'number': 'x'}", "at.number: must be an int, not str", E_PARAMS },
	{ "{'number': 1.5}", "at.number: must be an int, not float", E_PARAMS },
	{ "{'number': 9007199254740993}",
	  "at.number: must be -9007199254740992 to 9007199254740992, not 9007199254740993",
	  E_PARAMS },
	{ "{'number': 1e300}", "at.number: integers must lie within +-2^53", E_PARAMS },
	{ "{'small': 0}", "at.small: must be 1 to 10, not 0", E_PARAMS },
	{ "{'small': 11.0}", "at.small: must be 1 to 10, not 11", E_PARAMS },
	{ "{'count': 0}", "at.count: must be at least 1, not 0", E_PARAMS },
	{ "{'duration': -1}", "at.duration: must not be negative", E_PARAMS },
	{ "{'duration': -0.5}", "at.duration: must not be negative", E_PARAMS },
	{ "{'duration': 1e12}", "at.duration: must be at most 10000 days", E_PARAMS },
	{ "{'duration': true}",
	  "at.duration: must be a number of seconds or a str such as \"90s\", not bool", E_PARAMS },
	{ "{'duration': '5 parsecs'}",
	  "at.duration: '5 parsecs' is no duration: write \"500ms\", \"90s\", \"10m\", \"1h30m\" "
	  "or \"2d\"",
	  E_PARAMS },
	{ "{'octal': 493}", "at.octal: must be a str of octal digits such as \"022\", not int",
	  E_PARAMS },
	{ "{'octal': '1000'}", "at.octal: '1000' must be octal digits up to 777", E_PARAMS },
	{ "{'octal': '8'}", "at.octal: '8' must be octal digits up to 777", E_PARAMS },
	{ "{'utf8': '\\xff'}", "at.utf8: not valid UTF-8", E_UTF8 },
	{ "{'utf8': '123456'}", "at.utf8: longer than 5 bytes", E_LIMIT },
	{ "{'utf8': 1}", "at.utf8: must be a str, not int", E_PARAMS },
	{ "{'name': ''}", "at.name: must not be empty", E_PARAMS },
	{ "{'name': 'a\\nb'}", "at.name: must not hold control characters", E_PARAMS },
	{ "{'name': '\\xc3'}", "at.name: not valid UTF-8", E_UTF8 },
	{ "{'label': '12'}", "at.label: '12' must not be a number", E_PARAMS },
	{ "{'label': 'last'}", "at.label: 'last' has a meaning of its own: choose another",
	  E_PARAMS },
	{ "{'label': 'all'}", "at.label: 'all' has a meaning of its own: choose another",
	  E_PARAMS },
	{ "{'label': 'a.b'}", "at.label: 'a.b' must not hold '.', ',' or a blank", E_PARAMS },
	{ "{'label': 'a b'}", "at.label: 'a b' must not hold '.', ',' or a blank", E_PARAMS },
	{ "{'cstr': 'a\\x00b'}", "at.cstr: must not hold a NUL byte", E_PARAMS },
	{ "{'path': ''}", "at.path: must not be empty", E_PARAMS },
	{ "{'path': 'a\\x00'}", "at.path: must not hold a NUL byte", E_PARAMS },
	{ "{'abspath': 'a'}", "at.abspath: must be absolute", E_PARAMS },
	{ "{'color': 'gren'}", "at.color: 'gren' is unknown: must be one of 'red', 'green', 'blue'",
	  E_PARAMS },
	{ "{'color': false}", "at.color: must be a str, not bool", E_PARAMS },
	{ "{'off': true}", "at.off: must be a str, not bool", E_PARAMS },
	{ "{'colors': ['red', 'x']}",
	  "at.colors[1]: 'x' is unknown: must be one of 'red', 'green', 'blue'", E_PARAMS },
	{ "{'op': 0}", "at.op: must be 1 to 1048576, not 0", E_PARAMS },
	{ "{'op': []}", "at.op: must be an op's index (int) or id (str), not array", E_PARAMS },
	{ "{'map': [1]}", "at.map: must be a map, not array", E_PARAMS },
	{ "{'array': {}}", "at.array: must be an array, not map", E_PARAMS },
	{ "{'names': ['a', 7]}", "at.names[1]: must be a str, not int", E_PARAMS },
	{ "{'ints': [0, 256]}", "at.ints[1]: must be 0 to 255, not 256", E_PARAMS },
	{ "{'bytesv': ['a', 'b\\x00']}", "at.bytesv[1]: must not hold a NUL byte", E_PARAMS },
	{ "{'bytesv': ['a', '']}", "at.bytesv[1]: must not be empty", E_PARAMS },
	{ "{'env': {'A': 1}}", "at.env.A: must be a str, not int", E_PARAMS },
	{ "{'env': {'': 'x'}}", "at.env: a name must not be empty", E_PARAMS },
	{ "{'env': {'A=B': 'x'}}", "at.env: name 'A=B' must not hold '=' or a NUL byte", E_PARAMS },
	{ "{'env': {'A': 'x\\x00'}}", "at.env.A: must not hold a NUL byte", E_PARAMS },
	{ "{'env': {'A': 'x', 'B': 'y', 'A': nil}}", "at.env.A: given twice", E_PARAMS },
	{ "{'meta': {'a': {'b': 1, 'b': 2}}}", "at.meta.a.b: given twice", E_PARAMS },
	{ "{'meta': {'a': [1, '\\xff']}}", "at.meta.a[1]: not valid UTF-8", E_UTF8 },
	{ "{'meta': {'a': 1e999}}", NULL, 0 }, /* the packer makes nil of what is not finite */
	{ "{'meta': [1]}", "at.meta: must be a map, not array", E_PARAMS },
	{ "{'meta': {'a':{'a':{'a':{'a':{'a':{'a':{'a':{'a': 1}}}}}}}}}", NULL, 0 },
	{ "{'meta': {'a':{'a':{'a':{'a':{'a':{'a':{'a':{'a': []}}}}}}}}}",
	  "at.meta.a.a.a.a.a.a.a.a: nested too deep", E_LIMIT },
	{ "{'push': []}", "at.push: must be [method, args...], not empty", E_PARAMS },
	{ "{'push': [1]}", "at.push[0]: must be a str, not int", E_PARAMS },
	{ "{'any': {'a': 9007199254740993}}", "at.any.a: integers must lie within +-2^53",
	  E_PARAMS },
};

START_TEST(test_refusals)
{
	struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	struct all all;
	int r = decode(&b, refusals[_i].text, "at", &all, &e);
	if (!refusals[_i].error) {
		ck_assert_msg(r == 0, "%s: %s", refusals[_i].text, e.text);
	} else {
		ck_assert_msg(r == 1, "%s was accepted", refusals[_i].text);
		ck_assert_str_eq(e.text, refusals[_i].error);
		ck_assert_int_eq(e.sym, refusals[_i].sym);
	}
	buf_done(&b);
}
END_TEST

START_TEST(test_places)
{
	struct buf b = BUF_INIT;
	struct err e;
	struct all all;
	ck_assert_int_eq(decode(&b, "{'env': {'A': 1}}", "", &all, &e), 1);
	ck_assert_str_eq(e.text, "env.A: must be a str, not int");
	ck_assert_int_eq(decode(&b, "1", "", &all, &e), 1);
	ck_assert_str_eq(e.text, "must be a map, not int");
	ck_assert_int_eq(decode(&b, "{'flag': 1}", "", &all, NULL), 1); /* without an err */
	struct field_opts opts = { .kinds = 2, .kind_name = "b" };
	buf_clear(&b);
	ck_assert_int_eq(
		field_decode_with(table, mp_text(&b, "{'mine': 1}"), &all, "m[0]", &opts, NULL, &e),
		1);
	ck_assert_str_eq(e.text, "m[0].other: required");
	buf_done(&b);
}
END_TEST

START_TEST(test_values)
{
	struct buf b = BUF_INIT;
	struct err e;
	struct all a;
	ck_assert_int_eq(decode(&b,
				"{'flag': false, 'number': nil, 'duration': 0.25, 'octal': '0644', "
				"'utf8': b'\\xc3\\xa4',"
				" 'name': '\xc3\xa4 b', 'name0': '', 'label': 'x-1', 'bytes': "
				"b'\\x00', 'path': 'a/b', 'off': false,"
				" 'color': 'blue', 'colors': ['red', 'blue'], 'op': 3, 'ints': "
				"[1.0], 'mine': 4, 'ignored': [1],"
				" 'env': {'A': nil, 'B': b'\\xff'}, 'map': [], 'push': ['m', []]}",
				"", &a, &e),
			 0);
	ck_assert(a.has_flag && !a.flag && !a.has_number);
	ck_assert_int_eq(a.number, -7);
	ck_assert_int_eq(a.duration, 250);
	ck_assert_int_eq(a.octal, 0644);
	ck_assert(slice_is(a.utf8, "\xc3\xa4"));
	ck_assert(a.name0.p && a.name0.len == 0);
	ck_assert_int_eq(a.bytes.len, 1);
	ck_assert_int_eq(a.off, 0);
	ck_assert_int_eq(a.color, 2);
	ck_assert_uint_eq(a.colors, 5);
	ck_assert_int_eq(a.op.index, 3);
	ck_assert_ptr_null(a.op.id.p);
	ck_assert_int_eq(a.only_a, 4);
	ck_assert_int_eq(a.only_b, 0);
	ck_assert_int_eq(array_count(a.push), 2);
	ck_assert_int_eq(array_count(a.names), 0);
	ck_assert_int_eq(
		decode(&b, "{'op': 'x', 'colors': 'green', 'duration': '1h30m', 'number': 2.0}", "",
		       &a, &e),
		0);
	ck_assert(slice_is(a.op.id, "x"));
	ck_assert_uint_eq(a.colors, 2);
	ck_assert_int_eq(a.duration, 5400000);
	ck_assert_int_eq(a.number, 2);
	ck_assert(a.has_number);
	ck_assert_int_eq(decode(&b, "{'op': '12', 'duration': 0.0000001}", "", &a, &e), 0);
	ck_assert_int_eq(a.op.index, 12);
	ck_assert_int_eq(a.duration, 1); /* not 0, which is "none" */
	ck_assert_int_eq(decode(&b, "{'duration': '0s'}", "", &a, &e), 0);
	ck_assert_int_eq(a.duration, 0);
	ck_assert_int_eq(decode(&b, "[]", "", &a, &e), 0); /* Lua's empty table */
	buf_done(&b);
}
END_TEST

START_TEST(test_sizes)
{
	struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	struct err e;
	struct all a;
	static char big[LIMIT_STRING_BYTES + 1];
	static const struct {
		const char *key;
		size_t good;
	} sizes[] = { { "name", LIMIT_NAME_BYTES },
		      { "label", LIMIT_NAME_BYTES },
		      { "path", LIMIT_PATH_BYTES } };
	memset(big, 'x', sizeof(big));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (size_t more = 0; more <= 1; more++) {
			struct field_opts opts = { .kinds = 1, .kind_name = "a" };
			buf_clear(&b);
			pk_map(&pk);
			pk_kstr(&pk, sizes[i].key, slice_of(big, sizes[i].good + more));
			pk_end(&pk);
			ck_assert_int_eq(
				field_decode_with(table, buf_slice(&b), &a, "", &opts, NULL, &e),
				(int)more);
			if (more)
				ck_assert_int_eq(e.sym, E_LIMIT);
		}
	buf_done(&b);
}
END_TEST

/* Many keys go another way than few. */
START_TEST(test_many_keys)
{
	for (int twice = 0; twice <= 1; twice++) {
		struct buf b = BUF_INIT;
		struct pk pk = PK_INIT(&b);
		struct err e;
		pk_map(&pk);
		for (int i = 0; i < 100; i++) {
			char key[16];
			snprintf(key, sizeof(key), "k%d", i == 99 && twice ? 17 : i);
			pk_kint(&pk, key, i);
		}
		pk_end(&pk);
		ck_assert_int_eq(value_check(buf_slice(&b), 8, "meta", &e), twice);
		if (twice)
			ck_assert_str_eq(e.text, "meta.k17: given twice");
		buf_done(&b);
	}
}
END_TEST

/* However deep the place, what is left of the text is text. */
START_TEST(test_long_place)
{
	struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	struct err e;
	for (int i = 0; i < 30; i++) {
		pk_map(&pk);
		pk_keyslice(&pk, slice_str("x\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3"
					   "\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
					   "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3"
					   "\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"));
	}
	pk_int(&pk, INT64_MAX);
	for (int i = 0; i < 30; i++)
		pk_end(&pk);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(value_check(buf_slice(&b), 32, &"...."[i], &e), 1);
		ck_assert(utf8_valid(slice_str(e.text)));
		ck_assert_uint_gt(strlen(e.text), sizeof(e.text) - 8);
	}
	buf_done(&b);
}
END_TEST

START_TEST(test_check_raw)
{
	struct err e;
	ck_assert_int_eq(value_check(slice_of("\xcb\x7f\xf8\0\0\0\0\0\0", 9), 8, "v", &e), 1);
	ck_assert_str_eq(e.text, "v: must not be NaN or infinite");
	ck_assert_int_eq(value_check(slice_of("\x81\x01\x02", 3), 8, "v", &e), 1);
	ck_assert_str_eq(e.text, "v: keys must be str, not int");
	ck_assert_int_eq(
		value_check(slice_of("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9), 8, "v", &e), 1);
	ck_assert_int_eq(value_check(slice_of("\xd4\x01\x01", 3), 8, "v", &e), 1);
	ck_assert_int_eq(value_check(slice_of("\x91\x91\x90", 3), 3, "v", &e), 0);
	ck_assert_int_eq(value_check(slice_of("\x91\x91\x90", 3), 2, "v", &e), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("field");
	TCase *t = tcase_create("field");
	tcase_add_loop_test(t, test_refusals, 0, (int)ARRAY_SIZE(refusals));
	tcase_add_test(t, test_places);
	tcase_add_test(t, test_values);
	tcase_add_test(t, test_sizes);
	tcase_add_test(t, test_many_keys);
	tcase_add_test(t, test_check_raw);
	tcase_add_test(t, test_long_place);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
