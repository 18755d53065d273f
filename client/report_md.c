#include <inttypes.h>

#include "client/html.h"
#include "client/report.h"
#include "client/report_html.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/mp.h"

#define MD_OPS 100     /* rows of the table */
#define MD_FAILURES 10 /* with their output */
#define MD_TAIL 4096
#define MD_PATH 20
#define MD_TEXT 160

/* The longest run of backticks. */
static size_t md_ticks(struct slice s)
{
	size_t most = 0, run = 0;
	for (size_t i = 0; i < s.len; i++) {
		run = s.p[i] == '`' ? run + 1 : 0;
		most = MAX2(most, run);
	}
	return most;
}

static void md_repeat(struct buf *b, char c, size_t n)
{
	while (n-- > 0)
		buf_addc(b, c);
}

/* A code span of one line: nothing in it can end it, nor (cell) a cell of a table. */
static void md_span(struct buf *b, struct slice text, bool cell)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	text_one_line(&line, text, MD_TEXT);
	size_t ticks = md_ticks(buf_slice(&line)) + 1;
	md_repeat(b, '`', ticks);
	buf_adds(b, ticks > 1 ? " " : "");
	for (size_t i = 0; i < line.len; i++) {
		if (cell && line.p[i] == '|')
			buf_addc(b, '\\');
		buf_addc(b, line.p[i]);
	}
	buf_adds(b, ticks > 1 ? " " : "");
	md_repeat(b, '`', ticks);
}

static void md_code(struct buf *b, struct slice text)
{
	md_span(b, text, false);
}

/* Words of others as words. */
static void md_text(struct buf *b, struct slice text)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	text_one_line(&line, text, 300);
	for (size_t i = 0; i < line.len; i++) {
		if (strchr("\\`*_[]<>|#&~", line.p[i]))
			buf_addc(b, '\\');
		buf_addc(b, line.p[i]);
	}
}

static void md_block(struct buf *b, struct slice text)
{
	_cleanup_buf_ struct buf plain = BUF_INIT;
	html_plain(&plain, text);
	size_t ticks = MAX2(md_ticks(buf_slice(&plain)) + 1, (size_t)3);
	md_repeat(b, '`', ticks);
	buf_adds(b, "text\n");
	buf_addslice(b, buf_slice(&plain));
	if (plain.len == 0 || plain.p[plain.len - 1] != '\n')
		buf_addc(b, '\n');
	md_repeat(b, '`', ticks);
	buf_addc(b, '\n');
}

static void md_name(const struct story *s, const struct story_op *o, struct buf *b)
{
	struct slice id = mp_get_str(o->op, "id");
	buf_addf(b, "%" PRId64 ".", s->run);
	if (id.len)
		text_one_line(b, id, 80);
	else
		buf_addf(b, "%" PRIu32, o->index);
}

static void md_head(const struct story *s, struct buf *b)
{
	struct slice name = mp_get_str(s->head, "name");
	buf_addf(b, "# Run %" PRId64, s->run);
	if (name.len) {
		buf_adds(b, " (");
		md_text(b, name);
		buf_addc(b, ')');
	}
	buf_adds(b, ": ");
	text_one_line(b, mp_get_str(s->head, "state"), 20);
	buf_adds(b, "\n\n");
	report_closing(b, s->head, s->total);
	buf_adds(b, ". In ");
	md_code(b, mp_get_str(s->head, "cwd"));
	buf_adds(b, ".\n");
}

/* The end of what it printed, and how to have all. */
static void md_output(const struct story *s, const struct story_op *o, struct buf *b)
{
	struct slice out = mp_find(o->op, "out"), head = mp_get_str(out, "head"),
		     tail = mp_get_str(out, "tail");
	struct slice shown = tail.len ? tail : head;
	int64_t bytes = mp_get_int(o->op, "stdout_bytes", 0) + mp_get_int(o->op, "stderr_bytes", 0);
	if (shown.len > MD_TAIL)
		shown = slice_of(shown.p + shown.len - MD_TAIL, MD_TAIL);
	if (shown.len == 0)
		return;
	if ((int64_t)shown.len < bytes) {
		buf_addf(b, "\nThe last %zu of %" PRId64 " bytes; all: `batchctl log ", shown.len,
			 bytes);
		md_name(s, o, b);
		buf_adds(b, "`\n");
	}
	buf_addc(b, '\n');
	md_block(b, shown);
}

static void md_failure(const struct story *s, const struct story_op *o, struct buf *b)
{
	_cleanup_buf_ struct buf why = BUF_INIT;
	struct slice todo = mp_get_str(o->op, "todo");
	report_op_why(o, &why);
	buf_adds(b, "\n### ");
	md_name(s, o, b);
	buf_addc(b, ' ');
	md_text(b, buf_slice(&why));
	buf_adds(b, "\n\n");
	md_code(b, mp_get_str(o->op, "text"));
	if (report_op_ms(o) >= 0) {
		buf_adds(b, " after ");
		duration_human(b, report_op_ms(o));
	}
	if (todo.len) {
		buf_adds(b, ", held up todo ");
		md_code(b, todo);
	}
	buf_addc(b, '\n');
	md_output(s, o, b);
}

static void md_failures(const struct story *s, struct buf *b)
{
	uint32_t told = 0, failed = 0;
	for (uint32_t i = 0; i < s->n; i++) {
		if (!report_op_failed(&s->ops[i]))
			continue;
		if (failed++ == 0)
			buf_adds(b, "\n## Failures\n");
		if (told < MD_FAILURES) {
			md_failure(s, &s->ops[i], b);
			told++;
		}
	}
	if (failed > told)
		buf_addf(b, "\n%" PRIu32 " more failed.\n", failed - told);
	if (failed > 0)
		buf_addf(
			b,
			"\nRun again what failed and what did not run: `batchctl restart --failed %" PRId64
			"`\n",
			s->run);
}

static void md_row(const struct story *s, const struct story_op *o, struct buf *b)
{
	_cleanup_buf_ struct buf why = BUF_INIT;
	report_op_why(o, &why);
	buf_adds(b, "| ");
	md_name(s, o, b);
	buf_adds(b, " | ");
	md_text(b, buf_slice(&why));
	buf_adds(b, " | ");
	if (report_op_ms(o) >= 0)
		duration_human(b, report_op_ms(o));
	buf_adds(b, " | ");
	md_span(b, mp_get_str(o->op, "text"), true);
	buf_adds(b, " |\n");
}

static void md_path(const struct story *s, struct buf *b)
{
	if (s->n_path < 2)
		return;
	buf_adds(b, "\n## Critical path\n\n| op | took | what |\n|---|---|---|\n");
	for (uint32_t i = 0; i < MIN2(s->n_path, (uint32_t)MD_PATH); i++) {
		const struct story_op *o = &s->ops[s->path[i]];
		buf_adds(b, "| ");
		md_name(s, o, b);
		buf_adds(b, " | ");
		duration_human(b, o->ended - o->started);
		buf_adds(b, " | ");
		md_span(b, mp_get_str(o->op, "text"), true);
		buf_adds(b, " |\n");
	}
	if (s->n_path > MD_PATH)
		buf_addf(b, "\nThe first %d of %" PRIu32 ".\n", MD_PATH, s->n_path);
}

static void md_ops(const struct story *s, struct buf *b)
{
	uint32_t shown = MIN2(s->n, (uint32_t)MD_OPS);
	buf_adds(b, "\n## Ops\n\n| op | state | took | what |\n|---|---|---|---|\n");
	for (uint32_t i = 0; i < shown; i++)
		md_row(s, &s->ops[i], b);
	if (shown < s->total)
		buf_addf(b,
			 "\nThe first %" PRIu32 " of %" PRIu32
			 " ops; all: `batchctl status %" PRId64 "`\n",
			 shown, s->total, s->run);
}

static void md_todos(struct slice todos, struct buf *b)
{
	struct mp m = mp_of(todos);
	struct mp_value list = mp_next(&m);
	if (!todos.p || list.type != MP_ARRAY || list.count == 0)
		return;
	buf_adds(b, "\n## Todos\n\n");
	for (uint32_t i = 0; i < list.count; i++) {
		struct slice item = mp_skip(&m), status = mp_get_str(item, "status"),
			     error = mp_get_str(item, "error");
		buf_adds(b, slice_is(status, "completed") ? "- [x] " : "- [ ] ");
		md_text(b, mp_get_str(item, "content"));
		buf_adds(b, " (");
		md_text(b, mp_get_str(item, "id"));
		buf_adds(b, ", ");
		md_text(b, status);
		if (error.len) {
			buf_adds(b, ": ");
			md_text(b, error);
		}
		buf_adds(b, ")\n");
	}
}

void report_markdown(const struct story *s, struct slice todos, struct buf *b)
{
	md_head(s, b);
	md_failures(s, b);
	md_path(s, b);
	md_todos(todos, b);
	md_ops(s, b);
}
