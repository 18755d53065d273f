/* common/: the small things everything stands on. */
#include <check.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/log_limit.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/timeutil.h"

static const struct {
	const char *text;
	int64_t ms;
} durations[] = {
	{ "500ms", 500 },    { "90s", 90000 },	   { "10m", 600000 }, { "1h30m", 5400000 },
	{ "2d", 172800000 }, { "1.5s", 1500 },	   { "7", 7000 },     { "0.25", 250 },
	{ "0", 0 },	     { "1m1s1ms", 61001 }, { "", -1 },	      { "s", -1 },
	{ "5x", -1 },	     { "-5s", -1 },	   { "1h30", -1 },    { "99999999d", -1 },
	{ "1 s", -1 },	     { "1..5s", -1 },
};

START_TEST(duration)
{
	int64_t ms = -1;
	bool good = duration_parse(slice_str(durations[_i].text), &ms);
	ck_assert_msg(good == (durations[_i].ms >= 0), "'%s'", durations[_i].text);
	ck_assert_int_eq(ms, durations[_i].ms);
}
END_TEST

static const struct {
	const char *base, *path, *want;
} paths[] = {
	{ "/a/b", "c", "/a/b/c" },
	{ "/a/b", "../c", "/a/c" },
	{ "/a", "../../../x", "/x" },
	{ "/a", "/b//c/./d/", "/b/c/d" },
	{ "/", "", "/" },
	{ "/a/b/", ".", "/a/b" },
	{ "/a", "..", "/" },
	{ "/a/b", "..c/...", "/a/b/..c/..." },
};

START_TEST(normal_path)
{
	struct buf b = BUF_INIT;
	path_normal(&b, slice_str(paths[_i].base), slice_str(paths[_i].path));
	ck_assert_str_eq(buf_str(&b), paths[_i].want);
	buf_done(&b);
}
END_TEST

static const struct {
	const char *bytes;
	bool valid;
} texts[] = {
	{ "", true },
	{ "abc", true },
	{ "\xc3\xa9", true },
	{ "\xe2\x82\xac", true },
	{ "\xf0\x9f\x98\x80", true },
	{ "\xc0\x80", false },
	{ "\xed\xa0\x80", false },
	{ "\xf4\x90\x80\x80", false },
	{ "\xff", false },
	{ "a\xc3", false },
	{ "\x80", false },
	{ "\xe0\x80\x80", false },
};

START_TEST(utf8)
{
	ck_assert_int_eq(utf8_valid(slice_str(texts[_i].bytes)), texts[_i].valid);
}
END_TEST

static const struct {
	const char *text;
	bool good;
	int64_t value;
} numbers[] = {
	{ "0", true, 0 },
	{ "-1", true, -1 },
	{ "9007199254740992", true, INT64_C(1) << 53 },
	{ "", false, 0 },
	{ "-", false, 0 },
	{ "1x", false, 0 },
	{ "99999999999999999999", false, 0 },
	{ "+1", false, 0 },
};

START_TEST(number)
{
	int64_t v = 0;
	ck_assert_int_eq(
		parse_int(slice_str(numbers[_i].text), -(INT64_C(1) << 53), INT64_C(1) << 53, &v),
		numbers[_i].good);
	ck_assert_int_eq(v, numbers[_i].value);
}
END_TEST

START_TEST(one_line_is_cut_and_clean)
{
	struct buf b = BUF_INIT;
	text_one_line(&b, slice_str("a\nb\tc\x1b[31m\xff"), 100);
	ck_assert_str_eq(buf_str(&b), "a\\nb\\tc\\x1b[31m\\xff");
	buf_clear(&b);
	text_one_line(&b, slice_str("0123456789012345678901234567890"), 20);
	ck_assert(b.len <= 20 && utf8_valid(buf_slice(&b)));
	buf_done(&b);
}
END_TEST

START_TEST(buffer_grows_and_consumes)
{
	struct buf b = BUF_INIT;
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%d,", i);
	ck_assert_uint_eq(b.len, 3890);
	buf_consume(&b, 2);
	ck_assert_int_eq(b.p[0], '1');
	char *s = buf_steal(&b);
	ck_assert_ptr_null(b.p);
	ck_assert_uint_eq(strlen(s), 3888);
	free(s);
}
END_TEST

START_TEST(log_lines_are_limited)
{
	struct log_limit l = { .what = "test" };
	for (int i = 0; i < LOG_LIMIT_AT_ONCE; i++)
		ck_assert(log_limit_take(&l, 5000));
	ck_assert(!log_limit_take(&l, 5999));
	ck_assert(!log_limit_take(&l, 5999));
	ck_assert_uint_eq(l.left_out, 2);
	ck_assert(log_limit_take(&l, 6999)); /* one a second */
	ck_assert_uint_eq(l.left_out, 0);
	ck_assert(!log_limit_take(&l, 6999));
	ck_assert(log_limit_take(&l, 7000));
	for (int i = 0; i < LOG_LIMIT_AT_ONCE; i++)
		ck_assert(log_limit_take(&l, 7000 + 1000 * (LOG_LIMIT_AT_ONCE + 1)));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common");
	TCase *t = tcase_create("all");
	tcase_add_loop_test(t, duration, 0, sizeof(durations) / sizeof(durations[0]));
	tcase_add_loop_test(t, normal_path, 0, sizeof(paths) / sizeof(paths[0]));
	tcase_add_loop_test(t, utf8, 0, sizeof(texts) / sizeof(texts[0]));
	tcase_add_loop_test(t, number, 0, sizeof(numbers) / sizeof(numbers[0]));
	tcase_add_test(t, one_line_is_cut_and_clean);
	tcase_add_test(t, buffer_grows_and_consumes);
	tcase_add_test(t, log_lines_are_limited);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
