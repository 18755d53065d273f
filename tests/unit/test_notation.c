/* The notation: printing and reading back, what is skipped and told of, places, and that nothing
 * costs its square. */
#include "client/notation.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/batchfile.h"
#include "client/json.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "tests/unit/random_batch.h"

#include <check.h> /* last: it takes the name `fail` */

static void assert_equal(const char *how, uint64_t seed, const json_t *is, const json_t *should,
			 struct buf *text)
{
	struct buf a = BUF_INIT, b = BUF_INIT;
	if (json_equal(is, should))
		return;
	json_print(is, JSON_PRETTY, &a);
	json_print(should, JSON_PRETTY, &b);
	ck_abort_msg("seed %llu, %s:\n%s\nis read as\n%s\nbut should be\n%s",
		     (unsigned long long)seed, how, buf_str(text), buf_str(&a), buf_str(&b));
}

static void check_read_back(const char *how, uint64_t seed, const json_t *batch, struct buf *text,
			    const struct reading *reading)
{
	json_t *again;
	struct err e = ERR_INIT;
	if (batchfile_parse("f", buf_slice(text), reading, &again, &e))
		ck_abort_msg("seed %llu, %s: %s\n%s", (unsigned long long)seed, how, e.text,
			     buf_str(text));
	assert_equal(how, seed, again, batch, text);
	json_decref(again);
}

/* Also inside of a markdown document, where no line of a string may be taken for the end of the
 * block. */
static void wrap_in_fence(struct buf *text)
{
	struct buf doc = BUF_INIT;
	buf_adds(&doc, "# Plan\n\n``````````\n");
	buf_addslice(&doc, buf_slice(text));
	buf_adds(&doc, "\n``````````\n");
	buf_done(text);
	*text = doc;
}

static void check_seed(uint64_t seed)
{
	static const struct reading plain, lax = { .skip_unknown = true, .allow_template = true };
	struct buf json = BUF_INIT, notation = BUF_INIT;
	json_t *batch = rnd_batch(seed);
	json_print(batch, JSON_PRETTY, &json);
	check_read_back("JSON", seed, batch, &json, &plain);
	notation_print(batch, &notation);
	check_read_back("notation", seed, batch, &notation, &plain);
	check_read_back("lax", seed, batch, &notation, &lax);
	wrap_in_fence(&notation);
	check_read_back("markdown", seed, batch, &notation, &plain);
	buf_done(&json);
	buf_done(&notation);
	json_decref(batch);
}

START_TEST(print_and_read_back)
{
	for (uint64_t seed = 0; seed < 1000; seed++)
		check_seed(seed);
}
END_TEST

/* Each pair of awkward pieces, as the whole of a string. */
START_TEST(every_pair_of_pieces)
{
	static const struct reading plain;
	for (size_t i = 0; i < ARRAY_SIZE(rnd_pieces); i++) {
		json_t *ops = json_array();
		for (size_t j = 0; j < ARRAY_SIZE(rnd_pieces) + ARRAY_SIZE(rnd_controls); j++) {
			bool piece = j < ARRAY_SIZE(rnd_pieces);
			const char *other =
				piece ? rnd_pieces[j] : rnd_controls[j - ARRAY_SIZE(rnd_pieces)];
			char *text = xasprintf("%s%s", rnd_pieces[i], other),
			     *back = xasprintf("%s%s", other, rnd_pieces[i]);
			json_array_append_new(
				ops, json_pack("{s:s, s:s}", "kind", "bash", "command", text));
			json_array_append_new(
				ops, json_pack("{s:s, s:s}", "kind", "bash", "command", back));
			free(text);
			free(back);
		}
		json_t *batch = json_pack("{s:[{s:o}]}", "messages", "ops", ops);
		struct buf notation = BUF_INIT;
		notation_print(batch, &notation);
		check_read_back("notation", i, batch, &notation, &plain);
		buf_done(&notation);
		json_decref(batch);
	}
}
END_TEST

START_TEST(canonical)
{
	static const char json[] =
		"{\"name\": \"n\", \"timeout\": 7200, \"messages\": [{\"name\": \"First one\", "
		"\"ops\": ["
		"{\"kind\": \"bash\", \"command\": \"echo \\\"hi\\\"\", \"id\": \"a\", "
		"\"timeout\": \"5m\"},"
		"{\"kind\": \"write\", \"path\": \"p\", \"content\": \"one\\ntwo `x` ${y}\\n\"}]},"
		"{\"always\": true, \"ops\": [{\"kind\": \"exec\", \"argv\": [\"ls\", \"-l\"]}]}]}";
	static const char should[] = "Batch { name: \"n\", timeout: (7200) }\n"
				     "\n"
				     "[First one]:\n"
				     "  Bash(\"echo \\\"hi\\\"\", { id: \"a\", timeout: \"5m\" })\n"
				     "  Write(\"p\", `one\ntwo \\`x\\` \\${y}\n`)\n"
				     "\n"
				     "Message 2 { always: true }:\n"
				     "  Exec([\"ls\", \"-l\"])\n";
	json_t *batch = json_loads(json, 0, NULL);
	struct buf out = BUF_INIT;
	notation_print(batch, &out);
	ck_assert_str_eq(buf_str(&out), should);
	buf_done(&out);
	json_decref(batch);
}
END_TEST

/* ---- what is told ---- */

static void gather(void *arg, const char *line)
{
	buf_addf(arg, "%s\n", line);
}

START_TEST(skipped_is_told)
{
	struct buf told = BUF_INIT;
	struct notation_options o = { .skip_unknown = true, .notice = gather, .notice_arg = &told };
	struct err e = ERR_INIT;
	json_t *batch;
	const char *text = "[A b]:\n  Task(\"x\", {\n    y: 1 })\n  Bash(\"a\"); LS(\"/\"), "
			   "Bash(\"b\")\n  \xc3\xa9 stray\n";
	ck_assert_msg(notation_parse("f", slice_str(text), &o, &batch, NULL, &e) == 0, "%s",
		      e.text);
	ck_assert_str_eq(buf_str(&told), "f:2:3: skipped: Task(\"x\", {\\n    y: 1 })\n"
					 "f:4:14: skipped: LS(\"/\")\n"
					 "f:5:3: skipped: \xc3\xa9 stray\n");
	ck_assert_uint_eq(json_array_size(json_object_get(
				  json_array_get(json_object_get(batch, "messages"), 0), "ops")),
			  2);
	json_decref(batch);
	buf_done(&told);
}
END_TEST

/* More names than an error holds are all told, each with its place. */
START_TEST(many_unbound)
{
	struct buf told = BUF_INIT, text = BUF_INIT;
	struct notation_options o = { .notice = gather, .notice_arg = &told };
	struct err e = ERR_INIT;
	json_t *batch;
	for (int i = 0; i < 200; i++)
		buf_addf(&text, "Write(\"f%d\", content%d)\n", i, i);
	ck_assert_int_ne(notation_parse("f", buf_slice(&text), &o, &batch, NULL, &e), 0);
	ck_assert_ptr_nonnull(strstr(e.text, "f:1:13: 200 names are not bound: content0 (1:13), "));
	ck_assert_ptr_nonnull(strstr(buf_str(&told), "content199 (200:15)"));
	ck_assert_ptr_nonnull(strstr(buf_str(&told), "content0 (1:13), content1 (2:13), "));
	buf_done(&told);
	buf_done(&text);
}
END_TEST

/* ---- cost ---- */

static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds_to_parse(struct buf *text, bool *ret_good)
{
	struct buf told = BUF_INIT;
	struct notation_options options = { .notice = gather, .notice_arg = &told };
	struct err e = ERR_INIT;
	json_t *batch = NULL;
	double from = cpu_seconds();
	*ret_good = notation_parse("f", buf_slice(text), &options, &batch, NULL, &e) == 0;
	double took = cpu_seconds() - from;
	json_decref(batch);
	buf_done(&told);
	return took;
}

static double seconds_to_parse_row(const char *first, const char *repeat, size_t size,
				   bool *ret_good)
{
	struct buf text = BUF_INIT;
	buf_adds(&text, first);
	while (text.len + strlen(repeat) <= size)
		buf_adds(&text, repeat);
	double took = seconds_to_parse(&text, ret_good);
	buf_done(&text);
	return took;
}

/* Eight times the text takes about eight times as long; a step that looks at the rest of the text
 * each time takes 64 times. */
START_TEST(cost_is_linear)
{
	static const struct {
		const char *first, *repeat;
		bool good;
	} rows[] = {
		{ "",
		  "Bash(\"echo some command or other, as they are; with words\", { timeout: \"5m\" "
		  "})\n",
		  true },
		{ "", "Bash(\"a\"), ", true },
		{ "", "Bash(\"\n", false },
		{ "", "Task(\"\n", false },
		{ "", "[a b] {\n", false },
		{ "", "Foo(x\n", false },
		{ "Bash(\"x\", { meta: { a: [", "0,", false },
		{ "Bash(\"x\", { meta: { a: \"\"", " + \"line\\n\"", false },
		{ "", "Write(\"a\", b)\n", false },
		{ "", "const a = 1\n", false },
		{ "", "a prose ' line\n", false },
		{ "```\n", "Bash(\"x\n", false },
		{ "```\n", "[a b] {\n", false },
		{ "", "```\nBash('x')\n```\n", true },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool good;
		double one = seconds_to_parse_row(rows[i].first, rows[i].repeat, 64 << 10, &good);
		double eight =
			seconds_to_parse_row(rows[i].first, rows[i].repeat, 512 << 10, &good);
		ck_assert_msg(eight < 24 * one + 0.5, "%zu: %s takes %.2f s, then %.2f s", i,
			      rows[i].repeat, one, eight);
		ck_assert_msg(good == rows[i].good, "%zu: %s", i, rows[i].repeat);
	}
}
END_TEST

/* References that double what they stand for end in an error, not in all the memory there is. */
START_TEST(bombs)
{
	static const char *const steps[] = { "const a%d = [a%d, a%d, a%d, a%d]\n",
					     "const a%d = a%d + a%d + a%d + a%d\n",
					     "const a%d = [a%d, a%d, a%d, a%d].join()\n",
					     "const a%d = JSON.stringify([a%d, a%d, a%d, a%d])\n" };
	for (size_t s = 0; s < ARRAY_SIZE(steps); s++) {
		struct buf text = BUF_INIT;
		bool good;
		buf_adds(&text, "const a0 = \"0123456789\"\n");
		for (int i = 1; i < 28; i++)
			buf_addf(&text, steps[s], i, i - 1, i - 1, i - 1, i - 1);
		buf_adds(&text, "Bash(\"x\", { meta: { a: a27 } })\n");
		seconds_to_parse(&text, &good);
		ck_assert(!good);
		buf_done(&text);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("notation");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	suite_add_tcase(s, tc);
	tcase_add_test(tc, print_and_read_back);
	tcase_add_test(tc, every_pair_of_pieces);
	tcase_add_test(tc, canonical);
	tcase_add_test(tc, skipped_is_told);
	tcase_add_test(tc, many_unbound);
	tcase_add_test(tc, cost_is_linear);
	tcase_add_test(tc, bombs);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
