/* Reading in place: every head there is, values that are cut, look-ups. */
#include <check.h>
#include <math.h>

#include "proto/mp.h"
#include "tests/unit/mp_text.h"

static const struct {
	const char *bytes;
	size_t len;
	struct mp_value want;
} heads[] = {
#define ROW(bytes, ...)                                                                            \
	{                                                                                          \
		bytes, sizeof(bytes) - 1,                                                          \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
	ROW("\x00", .type = MP_INT, .i = 0),
	ROW("\x7f", .type = MP_INT, .i = 127),
	ROW("\xe0", .type = MP_INT, .i = -32),
	ROW("\xff", .type = MP_INT, .i = -1),
	ROW("\xcc\xff", .type = MP_INT, .i = 255),
	ROW("\xcd\xff\xfe", .type = MP_INT, .i = 65534),
	ROW("\xce\xff\xff\xff\xff", .type = MP_INT, .i = UINT32_MAX),
	ROW("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", .type = MP_INT, .i = INT64_MAX),
	ROW("\xcf\x80\x00\x00\x00\x00\x00\x00\x00", .type = MP_UINT64, .u = UINT64_C(1) << 63),
	ROW("\xd0\x80", .type = MP_INT, .i = -128),
	ROW("\xd0\x7f", .type = MP_INT, .i = 127),
	ROW("\xd1\x80\x00", .type = MP_INT, .i = -32768),
	ROW("\xd2\x80\x00\x00\x00", .type = MP_INT, .i = INT32_MIN),
	ROW("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", .type = MP_INT, .i = INT64_MIN),
	ROW("\xc0", .type = MP_NIL),
	ROW("\xc2", .type = MP_BOOL, .b = false),
	ROW("\xc3", .type = MP_BOOL, .b = true),
	ROW("\xca\x3f\x00\x00\x00", .type = MP_FLOAT, .f = 0.5),
	ROW("\xcb\xbf\xe0\x00\x00\x00\x00\x00\x00", .type = MP_FLOAT, .f = -0.5),
	ROW("\x8f", .type = MP_MAP, .count = 15),
	ROW("\xde\x01\x02", .type = MP_MAP, .count = 258),
	ROW("\xdf\x01\x02\x03\x04", .type = MP_MAP, .count = 0x01020304),
	ROW("\x9f", .type = MP_ARRAY, .count = 15),
	ROW("\xdc\x01\x02", .type = MP_ARRAY, .count = 258),
	ROW("\xdd\x01\x02\x03\x04", .type = MP_ARRAY, .count = 0x01020304),
#undef ROW
};

START_TEST(test_heads)
{
	struct mp m = { heads[_i].bytes, heads[_i].bytes + heads[_i].len };
	struct mp_value v = mp_next(&m);
	ck_assert_int_eq(v.type, heads[_i].want.type);
	if (v.type == MP_MAP || v.type == MP_ARRAY)
		ck_assert_uint_eq(v.count, heads[_i].want.count);
	else if (v.type == MP_FLOAT)
		ck_assert(v.f == heads[_i].want.f);
	else if (v.type == MP_BOOL)
		ck_assert_int_eq(v.b, heads[_i].want.b);
	else if (v.type != MP_NIL)
		ck_assert_int_eq(v.i, heads[_i].want.i);
	ck_assert_ptr_eq(m.p, m.end);
	for (size_t cut = 0; cut < heads[_i].len; cut++) {
		struct mp part = { heads[_i].bytes, heads[_i].bytes + cut };
		ck_assert_int_eq(mp_next(&part).type, MP_BAD);
		ck_assert_ptr_eq(part.p, heads[_i].bytes);
		ck_assert_int_eq(mp_head(heads[_i].bytes, heads[_i].bytes + cut, &v), 0);
	}
}
END_TEST

static const struct {
	const char *head;
	size_t head_len, len;
	enum mp_type type;
} bodies[] = {
	{ "\xa0", 1, 0, MP_STR },
	{ "\xbf", 1, 31, MP_STR },
	{ "\xd9\x20", 2, 32, MP_STR },
	{ "\xda\x01\x00", 3, 256, MP_STR },
	{ "\xdb\x00\x01\x00\x00", 5, 65536, MP_STR },
	{ "\xc4\x00", 2, 0, MP_BIN },
	{ "\xc5\x01\x00", 3, 256, MP_BIN },
	{ "\xc6\x00\x01\x00\x00", 5, 65536, MP_BIN },
	{ "\xc7\x05\x01", 3, 5, MP_EXT },
	{ "\xc8\x01\x00\x01", 4, 256, MP_EXT },
	{ "\xc9\x00\x01\x00\x00\x07", 6, 65536, MP_EXT },
	{ "\xd4\x01", 2, 1, MP_EXT },
	{ "\xd8\x01", 2, 16, MP_EXT },
};

START_TEST(test_bodies)
{
	struct buf b = BUF_INIT;
	buf_add(&b, bodies[_i].head, bodies[_i].head_len);
	for (size_t i = 0; i < bodies[_i].len; i++)
		buf_addc(&b, (char)i);
	struct mp m = mp_of(buf_slice(&b));
	struct mp_value v = mp_next(&m);
	ck_assert_int_eq(v.type, bodies[_i].type);
	ck_assert_uint_eq(v.bytes.len, bodies[_i].len);
	ck_assert_ptr_eq(v.bytes.p, b.p + bodies[_i].head_len);
	ck_assert_ptr_eq(m.p, m.end);
	m = mp_of(buf_slice(&b));
	ck_assert_uint_eq(mp_skip(&m).len, b.len);
	if (b.len > 1) {
		m = mp_of(slice_of(b.p, b.len - 1));
		ck_assert_int_eq(mp_next(&m).type, MP_BAD);
		ck_assert_ptr_null(mp_skip(&m).p);
		ck_assert_ptr_eq(m.p, m.end);
	}
	buf_done(&b);
}
END_TEST

START_TEST(test_skip)
{
	struct buf b = BUF_INIT;
	mp_text(&b, "{'a': [1, [2, {'x': nil}], 'str'], 'b': b'bin', 'c': 0.25}");
	struct slice whole = mp_text(&b, "[[], {}, [[[]]]]");
	mp_text(&b, "7");
	struct mp m = mp_of(buf_slice(&b));
	struct slice first = mp_skip(&m), second = mp_skip(&m);
	ck_assert_uint_eq(second.len, whole.len);
	ck_assert_ptr_eq(first.p + first.len, second.p);
	ck_assert_int_eq(mp_peek(&m), MP_INT);
	ck_assert_int_eq(mp_next(&m).i, 7);
	ck_assert_int_eq(mp_peek(&m), MP_BAD);
	ck_assert_ptr_null(mp_skip(&m).p);
	m = (struct mp){ "\x92\x01\xc1", NULL };
	m.end = m.p + 3;
	ck_assert_ptr_null(mp_skip(&m).p);
	buf_done(&b);
}
END_TEST

START_TEST(test_find)
{
	struct buf b = BUF_INIT;
	struct slice map = mp_text(
		&b,
		"{'a': 1, 'nil': nil, 'ab': [1, {'z': 2}], 'z': 'text', 't': true, 'bin': b'x'}");
	ck_assert_uint_eq(mp_find(map, "ab").len, 6);
	ck_assert_ptr_null(mp_find(map, "nil").p);
	ck_assert_ptr_null(mp_find(map, "none").p);
	ck_assert_int_eq(mp_get_int(map, "a", -1), 1);
	ck_assert_int_eq(mp_get_int(map, "z", -1), -1);
	ck_assert_int_eq(mp_get_int(map, "none", -1), -1);
	ck_assert(slice_is(mp_get_str(map, "z"), "text"));
	ck_assert(slice_is(mp_get_str(map, "bin"), "x"));
	ck_assert_ptr_null(mp_get_str(map, "a").p);
	ck_assert(mp_get_bool(map, "t"));
	ck_assert(!mp_get_bool(map, "a"));
	ck_assert_ptr_null(mp_find(slice_of("\x90", 1), "a").p);
	ck_assert_ptr_null(mp_find(SLICE_NONE, "a").p);
	ck_assert_ptr_null(mp_find(slice_of("\x81\x01\x02", 3), "a").p); /* a key that is no str */
	buf_done(&b);
}
END_TEST

START_TEST(test_bad)
{
	struct mp_value v;
	const char bad = (char)0xc1;
	ck_assert_int_eq(mp_head(&bad, &bad + 1, &v), -1);
	ck_assert_str_eq(mp_type_name(MP_UINT64), "int");
	ck_assert_str_eq(mp_type_name(MP_STR), "str");
}
END_TEST

START_TEST(test_depth)
{
	static const struct {
		const char *text;
		unsigned depth;
	} rows[] = { { "7", 0 },
		     { "[]", 1 },
		     { "{}", 1 },
		     { "[1, [], 2]", 2 },
		     { "{'a': {'b': [1, {}]}, 'c': []}", 4 },
		     { "[[[1]], [[[2]]], [3]]", 4 } };
	char deep[41];
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf b = BUF_INIT;
		ck_assert_uint_eq(mp_depth(mp_text(&b, rows[i].text)), rows[i].depth);
		buf_done(&b);
	}
	memset(deep, 0x91, sizeof(deep));
	deep[sizeof(deep) - 1] = (char)0xc0;
	ck_assert_uint_eq(mp_depth(slice_of(deep, sizeof(deep))), LIMIT_DEPTH_IN);
	ck_assert_uint_eq(mp_depth(slice_of("\x92\x90", 2)), 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mp");
	TCase *t = tcase_create("mp");
	tcase_add_loop_test(t, test_heads, 0, (int)ARRAY_SIZE(heads));
	tcase_add_loop_test(t, test_bodies, 0, (int)ARRAY_SIZE(bodies));
	tcase_add_test(t, test_skip);
	tcase_add_test(t, test_find);
	tcase_add_test(t, test_bad);
	tcase_add_test(t, test_depth);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
