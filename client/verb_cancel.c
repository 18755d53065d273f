#include <inttypes.h>

#include "client/batch_build.h"
#include "client/ctx.h"
#include "client/progress.h"
#include "client/selectors.h"
#include "client/signals.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/mp.h"
#include "proto/pack.h"

/* cancel, pause, resume, restart and clean: one request for each run that was chosen, and a line
 * that says which. */
struct act_options {
	const char *signal;
	bool now, freeze, failed, everywhere, wait, output;
	struct opt_int grace;
};

#define ACT_OPT(name, letter, type, field, ...)                                                    \
	{                                                                                          \
		name, letter, type, offsetof(struct act_options, field), __VA_ARGS__               \
	}
#define ACT_EVERYWHERE ACT_OPT("everywhere", 0, OPT_FLAG, everywhere, NULL, "runs of all projects")

/* What a verb adds to the params of one run. */
typedef void (*act_params_fn)(struct pk *pk, const struct act_options *o);

struct act {
	const char *method;
	const char *done; /* "cancelled" */
	act_params_fn params;
	bool new_run; /* the result is {run}: a new one */
	bool silent;  /* another document will be printed */
};

/* The line for people: what was chosen and what became of it. */
static void act_line(struct buf *b, const struct act *a, const struct selected *s,
		     struct slice result)
{
	struct slice name = mp_get_str(result, "name");
	if (a->new_run) {
		buf_addf(b, "%" PRId64 "\n", mp_get_int(result, "run", 0));
		return;
	}
	buf_addf(b, "%s %s%" PRId64, a->done, s->op ? "op " : "run ", s->run);
	if (s->op)
		buf_addf(b, ".%s", s->op);
	if (name.len) {
		buf_adds(b, " (");
		text_one_line(b, name, 200);
		buf_addc(b, ')');
	}
	buf_addc(b, '\n');
}

static int act_one(struct ctx *c, const struct act *a, const struct act_options *o,
		   const struct selected *s, struct buf *result)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", s->run);
	if (s->op)
		selector_pack_op(&pk, "op", s->op);
	if (a->params)
		a->params(&pk, o);
	pk_end(&pk);
	return ctx_call(c, a->method, &params, result);
}

/* The results under --json: of one run asked for as it came, else {"runs": [...]}. */
static int act_print_json(struct ctx *c, const struct selection *sel, const struct buf *results,
			  size_t n)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	if (sel->one)
		return ctx_print_json(c, buf_slice(&results[0]));
	pk_map(&pk);
	pk_key(&pk, "runs");
	pk_array(&pk);
	for (size_t i = 0; i < n; i++)
		pk_raw(&pk, buf_slice(&results[i]));
	pk_end(&pk);
	pk_end(&pk);
	return ctx_print_json(c, buf_slice(&b));
}

/* All of the selection; one that fails is reported and the others still done. `ids` (may be NULL)
 * gets the runs of the results. */
static int act_all(struct ctx *c, const struct act *a, const struct act_options *o,
		   const struct selection *sel, int64_t *ids)
{
	struct buf *results = xcalloc(sel->n + 1, sizeof(*results));
	_cleanup_buf_ struct buf lines = BUF_INIT;
	size_t n = 0;
	int status = EXIT_OK;
	for (size_t i = 0; i < sel->n; i++) {
		int one = act_one(c, a, o, &sel->v[i], &results[n]);
		if (one == EXIT_OK) {
			act_line(&lines, a, &sel->v[i], buf_slice(&results[n]));
			ctx_warnings(c, buf_slice(&results[n]));
			if (ids)
				ids[n] = mp_get_int(buf_slice(&results[n]), "run", 0);
			n++;
		} else if (status == EXIT_OK) {
			status = one;
		}
	}
	if (sel->n == 0)
		note(c, "no run to choose");
	int printed = EXIT_OK;
	if (a->silent)
		printed = EXIT_OK;
	else if (!c->json)
		printed = ctx_print(c, &lines);
	else if (n || !sel->one)
		printed = act_print_json(c, sel, results, n);
	ctx_print_changed(c, printed,
			  a->new_run ? "it was restarted all the same, as run"
				     : "it was done all the same:",
			  &lines);
	for (size_t i = 0; i < sel->n; i++)
		buf_done(&results[i]);
	free(results);
	return status ? status : printed;
}

static int act_select(struct ctx *c, const struct act_options *o, enum selector_none none, bool ops,
		      enum selector_which which, enum ctx_start start, struct selection *ret)
{
	struct selector how = { .words = c->argv,
				.n = c->argc,
				.none = none,
				.everywhere = o->everywhere,
				.ops = ops,
				.all = which,
				.range = which };
	int status = ctx_connect(c, start);
	return status ? status : selection_resolve(c, &how, ret);
}

/* ---- cancel ---- */

static const struct opt cancel_opts[] = {
	ACT_OPT("signal", 's', OPT_STR, signal, "SIG", "send only that signal; -9 is -s 9",
		.digits = true),
	ACT_OPT("now", 0, OPT_FLAG, now, NULL, "`always` messages do not run either"),
	ACT_OPT("grace", 0, OPT_DURATION, grace, "D", "from TERM to KILL; default 5s"),
	ACT_EVERYWHERE,
	OPT_END,
};

static void cancel_params(struct pk *pk, const struct act_options *o)
{
	if (o->signal)
		pk_kstr(pk, "signal", slice_str(signals_name(signals_number(o->signal))));
	if (o->now)
		pk_kbool(pk, "now", true);
	if (o->grace.set) {
		char ms[32];
		snprintf(ms, sizeof(ms), "%" PRId64 "ms", o->grace.v);
		pk_kstr(pk, "grace", slice_str(ms));
	}
}

static int verb_cancel(struct ctx *c, void *options)
{
	struct act_options *o = options;
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	struct act a = { .method = "run.cancel",
			 .done = o->signal ? "signalled" : "cancelled",
			 .params = cancel_params };
	if (o->signal && !signals_number(o->signal))
		return fail(c, EXIT_USAGE,
			    "-s: there is no signal '%s': write TERM, KILL, HUP, ...", o->signal);
	int status = act_select(c, o, NONE_REFUSED, true, WHICH_ACTIVE, CTX_NEVER_START, &sel);
	return status ? status : act_all(c, &a, o, &sel, NULL);
}

const struct verb cmd_cancel = {
	.name = "cancel",
	.alias = "kill",
	.run = verb_cancel,
	.usage = "RUN[.OP]...",
	.help = "end runs or ops: TERM, a grace time, KILL",
	.more = "Messages marked `always` still run, unless --now. Never starts a daemon.\n\n"
		"  batchctl cancel 12\n"
		"  batchctl kill -s HUP 12.server\n"
		"  batchctl kill -9 12.server\n",
	.options = cancel_opts,
	.options_size = sizeof(struct act_options),
	.min_args = 1,
	.max_args = -1,
};

/* ---- pause, resume ---- */

static const struct opt pause_opts[] = {
	ACT_OPT("freeze", 0, OPT_FLAG, freeze, NULL, "stop what runs as well"),
	ACT_EVERYWHERE,
	OPT_END,
};
static const struct opt resume_opts[] = { ACT_EVERYWHERE, OPT_END };

static void pause_params(struct pk *pk, const struct act_options *o)
{
	if (o->freeze)
		pk_kbool(pk, "freeze", true);
}

static int verb_pause(struct ctx *c, void *options)
{
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	static const struct act a = { .method = "run.pause",
				      .done = "paused",
				      .params = pause_params };
	int status = act_select(c, options, NONE_ACTIVE, false, WHICH_ACTIVE, CTX_MAY_START, &sel);
	return status ? status : act_all(c, &a, options, &sel, NULL);
}

static int verb_resume(struct ctx *c, void *options)
{
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	static const struct act a = { .method = "run.resume", .done = "resumed" };
	int status = act_select(c, options, NONE_ACTIVE, false, WHICH_ACTIVE, CTX_MAY_START, &sel);
	return status ? status : act_all(c, &a, options, &sel, NULL);
}

const struct verb cmd_pause = {
	.name = "pause",
	.run = verb_pause,
	.usage = "[RUN...]",
	.help = "start nothing more of runs",
	.more = "Without RUN: all active runs of this project.\n\n  batchctl pause --freeze 12\n",
	.options = pause_opts,
	.options_size = sizeof(struct act_options),
	.max_args = -1,
};

const struct verb cmd_resume = {
	.name = "resume",
	.run = verb_resume,
	.usage = "[RUN...]",
	.help = "let paused or held runs go on",
	.more = "Without RUN: all active runs of this project.\n\n  batchctl resume 12\n",
	.options = resume_opts,
	.options_size = sizeof(struct act_options),
	.max_args = -1,
};

/* ---- restart ---- */

static const struct opt restart_opts[] = {
	ACT_OPT("failed", 0, OPT_FLAG, failed, NULL, "take over what succeeded, run the rest"),
	ACT_OPT("wait", 'w', OPT_FLAG, wait, NULL, "follow to the end"),
	ACT_OPT("output", 'o', OPT_FLAG, output, NULL, "with -w: show the ops' output"),
	ACT_EVERYWHERE,
	OPT_END,
};

static void restart_params(struct pk *pk, const struct act_options *o)
{
	if (o->failed)
		pk_kbool(pk, "failed", true);
	batch_pack_environ(pk);
}

static int verb_restart(struct ctx *c, void *options)
{
	struct act_options *o = options;
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	struct act a = { .method = "run.restart",
			 .params = restart_params,
			 .new_run = true,
			 .silent = o->wait && c->json };
	if (o->output && !o->wait)
		return fail(c, EXIT_USAGE, "-o shows output while waiting: add -w");
	int status = act_select(c, o, NONE_LAST, false, WHICH_ENDED, CTX_MAY_START, &sel);
	if (status)
		return status;
	_cleanup_free_ int64_t *ids = xcalloc(sel.n + 1, sizeof(*ids));
	status = act_all(c, &a, o, &sel, ids);
	for (size_t i = 0; i < sel.n && !status; i++)
		note(c, "run %" PRId64 " restarted as run %" PRId64, sel.v[i].run, ids[i]);
	return status || !o->wait ? status : progress_follow(c, ids, (int)sel.n, true, o->output);
}

const struct verb cmd_restart = {
	.name = "restart",
	.run = verb_restart,
	.usage = "[RUN...]",
	.help = "run the same batch again, as a new run",
	.more = "Without RUN: the last run of this project. Prints the new run's id. The "
		"environment is\n"
		"the one restart is called in.\n\n"
		"  batchctl restart --failed 12 -w\n",
	.options = restart_opts,
	.options_size = sizeof(struct act_options),
	.max_args = -1,
};

/* ---- clean ---- */

static const struct opt clean_opts[] = {
	ACT_OPT("failed", 0, OPT_FLAG, failed, NULL, "only those that did not succeed"),
	ACT_EVERYWHERE,
	OPT_END,
};

static int clean_by_id(const void *a, const void *b)
{
	const struct selected *x = a, *y = b;
	return (x->run > y->run) - (x->run < y->run);
}

/* "forgot 6 runs: 1-4, 7, 9", or {"forgotten": 6}. */
static int clean_tell(struct ctx *c, const struct selection *gone)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	if (c->json) {
		pk_map(&pk);
		pk_kint(&pk, "forgotten", (int64_t)gone->n);
		pk_end(&pk);
		return ctx_print_json(c, buf_slice(&b));
	}
	if (gone->n == 0) {
		note(c, "no run to forget");
		return EXIT_OK;
	}
	qsort(gone->v, gone->n, sizeof(gone->v[0]), clean_by_id);
	buf_addf(&b, "forgot %zu run%s:", gone->n, PLURAL(gone->n));
	for (size_t i = 0, last; i < gone->n; i = last + 1) {
		for (last = i;
		     last + 1 < gone->n && gone->v[last + 1].run == gone->v[last].run + 1;)
			last++;
		buf_addf(&b, "%s %" PRId64, i ? "," : "", gone->v[i].run);
		if (last > i)
			buf_addf(&b, "%c%" PRId64, last > i + 1 ? '-' : ',', gone->v[last].run);
	}
	buf_addc(&b, '\n');
	return ctx_print_changed(c, ctx_print(c, &b), "it was done all the same:", &b);
}

#define CLEAN_AT_ONCE 10000

static bool clean_has(struct slice runs, int64_t run)
{
	struct mp m = mp_of(runs);
	for (uint32_t n = runs.p ? mp_next(&m).count : 0; n > 0; n--)
		if (mp_next(&m).i == run)
			return true;
	return false;
}

/* Many at once. Those that are needed stay and are named. */
static int clean_many(struct ctx *c, const struct selected *v, size_t n, struct selection *gone)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_key(&pk, "runs");
	pk_array(&pk);
	for (size_t i = 0; i < n; i++)
		pk_int(&pk, v[i].run);
	pk_end(&pk);
	pk_end(&pk);
	int status = ctx_call(c, "run.forget", &params, &reply);
	struct slice needed = mp_find(buf_slice(&reply), "needed");
	for (size_t i = 0; i < n && status == EXIT_OK; i++) {
		if (clean_has(needed, v[i].run))
			note(c, "run %" PRId64 " stays: a run that has not begun needs it",
			     v[i].run);
		else
			gone->v[gone->n++] = v[i];
	}
	return status;
}

static int clean_project(struct ctx *c, struct selection *sel)
{
	struct selection gone = { .v = sel->v };
	int status = EXIT_OK;
	for (size_t at = 0; at < sel->n && status == EXIT_OK; at += CLEAN_AT_ONCE)
		status = clean_many(c, sel->v + at, MIN2(sel->n - at, CLEAN_AT_ONCE), &gone);
	int printed = gone.n || status == EXIT_OK ? clean_tell(c, &gone) : EXIT_OK;
	return status ? status : printed;
}

/* One that cannot be forgotten is reported, the others still go. */
static int clean_named(struct ctx *c, struct selection *sel)
{
	static const struct act a = { .method = "run.forget" };
	struct selection gone = { .v = sel->v };
	int status = EXIT_OK;
	for (size_t i = 0; i < sel->n; i++) {
		int one = act_one(c, &a, NULL, &sel->v[i], NULL);
		if (one == EXIT_OK)
			gone.v[gone.n++] = sel->v[i];
		else if (one == EXIT_NO_DAEMON)
			return one;
		else if (status == EXIT_OK)
			status = one;
	}
	int printed = gone.n || status == EXIT_OK ? clean_tell(c, &gone) : EXIT_OK;
	return status ? status : printed;
}

/* Of the runs that are named, with --failed, only those that did not succeed. */
static int clean_only_failed(struct ctx *c, struct selection *sel)
{
	size_t n = 0;
	for (size_t i = 0; i < sel->n; i++) {
		_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
		struct pk pk = PK_INIT(&params);
		pk_map(&pk);
		pk_kint(&pk, "run", sel->v[i].run);
		pk_kstr(&pk, "ops", slice_str("none"));
		pk_end(&pk);
		int status = ctx_call(c, "run.get", &params, &reply);
		if (status)
			return status;
		if (!slice_is(mp_get_str(buf_slice(&reply), "state"), "succeeded"))
			sel->v[n++] = sel->v[i];
	}
	sel->n = n;
	return EXIT_OK;
}

static int verb_clean(struct ctx *c, void *options)
{
	static const char *const all[] = { "all" };
	struct act_options *o = options;
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	enum selector_which which = o->failed ? WHICH_FAILED : WHICH_ENDED;
	struct selector how = { .words = c->argc ? c->argv : all,
				.n = c->argc ? c->argc : 1,
				.everywhere = o->everywhere,
				.all = which,
				.range = which };
	int status = ctx_connect(c, CTX_MAY_START);
	if (status == EXIT_OK)
		status = selection_resolve(c, &how, &sel);
	if (status == EXIT_OK && o->failed && c->argc)
		status = clean_only_failed(c, &sel);
	if (status)
		return status;
	return c->argc ? clean_named(c, &sel) : clean_project(c, &sel);
}

const struct verb cmd_clean = {
	.name = "clean",
	.run = verb_clean,
	.usage = "[RUN...]",
	.help = "forget ended runs and their output",
	.more = "Without RUN: all ended runs of this project, with --failed those that did not "
		"succeed.\n\n"
		"  batchctl clean\n",
	.options = clean_opts,
	.options_size = sizeof(struct act_options),
	.max_args = -1,
};
