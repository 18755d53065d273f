#include <inttypes.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/model.h"
#include "client/report.h"
#include "client/selectors.h"
#include "client/term.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define RECENT_RUNS 10 /* ended ones, in the overview */

struct status_options {
	bool everywhere;
	const char *state, *group;
	struct opt_int limit;
};

#define STATUS_OPT(name, letter, type, field, ...)                                                 \
	{                                                                                          \
		name, letter, type, offsetof(struct status_options, field), __VA_ARGS__            \
	}

static const struct opt status_opts[] = {
	STATUS_OPT("everywhere", 0, OPT_FLAG, everywhere, NULL, "runs of all projects"),
	STATUS_OPT("state", 0, OPT_ENUM, state, "STATE", "only runs in that state", run_states),
	STATUS_OPT("group", 'g', OPT_STR, group, "GROUP", "only runs of that group"),
	STATUS_OPT("limit", 'n', OPT_INT, limit, "N", "at most N runs; default 100 and 10 ended",
		   NULL, 1, 1000),
	OPT_END,
};

/* ---- elements of both tables ---- */

static void put_state(struct buf *b, struct slice state, int cols, bool color)
{
	term_color(b, color, state_color(state));
	term_fit_bytes(b, state, cols, true);
	term_color(b, color, COLOR_NONE);
}

static void put_right(struct buf *b, const char *text, int cols)
{
	buf_addf(b, "%*s", cols, text);
}

static void put_time(struct buf *b, int64_t ms, bool known, int cols)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	if (known)
		duration_human(&text, MAX2(ms, 0));
	put_right(b, buf_str(&text), cols);
}

static int64_t run_elapsed(struct slice run)
{
	int64_t started = mp_get_int(run, "started", 0), ended = mp_get_int(run, "ended", 0);
	return started ? (ended ? ended : time_wall_ms()) - started : -1;
}

static void put_progress(struct buf *b, struct slice run, int cols)
{
	static const char *const ends[] = { "succeeded", "failed", "skipped", "cancelled",
					    "interrupted" };
	struct slice summary = mp_find(run, "summary");
	int64_t done = 0;
	char text[48];
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		done += mp_get_int(summary, ends[i], 0);
	snprintf(text, sizeof(text), "%" PRId64 "/%" PRId64, done, mp_get_int(summary, "ops", 0));
	put_right(b, text, cols);
}

/* ---- the overview ---- */

/* What a run without a name is known by: its first op. */
static void put_first_op(struct ctx *c, struct buf *b, int64_t run, int cols)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	pk_kint(&pk, "limit", 1);
	pk_end(&pk);
	if (ctx_try(c, "run.get", &params, &reply, &e) != 0)
		return;
	struct slice ops = mp_find(buf_slice(&reply), "ops");
	struct mp m = mp_of(ops);
	struct mp_value list = mp_next(&m);
	if (list.type == MP_ARRAY && list.count)
		term_fit_bytes(b, mp_get_str(mp_skip(&m), "text"), cols, false);
}

static void put_run(struct ctx *c, struct buf *b, struct slice run, int cols)
{
	struct slice name = mp_get_str(run, "name");
	int64_t ms = run_elapsed(run), id = mp_get_int(run, "run", 0);
	buf_addf(b, "%6" PRId64 "  ", id);
	put_state(b, mp_get_str(run, "state"), 11, c->color_out);
	put_progress(b, run, 9);
	put_time(b, ms, ms >= 0, 10);
	buf_adds(b, "  ");
	if (name.len)
		term_fit_bytes(b, name, cols - 42, false);
	else
		put_first_op(c, b, id, cols - 42);
	buf_addc(b, '\n');
}

static bool run_is_active(struct slice run)
{
	return !view_ended(view_state_of(mp_get_str(run, "state")));
}

static int print_overview(struct ctx *c, struct slice runs, const struct status_options *o)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct mp m = mp_of(runs);
	struct mp_value list = mp_next(&m);
	int cols, rows, ended = 0, hidden = 0;
	bool all = o->state || o->limit.set;
	uint32_t n = list.type == MP_ARRAY ? list.count : 0;
	term_size(STDOUT_FILENO, &cols, &rows);
	if (n == 0) {
		note(c, "no runs%s",
		     o->everywhere ? "" : " in this project: --everywhere shows all");
		return EXIT_OK;
	}
	term_color(&b, c->color_out, COLOR_DIM);
	buf_adds(&b, "   RUN  STATE            OPS      TIME  NAME");
	term_color(&b, c->color_out, COLOR_NONE);
	buf_addc(&b, '\n');
	for (uint32_t i = 0; i < n; i++) {
		struct slice run = mp_skip(&m);
		if (all || run_is_active(run) || ended++ < RECENT_RUNS)
			put_run(c, &b, run, cols);
		else
			hidden++;
	}
	int status = ctx_print(c, &b);
	if (hidden && status == EXIT_OK)
		note(c, "%d older: `batchctl status -n 100`", hidden);
	return status;
}

static int status_overview(struct ctx *c, const struct status_options *o)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	_cleanup_free_ char *project = o->everywhere ? NULL : ctx_project();
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	if (project)
		pk_ktext(&pk, "project", slice_str(project));
	if (o->state)
		pk_kstr(&pk, "state", slice_str(o->state));
	if (o->group)
		pk_ktext(&pk, "group", slice_str(o->group));
	if (o->limit.set)
		pk_kint(&pk, "limit", o->limit.v);
	pk_end(&pk);
	int status = ctx_call(c, "run.list", &params, &reply);
	if (status)
		return status;
	if (c->json)
		return ctx_print_json(c, buf_slice(&reply));
	return print_overview(c, mp_find(buf_slice(&reply), "runs"), o);
}

/* ---- runs with their ops ---- */

static void put_op(struct ctx *c, struct buf *b, struct slice op, int cols)
{
	struct slice id = mp_get_str(op, "id"), state = mp_get_str(op, "state"),
		     error = mp_get_str(op, "error");
	struct slice cause = mp_get_str(op, "cause");
	int64_t ms = mp_get_int(op, "duration_ms", -1), started = mp_get_int(op, "started", 0);
	_cleanup_buf_ struct buf text = BUF_INIT;
	if (ms < 0 && started && slice_is(state, "running"))
		ms = time_wall_ms() - started;
	buf_addf(b, "%6" PRId64 "  ", mp_get_int(op, "index", 0));
	put_state(b, state, 11, c->color_out);
	put_time(b, ms, ms >= 0, 10);
	buf_adds(b, "  ");
	if (id.len) {
		text_one_line(&text, id, 80);
		buf_adds(&text, ": ");
	}
	text_one_line(&text, mp_get_str(op, "text"), 400);
	term_fit(b, buf_slice(&text), cols - 33, false);
	buf_addc(b, '\n');
	if (!cause.len && !error.len)
		return;
	buf_clear(&text);
	buf_addf(&text, "%*s", 33, "");
	report_cause(&text, state, cause, mp_get_int(op, "exit", -1), mp_get_str(op, "signal"),
		     error);
	term_color(b, c->color_out, COLOR_DIM);
	term_fit(b, buf_slice(&text), cols, false);
	term_color(b, c->color_out, COLOR_NONE);
	buf_addc(b, '\n');
}

/* "message 2: tests" before the first op of a message, where there are several. */
static void put_message(struct ctx *c, struct buf *b, struct slice messages, int64_t index)
{
	struct mp m = mp_of(messages);
	struct mp_value list = mp_next(&m);
	if (list.type != MP_ARRAY || list.count < 2)
		return;
	term_color(b, c->color_out, COLOR_BOLD);
	buf_addf(b, "message %" PRId64, index);
	for (uint32_t i = 0; i < list.count; i++) {
		struct slice one = mp_skip(&m), name = mp_get_str(one, "name");
		if (mp_get_int(one, "index", 0) != index || !name.len)
			continue;
		buf_adds(b, ": ");
		text_one_line(b, name, 120);
	}
	term_color(b, c->color_out, COLOR_NONE);
	buf_addc(b, '\n');
}

static void put_head(struct ctx *c, struct buf *b, struct slice run)
{
	struct slice name = mp_get_str(run, "name"), cwd = mp_get_str(run, "cwd");
	int64_t ms = run_elapsed(run);
	buf_addf(b, "run %" PRId64 "  ", mp_get_int(run, "run", 0));
	term_color(b, c->color_out, state_color(mp_get_str(run, "state")));
	text_one_line(b, mp_get_str(run, "state"), 20);
	term_color(b, c->color_out, COLOR_NONE);
	buf_adds(b, "  ");
	put_progress(b, run, 0);
	buf_adds(b, " ops");
	if (ms >= 0) {
		buf_adds(b, "  ");
		duration_human(b, ms);
	}
	if (name.len) {
		buf_adds(b, "  ");
		text_one_line(b, name, 200);
	}
	buf_adds(b, "\n  in ");
	text_one_line(b, cwd, 400);
	buf_addc(b, '\n');
}

/* Is it the op that was asked for by index or id? NULL: every one is. */
static bool op_is(struct slice one, const char *op)
{
	int64_t index;
	if (!op)
		return true;
	if (parse_int(slice_str(op), 0, INT64_MAX, &index))
		return mp_get_int(one, "index", 0) == index;
	return slice_is(mp_get_str(one, "id"), op);
}

/* One page of a run's ops. *next: where the following begins, 0: nowhere. */
static int status_page(struct ctx *c, int64_t run, const char *op, int64_t *next, int64_t *message,
		       struct buf *json)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, b = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	int cols, rows;
	bool first = *next == 0, found = !op;
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	if (!first)
		pk_kint(&pk, "offset", *next);
	pk_end(&pk);
	int status = ctx_call(c, "run.get", &params, &reply);
	if (status)
		return status;
	struct slice r = buf_slice(&reply), messages = mp_find(r, "messages");
	int64_t following = mp_get_int(r, "next", 0);
	*next = following > *next ? following : 0;
	if (json) {
		buf_addslice(json, r);
		return EXIT_OK;
	}
	term_size(STDOUT_FILENO, &cols, &rows);
	if (first)
		put_head(c, &b, r);
	struct slice ops = mp_find(r, "ops");
	struct mp m = mp_of(ops);
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice one = mp_skip(&m);
		if (!op_is(one, op))
			continue;
		found = true;
		if (mp_get_int(one, "message", 0) != *message)
			put_message(c, &b, messages, *message = mp_get_int(one, "message", 0));
		put_op(c, &b, one, cols);
	}
	if (!found && *next == 0)
		return selector_no_op(c, run, op);
	return ctx_print(c, &b);
}

static int status_run(struct ctx *c, const struct selected *s)
{
	int64_t next = 0, message = 0;
	do {
		int status = status_page(c, s->run, s->op, &next, &message, NULL);
		if (status)
			return status;
	} while (next);
	return EXIT_OK;
}

/* Each run with its ops, or with the one asked for, all pages as one. */
static int status_json(struct ctx *c, const struct selection *sel)
{
	_cleanup_buf_ struct buf all = BUF_INIT;
	struct pk pk = PK_INIT(&all);
	pk_map(&pk);
	pk_key(&pk, "runs");
	pk_array(&pk);
	for (size_t i = 0; i < sel->n; i++) {
		_cleanup_buf_ struct buf first = BUF_INIT, ops = BUF_INIT;
		struct pk op = PK_INIT(&ops);
		int64_t next = 0;
		bool found = !sel->v[i].op;
		pk_array(&op);
		do {
			_cleanup_buf_ struct buf page = BUF_INIT;
			int64_t message = 0;
			int status = status_page(c, sel->v[i].run, NULL, &next, &message, &page);
			if (status)
				return status;
			if (!first.len)
				buf_addslice(&first, buf_slice(&page));
			struct slice list = mp_find(buf_slice(&page), "ops");
			struct mp m = mp_of(list);
			struct mp_value v = mp_next(&m);
			for (uint32_t k = 0; v.type == MP_ARRAY && k < v.count; k++) {
				struct slice one = mp_skip(&m);
				if (!op_is(one, sel->v[i].op))
					continue;
				found = true;
				pk_raw(&op, one);
			}
		} while (next);
		if (!found)
			return selector_no_op(c, sel->v[i].run, sel->v[i].op);
		pk_end(&op);
		struct mp m = mp_of(buf_slice(&first));
		struct mp_value map = mp_next(&m);
		pk_map(&pk);
		for (uint32_t k = 0; map.type == MP_MAP && k < map.count; k++) {
			struct slice key = mp_next(&m).bytes, value = mp_skip(&m);
			pk_keyslice(&pk, key);
			if (slice_is(key, "ops"))
				pk_raw(&pk, buf_slice(&ops));
			else if (slice_is(key, "next"))
				pk_nil(&pk);
			else
				pk_raw(&pk, value);
		}
		pk_end(&pk);
	}
	pk_end(&pk);
	pk_end(&pk);
	return ctx_print_json(c, buf_slice(&all));
}

static int verb_status(struct ctx *c, void *options)
{
	struct status_options *o = options;
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	struct selector how = {
		.words = c->argv, .n = c->argc, .everywhere = o->everywhere, .ops = true
	};
	int status = ctx_connect(c, CTX_MAY_START);
	if (status)
		return status;
	if (c->argc == 0)
		return status_overview(c, o);
	status = selection_resolve(c, &how, &sel);
	if (status == EXIT_OK && c->json)
		return status_json(c, &sel);
	for (size_t i = 0; status == EXIT_OK && i < sel.n; i++)
		status = status_run(c, &sel.v[i]);
	return status;
}

const struct verb cmd_status = {
	.name = "status",
	.run = verb_status,
	.usage = "[RUN[.OP]...]",
	.help = "the running and recent runs; with RUN: its ops",
	.more = "RUN is a number, a name, 'last', 'all' or a range as in 3-7,9.\n\n"
		"  batchctl status last\n"
		"  batchctl status --json --state failed --everywhere\n",
	.options = status_opts,
	.options_size = sizeof(struct status_options),
	.max_args = -1,
};
