#include "client/report.h"

#include <inttypes.h>
#include <unistd.h>

#include "client/term.h"
#include "common/fd.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define REPORT_FAILURES 10 /* told in full; the rest is counted */
#define REPORT_LINES 10
#define REPORT_LINES_AT_ONCE 3
#define REPORT_LINE_BYTES 400
#define REPORT_SERVICES 8  /* passed over when the longest op is looked for */
#define REPORT_SKIPPED 100 /* looked at for a skipped one, of a run of very many */

/* What a cause alone says; those with a number or a name are told by report_cause. */
static const struct {
	const char *cause, *text;
} cause_texts[] = {
	{ "timeout", "timed out" },
	{ "start", "could not start" },
	{ "conflict", "conflict" },
	{ "io", "could not read or write" },
	{ "dependency", "what it needs did not succeed" },
	{ "limit", "over a limit" },
	{ "cancel", "cancelled" },
	{ "lost", "nobody can know how it ended" },
	{ "reused", "taken over from an earlier run" },
};

void report_cause(struct buf *b, struct slice state, struct slice cause, int64_t exit,
		  struct slice signal, struct slice error)
{
	const char *text = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(cause_texts); i++)
		if (slice_is(cause, cause_texts[i].cause))
			text = cause_texts[i].text;
	if (slice_is(cause, "exit") && exit >= 0)
		buf_addf(b, "exit %" PRId64, exit);
	else if (slice_is(cause, "signal") && signal.p)
		buf_addf(b, "killed by %.*s", SLICE_FMT(signal));
	else if (text)
		buf_adds(b, text);
	else
		text_one_line(b, cause.p ? cause : state, 40);
	if (error.len) {
		buf_adds(b, ": ");
		text_one_line(b, error, 300);
	}
}

void report_closing(struct buf *b, struct slice run, int64_t ops)
{
	struct slice summary = mp_find(run, "summary");
	int64_t wall = mp_get_int(summary, "wall_ms", 0),
		serial = mp_get_int(summary, "serial_ms", 0);
	ops = mp_get_int(summary, "ops", ops);
	buf_addf(b, "%" PRId64 " op%s in ", ops, PLURAL(ops));
	duration_human(b, wall);
	/* Less is no gain of running side by side: the ops were not what took the time. */
	if (ops > 1 && serial > 0 && serial * 20 >= wall * 19) {
		buf_adds(b, "; one after another: ");
		duration_human(b, serial);
		buf_addf(b, " (%.1fx)", (double)serial / (double)MAX2(wall, 1));
	}
}

struct report {
	struct ctx *c;
	struct slice run;
	int64_t id;
	struct buf b;
};

static void report_print(struct report *r)
{
	if (fd_write_all(STDERR_FILENO, r->b.p, r->b.len) < 0)
		r->c->quiet = true; /* nobody left to tell */
	buf_done(&r->b);
}

static int64_t report_int(const struct report *r, const char *key)
{
	return mp_get_int(mp_find(r->run, "summary"), key, 0);
}

static void report_count(struct report *r, const char *key, const char *word, bool *first)
{
	int64_t n = report_int(r, key);
	if (n == 0)
		return;
	buf_addf(&r->b, "%s%" PRId64 " %s", *first ? ": " : ", ", n, word);
	*first = false;
}

/* Why ops were skipped, where it is not for those that failed: the first of them tells. */
static void report_skipped(struct report *r, const struct run_view *v)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	uint32_t first = 1;
	while (v && first < v->n_ops && v->ops[first - 1].state != VIEW_SKIPPED)
		first++;
	pk_map(&pk);
	pk_kint(&pk, "run", r->id);
	pk_kint(&pk, "offset", first);
	pk_kint(&pk, "limit", v ? 1 : REPORT_SKIPPED);
	pk_end(&pk);
	if (report_int(r, "skipped") == 0 || ctx_try(r->c, "run.get", &params, &reply, &e) != 0)
		return;
	struct mp m = mp_of(mp_find(buf_slice(&reply), "ops"));
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice op = mp_skip(&m), state = mp_get_str(op, "state"),
			     cause = mp_get_str(op, "cause"), error = mp_get_str(op, "error");
		if (!slice_is(state, "skipped"))
			continue;
		if (error.len || !(slice_is(cause, "dependency") || slice_is(cause, "cancel"))) {
			buf_adds(&r->b, ": ");
			report_cause(&r->b, state, cause, -1, SLICE_NONE, error);
		}
		return;
	}
}

static void report_head(struct report *r, const struct run_view *v)
{
	struct slice state = mp_get_str(r->run, "state"), name = mp_get_str(r->run, "name");
	bool on = r->c->color_err, first = true;
	buf_addf(&r->b, "run %" PRId64, r->id);
	if (name.len) {
		buf_adds(&r->b, " (");
		text_one_line(&r->b, name, 80);
		buf_addc(&r->b, ')');
	}
	buf_addc(&r->b, ' ');
	term_color(&r->b, on, state_color(state));
	text_one_line(&r->b, state, 20);
	term_color(&r->b, on, COLOR_NONE);
	report_count(r, "failed", "failed", &first);
	report_count(r, "interrupted", "interrupted", &first);
	report_count(r, "cancelled", "cancelled", &first);
	report_count(r, "skipped", "skipped", &first);
	report_skipped(r, v);
	buf_addc(&r->b, '\n');
}

static bool report_is_service(struct report *r, uint32_t index)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	pk_map(&pk);
	pk_kint(&pk, "run", r->id);
	pk_kint(&pk, "offset", index);
	pk_kint(&pk, "limit", 1);
	pk_end(&pk);
	if (ctx_try(r->c, "run.plan", &params, &reply, &e))
		return false;
	struct mp m = mp_of(mp_find(buf_slice(&reply), "ops"));
	return mp_next(&m).count > 0 && mp_get_bool(mp_skip(&m), "background");
}

/* One order of all: of those that took as long, the first is the longer. */
static bool op_view_is_longer(const struct op_view *a, const struct op_view *b)
{
	int64_t x = op_view_ms(a), y = op_view_ms(b);
	return x > y || (x == y && a->index < b->index);
}

/* The longest of those that are not as long as `below` (NULL: of all). */
static const struct op_view *report_next_longest(struct run_view *v, const struct op_view *below)
{
	const struct op_view *longest = NULL;
	for (uint32_t i = 1; i <= v->n_ops; i++) {
		const struct op_view *o = run_view_op(v, i);
		if (!o || op_view_ms(o) < 0 || (below && !op_view_is_longer(below, o)))
			continue;
		if (!longest || op_view_is_longer(o, longest))
			longest = o;
	}
	return longest;
}

/* The op most of the time went into, where there were several and it is worth a line. A service
 * lasts as long as the others do. */
static void report_longest(struct report *r, struct run_view *v)
{
	const struct op_view *longest = NULL;
	int64_t most = 0;
	char number[16];
	for (int n = 0; v && v->n_ops > 1 && n <= REPORT_SERVICES; n++) {
		longest = report_next_longest(v, longest);
		most = longest ? op_view_ms(longest) : 0;
		if (most * 10 < report_int(r, "wall_ms") || most < 100)
			return;
		if (!report_is_service(r, longest->index))
			break;
	}
	if (!longest)
		return;
	buf_addf(&r->b, "longest: op %s, ", op_view_label(longest, number));
	duration_human(&r->b, most);
	buf_adds(&r->b, ": ");
	text_one_line(&r->b, slice_str(longest->text ? longest->text : ""), 100);
	buf_addc(&r->b, '\n');
}

/* A line of output with its tabs as blanks: behind our margin they would not reach their columns.
 */
static void report_line(struct report *r, struct slice line)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	for (size_t i = 0; i < line.len && text.len <= REPORT_LINE_BYTES; i++) {
		buf_addc(&text, line.p[i] == '\t' ? ' ' : line.p[i]);
		while (line.p[i] == '\t' && term_width(buf_slice(&text)) % 8)
			buf_addc(&text, ' ');
	}
	buf_adds(&r->b, "    | ");
	text_one_line(&r->b, buf_slice(&text), REPORT_LINE_BYTES);
	buf_addc(&r->b, '\n');
}

/* The last lines of one op, each on its own line and harmless to a terminal. */
static void report_tail(struct report *r, int64_t index, int lines)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	pk_map(&pk);
	pk_kint(&pk, "run", r->id);
	pk_kint(&pk, "op", index);
	pk_kint(&pk, "lines", lines);
	pk_end(&pk);
	int failed = ctx_try(r->c, "run.output", &params, &reply, &e);
	if (failed > 0)
		buf_addf(&r->b, "    (%s)\n", e.text);
	if (failed)
		return;
	struct slice data = mp_get_str(buf_slice(&reply), "data");
	while (data.len) {
		const char *nl = memchr(data.p, '\n', data.len);
		size_t n = nl ? (size_t)(nl - data.p) : data.len;
		report_line(r, slice_of(data.p, n));
		data = slice_of(data.p + n + (nl != NULL), data.len - n - (nl != NULL));
	}
}

static void report_failure(struct report *r, struct slice op)
{
	struct slice todo = mp_get_str(op, "todo"), id = mp_get_str(op, "id"),
		     state = mp_get_str(op, "state");
	int64_t index = mp_get_int(op, "index", 0), ms = mp_get_int(op, "duration_ms", -1);
	buf_addf(&r->b, "\nop %" PRId64 ".", r->id);
	if (id.len)
		text_one_line(&r->b, id, 80);
	else
		buf_addf(&r->b, "%" PRId64, index);
	buf_adds(&r->b, " `");
	text_one_line(&r->b, mp_get_str(op, "text"), 160);
	buf_adds(&r->b, "` ");
	term_color(&r->b, r->c->color_err, COLOR_RED);
	report_cause(&r->b, state, mp_get_str(op, "cause"), mp_get_int(op, "exit", -1),
		     mp_get_str(op, "signal"), mp_get_str(op, "error"));
	term_color(&r->b, r->c->color_err, COLOR_NONE);
	if (ms >= 0) {
		buf_adds(&r->b, ", after ");
		duration_human(&r->b, ms);
	}
	if (todo.len) {
		buf_adds(&r->b, "; held up: todo '");
		text_one_line(&r->b, todo, 80);
		buf_addc(&r->b, '\'');
	}
	buf_addc(&r->b, '\n');
	report_tail(r, index, REPORT_LINES);
}

void report_op(struct ctx *c, int64_t run, const struct op_view *o)
{
	struct report r = { .c = c, .id = run, .b = BUF_INIT };
	char number[16];
	term_color(&r.b, c->color_err, COLOR_RED);
	buf_addf(&r.b, "\xe2\x9c\x97 %" PRId64 ".", run); /* U+2717 */
	text_one_line(&r.b, slice_str(op_view_label(o, number)), 40);
	buf_addc(&r.b, ' ');
	report_cause(&r.b, slice_str(view_state_names[o->state]), slice_str(o->cause), o->exit,
		     slice_str(o->signal), slice_str(o->error));
	term_color(&r.b, c->color_err, COLOR_NONE);
	buf_adds(&r.b, "  ");
	text_one_line(&r.b, slice_str(o->text ? o->text : ""), 120);
	buf_addc(&r.b, '\n');
	report_tail(&r, o->index, REPORT_LINES_AT_ONCE);
	report_print(&r);
}

void report_op_tail(struct ctx *c, int64_t run, uint32_t index)
{
	struct report r = { .c = c, .id = run, .b = BUF_INIT };
	report_tail(&r, index, REPORT_LINES_AT_ONCE);
	report_print(&r);
}

static void report_failures(struct report *r)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	pk_map(&pk);
	pk_kint(&pk, "run", r->id);
	pk_kstr(&pk, "ops", slice_str("failed"));
	pk_kint(&pk, "limit", REPORT_FAILURES);
	pk_end(&pk);
	if (ctx_try(r->c, "run.get", &params, &reply, &e) != 0)
		return;
	struct slice ops = mp_find(buf_slice(&reply), "ops");
	struct mp m = mp_of(ops);
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++)
		report_failure(r, mp_skip(&m));
	int64_t more = report_int(r, "failed") + report_int(r, "interrupted") - REPORT_FAILURES;
	if (more > 0)
		buf_addf(&r->b, "\n%" PRId64 " more: batchctl status %" PRId64 "\n", more, r->id);
	if (report_int(r, "failed") + report_int(r, "interrupted") + report_int(r, "cancelled") +
		    report_int(r, "skipped") >
	    0)
		buf_addf(&r->b, "\nretry just that: batchctl restart --failed %" PRId64 "\n",
			 r->id);
}

void report_run(struct ctx *c, struct slice run, struct run_view *v)
{
	struct report r = { .c = c, .run = run, .id = mp_get_int(run, "run", 0), .b = BUF_INIT };
	if (c->quiet)
		return;
	bool well = slice_is(mp_get_str(run, "state"), "succeeded");
	if (!well)
		report_head(&r, v);
	report_closing(&r.b, run, 0);
	buf_addc(&r.b, '\n');
	report_longest(&r, v);
	if (!well)
		report_failures(&r);
	report_print(&r);
}
