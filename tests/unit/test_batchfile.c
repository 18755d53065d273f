/* Batch files of every kind, by content, against the cases in tests/data/notation. */
#include "client/batchfile.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>

#include "client/json.h"
#include "client/notation.h"
#include "common/fd.h"
#include "tests/unit/notation_cases.h"

#define CASES TEST_DATA "/notation"

/* NAME.suffix of a case; empty (and *ret_there false) where there is no such file. */
static void read_case(const char *name, const char *suffix, struct buf *b, bool *ret_there)
{
	char path[512];
	snprintf(path, sizeof(path), CASES "/%s.%s", name, suffix);
	*ret_there = fd_read_file(path, 1 << 20, b) == 0;
}

static void assert_equal(const char *name, const char *how, const json_t *is, const json_t *should)
{
	struct buf a = BUF_INIT, b = BUF_INIT;
	if (json_equal(is, should))
		return;
	json_print(is, JSON_PRETTY, &a);
	json_print(should, JSON_PRETTY, &b);
	ck_abort_msg("%s (%s) is\n%s\nbut should be\n%s", name, how, buf_str(&a), buf_str(&b));
}

static json_t *parse_as(const char *name, const char *how, struct slice text,
			const struct reading *reading)
{
	json_t *batch;
	struct err e = ERR_INIT;
	if (batchfile_parse(name, text, reading, &batch, &e))
		ck_abort_msg("%s (%s) is refused: %s\n%.*s", name, how, e.text, SLICE_FMT(text));
	return batch;
}

/* The batch survives being written in each of the other forms and read again. */
static void check_other_forms(const char *name, const json_t *batch)
{
	static const struct reading plain;
	struct buf notation = BUF_INIT, json = BUF_INIT, packed = BUF_INIT;
	struct err e = ERR_INIT;
	notation_print(batch, &notation);
	json_print(batch, JSON_LINE, &json);
	ck_assert_int_eq(json_to_mp(batch, &packed, &e), 0);
	const struct {
		const char *how;
		struct buf *b;
	} forms[] = { { "as notation", &notation },
		      { "as JSON", &json },
		      { "as MessagePack", &packed } };
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		json_t *again = parse_as(name, forms[i].how, buf_slice(forms[i].b), &plain);
		assert_equal(name, forms[i].how, again, batch);
		json_decref(again);
		buf_done(forms[i].b);
	}
}

static void check_batch(const char *name, struct slice in, struct slice expected)
{
	json_t *should, *batch = parse_as(name, "given", in, notation_case_reading(name));
	struct err e = ERR_INIT;
	ck_assert_msg(json_read(expected, name, &should, &e) == 0, "%s", e.text);
	assert_equal(name, "given", batch, should);
	check_other_forms(name, batch);
	json_decref(batch);
	json_decref(should);
}

static void check_error(const char *name, struct slice in, struct buf *lines)
{
	json_t *batch;
	struct err e = ERR_INIT;
	char *rest = (char *)buf_str(lines), *line, file[256];
	snprintf(file, sizeof(file), "%s.in", name);
	ck_assert_msg(batchfile_parse(file, in, notation_case_reading(name), &batch, &e) != 0,
		      "%s is not refused", name);
	while ((line = strsep(&rest, "\n")) && *line)
		ck_assert_msg(strstr(e.text, line), "%s: the error is\n%s\nbut should hold\n%s",
			      name, e.text, line);
}

static void check_case(const char *name)
{
	struct buf in = BUF_INIT, json = BUF_INIT, err = BUF_INIT;
	bool is_json, is_err, is_in;
	read_case(name, "in", &in, &is_in);
	read_case(name, "json", &json, &is_json);
	read_case(name, "err", &err, &is_err);
	ck_assert_msg(is_in && is_json != is_err, "%s: an .in and one of .json and .err", name);
	if (is_json)
		check_batch(name, buf_slice(&in), buf_slice(&json));
	else
		check_error(name, buf_slice(&in), &err);
	buf_done(&in);
	buf_done(&json);
	buf_done(&err);
}

START_TEST(cases)
{
	struct dirent **names;
	int n = scandir(CASES, &names, NULL, alphasort), done = 0;
	ck_assert_int_ge(n, 0);
	for (int i = 0; i < n; i++) {
		char *dot = strrchr(names[i]->d_name, '.');
		if (dot && strcmp(dot, ".in") == 0) {
			*dot = '\0';
			check_case(names[i]->d_name);
			done++;
		}
		free(names[i]);
	}
	free(names);
	ck_assert_int_ge(done, 90);
}
END_TEST

/* Each case's options belong to a case there is. */
START_TEST(case_names)
{
	for (size_t i = 0; i < ARRAY_SIZE(notation_cases); i++) {
		struct buf b = BUF_INIT;
		bool there;
		read_case(notation_cases[i].name, "in", &b, &there);
		ck_assert_msg(there, "%s", notation_cases[i].name);
		buf_done(&b);
	}
}
END_TEST

static const char batch_text[] =
	"{\"messages\": [{\"ops\": [{\"kind\": \"bash\", \"command\": \"x\"}]}]}";

static void refuse(struct slice text, const char *what)
{
	static const struct reading plain;
	struct err e = ERR_INIT;
	json_t *batch;
	ck_assert_msg(batchfile_parse("f", text, &plain, &batch, &e) != 0, "%s", what);
	ck_assert_msg(strstr(e.text, what), "%s does not say %s", e.text, what);
}

START_TEST(msgpack_refusals)
{
	struct buf packed = BUF_INIT;
	json_t *batch = json_loads(batch_text, 0, NULL);
	ck_assert_int_eq(json_to_mp(batch, &packed, NULL), 0);
	refuse(slice_of(packed.p, packed.len - 1), "ends too soon");
	buf_addc(&packed, 0);
	refuse(buf_slice(&packed), "1 byte after");
	refuse(slice_str("\x81\xc1"), "f: MessagePack");
	/* Both keys are "a". */
	refuse(slice_of("\x82\xa1\x61\x01\xa1\x61\x02", 7), "twice");
	refuse(slice_of("\x81\xa1\xff\x01", 4), "UTF-8");
	refuse(slice_of("\x81\xa1\x61\xcb\x7f\xf8\0\0\0\0\0\0", 12), "NaN");
	refuse(slice_of("\x81\xa1\x61\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 12), "2^53");
	buf_done(&packed);
	json_decref(batch);
}
END_TEST

/* U+0780 begins with the byte of a map16, an odd beginning for a text, but one. */
START_TEST(text_is_no_msgpack)
{
	refuse(slice_str("\xde\x80 words"), "no op found");
}
END_TEST

START_TEST(marks_and_blanks)
{
	static const struct reading plain;
	struct buf b = BUF_INIT;
	buf_adds(&b, "\xef\xbb\xbf \r\n\t");
	buf_adds(&b, batch_text);
	buf_adds(&b, "\n\n");
	json_decref(parse_as("mark", "JSON", buf_slice(&b), &plain));
	json_decref(parse_as("mark", "notation",
			     slice_str("\xef\xbb\xbf"
				       "Bash('x')"),
			     &plain));
	buf_done(&b);
}
END_TEST

START_TEST(sizes)
{
	struct buf b = BUF_INIT;
	while (b.len <= 8 << 20)
		buf_adds(&b, "// a comment that says little, but says it at length\n");
	refuse(buf_slice(&b), "the limit is 8388608");
	while (b.len <= 64 << 20) {
		buf_reserve(&b, b.len);
		buf_add(&b, b.p, b.len);
	}
	b.p[0] = '{';
	refuse(buf_slice(&b), "the limit is 67108864");
	buf_done(&b);
}
END_TEST

START_TEST(files)
{
	static const struct reading plain;
	struct err e = ERR_INIT;
	json_t *batch;
	ck_assert_int_ne(batchfile_read("/nonexistent/file", &plain, &batch, &e), 0);
	ck_assert_ptr_nonnull(strstr(e.text, "cannot read '/nonexistent/file'"));
	ck_assert_msg(batchfile_read(CASES "/v01-numbered.in", &plain, &batch, &e) == 0, "%s",
		      e.text);
	json_decref(batch);
}
END_TEST

/* Wrong defines are told apart from wrong batches. */
START_TEST(defines)
{
	static const struct {
		const char *define, *error;
	} rows[] = {
		{ "novalue", "--define 'novalue': write NAME=TEXT" },
		{ "=x", "--define '=x'" },
		{ "a=@/nonexistent", "--define a: cannot read '/nonexistent'" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *v[] = { rows[i].define };
		struct reading how = { .define = { v, 1 } };
		struct err e = ERR_INIT;
		json_t *batch;
		ck_assert_int_ne(batchfile_parse("f", slice_str("Bash('x')"), &how, &batch, &e), 0);
		ck_assert_msg(strstr(e.text, rows[i].error), "%s", e.text);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("batchfile");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	tcase_add_test(tc, cases);
	tcase_add_test(tc, case_names);
	tcase_add_test(tc, msgpack_refusals);
	tcase_add_test(tc, text_is_no_msgpack);
	tcase_add_test(tc, marks_and_blanks);
	tcase_add_test(tc, sizes);
	tcase_add_test(tc, files);
	tcase_add_test(tc, defines);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
