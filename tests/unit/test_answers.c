/* Answers kept in memory: found for the same question and revision alone, and bounded. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "common/xalloc.h"
#include "daemon/rpc/answers.h"
#include "daemon/rpc/peer.h"

static struct answers *a;

static void setup(void)
{
	a = answers_new();
}

static void teardown(void)
{
	a = answers_free(a);
	ck_assert_ptr_null(a);
}

static void expect(const char *key, uint64_t rev, const char *want)
{
	struct shared *s = answers_find(a, slice_str(key), rev);

	if (!want)
		ck_assert_msg(!s, "'%s' of %d was kept", key, (int)rev);
	else
		ck_assert_msg(s && slice_is(slice_of(s->bytes, s->len), want), "'%s' of %d", key,
			      (int)rev);
}

static void keep(const char *key, uint64_t rev, const char *result)
{
	answers_keep(a, slice_str(key), rev, slice_str(result));
}

START_TEST(an_answer_is_of_one_question_and_revision)
{
	expect("k", 1, NULL);
	keep("k", 1, "one");
	keep("kk", 1, "other");
	expect("k", 1, "one");
	expect("kk", 1, "other");
	expect("k", 2, NULL);
	keep("k", 2, "two");
	expect("k", 1, NULL);
	expect("k", 2, "two");
	expect("kk", 1, "other");
}
END_TEST

START_TEST(what_changes_is_not_kept)
{
	keep("k", 0, "x");
	expect("k", 0, NULL);
	answers_keep(NULL, slice_str("k"), 1, slice_str("x"));
}
END_TEST

START_TEST(who_is_sent_an_answer_has_it_after_it_went)
{
	keep("k", 1, "one");
	struct shared *s = shared_ref(answers_find(a, slice_str("k"), 1));
	keep("k", 2, "two");
	ck_assert(slice_is(slice_of(s->bytes, s->len), "one"));
	shared_unref(s);
}
END_TEST

/* What was asked for lately stays, whatever else comes. */
START_TEST(there_is_an_end_to_what_is_kept)
{
	enum { N = 300 };
	_cleanup_free_ char *bytes = xcalloc(1, ANSWERS_EACH_BYTES);
	char key[16];
	unsigned kept = 0;

	keep("k", 1, "one");
	for (int i = 0; i < N; i++) {
		snprintf(key, sizeof(key), "%d", i);
		answers_keep(a, slice_str(key), 1, slice_of(bytes, ANSWERS_MAX_BYTES / 100));
		expect("k", 1, "one");
	}
	for (int i = 0; i < N; i++) {
		snprintf(key, sizeof(key), "%d", i);
		if (answers_find(a, slice_str(key), 1)) {
			ck_assert_int_ge(i, N - 100);
			kept++;
		}
	}
	ck_assert_uint_ge(kept, 90);
	answers_keep(a, slice_str("long"), 1, slice_of(bytes, ANSWERS_EACH_BYTES));
	expect("long", 1, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("answers");
	TCase *t = tcase_create("answers");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, an_answer_is_of_one_question_and_revision);
	tcase_add_test(t, what_changes_is_not_kept);
	tcase_add_test(t, who_is_sent_an_answer_has_it_after_it_went);
	tcase_add_test(t, there_is_an_end_to_what_is_kept);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
