/*
 * proto/PROTOCOL.md against the tables it tells of. What can be derived is: `test_protocol_doc
 * --print` writes the derived part, which stands between two marks in the document; and all that is
 * written by hand must name every method, error and limit.
 */
#include <check.h>
#include <stdio.h>

#include "common/fd.h"
#include "proto/batch.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/methods.h"

#define MARK_BEGIN "<!-- begin: derived from the tables -->\n"
#define MARK_END "<!-- end: derived from the tables -->\n"

static void add_type(struct buf *b, const struct field *f)
{
	buf_adds(b, field_type_name(f->type));
	if (f->type == FIELD_ENUM || f->type == FIELD_ENUMSET)
		for (const char *const *n = f->names; *n; n++)
			buf_addf(b, "%s`%s`", n == f->names ? " " : ", ", *n);
	if ((f->type == FIELD_INT || f->type == FIELD_INTS) && (f->min || f->max)) {
		buf_addf(b, ", %lld", (long long)f->min);
		if (f->max == LIMIT_INT)
			buf_adds(b, " or more");
		else
			buf_addf(b, " to %lld", (long long)f->max);
	}
	if (f->type == FIELD_OCTAL)
		buf_addf(b, " to %llo", (long long)f->max);
}

static void add_kinds(struct buf *b, const struct field *f)
{
	bool any = false;
	for (int k = 0; k < KIND_MAX; k++)
		if (f->kinds >> k & 1) {
			buf_addf(b, "%s%s", any ? ", " : "", op_kind_names[k]);
			any = true;
		}
	if (!any)
		buf_adds(b, "all");
}

static void add_table(struct buf *b, const struct field *table, bool kinds)
{
	buf_addf(b, "| key | type |%s what |\n|---|---|%s---|\n", kinds ? " kinds |" : "",
		 kinds ? "---|" : "");
	for (const struct field *f = table; f->name; f++) {
		buf_addf(b, "| `%s`%s | ", f->name, f->required ? " (required)" : "");
		add_type(b, f);
		buf_adds(b, " | ");
		if (kinds) {
			add_kinds(b, f);
			buf_adds(b, " | ");
		}
		buf_addf(b, "%s |\n", f->doc);
	}
}

static void add_method(struct buf *b, const struct method *m)
{
	buf_addf(b, "\n#### `%s`\n\n%s.", m->name, m->doc);
	if (m->flags & METHOD_NOTIFY_ONLY)
		buf_adds(b, " Only as a notification.");
	if (!m->fields[0].name) {
		buf_adds(b, " No params.\n");
		return;
	}
	buf_adds(b, "\n\n");
	add_table(b, m->fields, false);
}

static void derive(struct buf *b)
{
	static const struct {
		const char *title;
		const struct field *table;
		bool kinds;
	} shapes[] = {
		{ "Batch", batch_head_fields, false },
		{ "Message", batch_message_fields, false },
		{ "Op", batch_op_fields, true },
		{ "Todo item, as written", todo_item_fields, false },
	};
	buf_adds(b, MARK_BEGIN "\n### Params of the methods\n");
	for (int i = 0; i < METHOD_MAX; i++)
		add_method(b, &methods[i]);
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		buf_addf(b, "\n### %s\n\n", shapes[i].title);
		add_table(b, shapes[i].table, shapes[i].kinds);
	}
	buf_adds(b, "\n" MARK_END);
}

static void document(struct buf *b)
{
	ck_assert_int_eq(fd_read_file(PROTOCOL_MD, 1 << 20, b), 0);
}

START_TEST(test_derived)
{
	struct buf doc = BUF_INIT, want = BUF_INIT;
	document(&doc);
	derive(&want);
	const char *begin = strstr(buf_str(&doc), MARK_BEGIN),
		   *end = strstr(buf_str(&doc), MARK_END);
	ck_assert_msg(begin && end, "%s has no marks", PROTOCOL_MD);
	struct slice got = slice_of(begin, (size_t)(end - begin) + strlen(MARK_END));
	if (!slice_eq(got, buf_slice(&want))) {
		size_t at = 0, line = 1;
		for (; at < got.len && at < want.len && got.p[at] == want.p[at]; at++)
			line += got.p[at] == '\n';
		ck_abort_msg("%s differs from the tables at line %zu of the derived part: put "
			     "there what --print writes",
			     PROTOCOL_MD, line);
	}
	buf_done(&doc);
	buf_done(&want);
}
END_TEST

/* Outside the derived part: a result for every method, a meaning for every error, a number for
 * every limit of rpc.hello. */
START_TEST(test_by_hand)
{
	struct buf doc = BUF_INIT;
	char text[96];
	document(&doc);
	char *begin = strstr((char *)(uintptr_t)buf_str(&doc), MARK_BEGIN),
	     *end = strstr(begin, MARK_END);
	memset(begin, ' ', (size_t)(end - begin));
	for (int i = 0; i < METHOD_MAX; i++) {
		snprintf(text, sizeof(text), "\n| `%s` | ", methods[i].name);
		ck_assert_msg(strstr(doc.p, text), "no result of %s", methods[i].name);
	}
	for (int sym = E_NONE + 1; sym < E_SYMBOL_MAX; sym++) {
		snprintf(text, sizeof(text), "\n| `%s` | %d | ", err_symbol_name(sym),
			 err_symbol_is_callers(sym));
		ck_assert_msg(strstr(doc.p, text), "no meaning of %s", err_symbol_name(sym));
	}
	for (int k = 0; k < KIND_MAX; k++) {
		snprintf(text, sizeof(text), "`%s`", op_kind_names[k]);
		ck_assert_msg(strstr(doc.p, text), "nothing on kind %s", op_kind_names[k]);
	}
	buf_done(&doc);
}
END_TEST

static int print_derived(void)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	derive(&b);
	return fwrite(b.p, 1, b.len, stdout) == b.len ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--print") == 0)
		return print_derived();
	Suite *s = suite_create("protocol_doc");
	TCase *t = tcase_create("protocol_doc");
	tcase_add_test(t, test_derived);
	tcase_add_test(t, test_by_hand);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
