#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/follow.h"
#include "client/own_runs.h"
#include "client/progress.h"
#include "client/report.h"
#include "client/selectors.h"
#include "client/signals.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/mp.h"
#include "proto/pack.h"

struct wait_options {
	bool any, everywhere, output;
	struct opt_int timeout;
};

#define WAIT_OPT(name, letter, type, field, ...)                                                   \
	{                                                                                          \
		name, letter, type, offsetof(struct wait_options, field), __VA_ARGS__              \
	}

static const struct opt wait_opts[] = {
	WAIT_OPT("any", 0, OPT_FLAG, any, NULL, "return when the first of them has ended"),
	WAIT_OPT("timeout", 0, OPT_DURATION, timeout, "D",
		 "give up waiting after that long (exit 124)"),
	WAIT_OPT("everywhere", 0, OPT_FLAG, everywhere, NULL, "runs of all projects"),
	OPT_END,
};

#define REPORT_OPS_MAX 10000 /* of larger runs the op that took longest is not looked for */

struct waiting {
	struct ctx *c;
	const struct wait_options *o;
	const struct selection *sel;
	int64_t deadline_ms; /* monotonic; -1: none */
	int signal_fd;
};

static void wait_params(const struct waiting *w, struct buf *b)
{
	struct pk pk = PK_INIT(b);
	pk_map(&pk);
	pk_key(&pk, "runs");
	pk_array(&pk);
	for (size_t i = 0; i < w->sel->n; i++)
		pk_int(&pk, w->sel->v[i].run);
	pk_end(&pk);
	if (w->o->any)
		pk_kbool(&pk, "any", true);
	int64_t left =
		w->deadline_ms < 0 ? LIMIT_DURATION_MS : MAX2(w->deadline_ms - time_mono_ms(), 0);
	pk_kint(&pk, "timeout_ms", left);
	pk_end(&pk);
}

static int wait_left(const struct waiting *w, int status)
{
	for (size_t i = 0; i < w->sel->n; i++)
		note(w->c, "run %" PRId64 " goes on: `batchctl wait %" PRId64 "`", w->sel->v[i].run,
		     w->sel->v[i].run);
	return status;
}

/* One run.wait over as many connections as it takes. */
static int wait_reply(struct waiting *w, struct buf *ret)
{
	for (;;) {
		_cleanup_buf_ struct buf params = BUF_INIT;
		struct conn_in in;
		wait_params(w, &params);
		conn_watch_signals(w->c->conn, w->signal_fd);
		uint32_t id = conn_send(w->c->conn, "run.wait", buf_slice(&params));
		enum conn_got got;
		do {
			got = conn_next(w->c->conn, -1, &in);
			if (got == CONN_SIGNAL && signals_ends(in.signal))
				return wait_left(w, EXIT_SIGNAL + in.signal);
		} while (got != CONN_CLOSED && !(got == CONN_REPLY && in.msgid == id));
		if (got == CONN_REPLY && in.failed)
			return fail_err(w->c, &in.error);
		if (got == CONN_REPLY) {
			buf_addslice(ret, in.body);
			return EXIT_OK;
		}
		int status = ctx_reconnect(w->c, w->signal_fd);
		if (status)
			return wait_left(w, status);
	}
}

static void wait_report(struct ctx *c, struct slice run)
{
	struct run_view v = { .run = mp_get_int(run, "run", 0) };
	bool small = mp_get_int(mp_find(run, "summary"), "ops", 0) <= REPORT_OPS_MAX;
	if (c->quiet)
		return;
	if (small && follow_load(c, &v) != EXIT_OK)
		return;
	report_run(c, run, small ? &v : NULL);
	run_view_done(&v);
}

/* Reports the runs that have ended; EXIT_RUN when one of them did not succeed. */
static int wait_tell(struct ctx *c, struct slice runs)
{
	struct mp m = mp_of(runs);
	struct mp_value list = mp_next(&m);
	int status = EXIT_OK;
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice run = mp_skip(&m);
		enum view_state state = view_state_of(mp_get_str(run, "state"));
		if (!view_ended(state))
			continue;
		if (state != VIEW_SUCCEEDED)
			status = EXIT_RUN;
		wait_report(c, run);
	}
	return status;
}

/* Names those that had not ended when the time was over. */
static int wait_timed_out(struct ctx *c, struct slice runs)
{
	_cleanup_buf_ struct buf all = BUF_INIT;
	struct mp m = mp_of(runs);
	struct mp_value list = mp_next(&m);
	int n = 0;
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice run = mp_skip(&m);
		if (!view_ended(view_state_of(mp_get_str(run, "state"))))
			buf_addf(&all, "%s%" PRId64, n++ ? " " : "", mp_get_int(run, "run", 0));
	}
	return fail(c, EXIT_TIMED_OUT,
		    "the time is over and run%s %s still at work: `batchctl wait %s`", PLURAL(n),
		    n == 1 ? "is" : "are", buf_str(&all));
}

/* Of a single RUN the run itself, as run.wait answers for one; else {"runs": [...]} as it came. */
static int wait_json(struct ctx *c, struct slice reply, const struct waiting *w)
{
	struct slice runs = mp_find(reply, "runs");
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct mp m = mp_of(runs);
	struct mp_value list = mp_next(&m);
	if (!w->sel->one || list.type != MP_ARRAY || list.count != 1)
		return ctx_print_json(c, reply);
	struct mp run = mp_of(mp_skip(&m));
	struct mp_value map = mp_next(&run);
	struct pk pk = PK_INIT(&b);
	pk_map(&pk);
	for (uint32_t i = 0; map.type == MP_MAP && i < map.count; i++) {
		pk_keyslice(&pk, mp_next(&run).bytes);
		pk_raw(&pk, mp_skip(&run));
	}
	pk_kbool(&pk, "timed_out", mp_get_bool(reply, "timed_out"));
	pk_end(&pk);
	return ctx_print_json(c, buf_slice(&b));
}

static int wait_for(struct ctx *c, const struct wait_options *o, const struct selection *sel)
{
	_cleanup_close_ int signal_fd = signals_watch(0);
	_cleanup_buf_ struct buf reply = BUF_INIT;
	struct waiting w = { .c = c, .o = o, .sel = sel, .signal_fd = signal_fd };
	w.deadline_ms = o->timeout.set ? time_mono_ms() + o->timeout.v : -1;
	int status = wait_reply(&w, &reply);
	if (status)
		return status;
	if (c->json && (status = wait_json(c, buf_slice(&reply), &w)) != EXIT_OK)
		return status;
	status = wait_tell(c, mp_find(buf_slice(&reply), "runs"));
	if (mp_get_bool(buf_slice(&reply), "timed_out"))
		return wait_timed_out(c, mp_find(buf_slice(&reply), "runs"));
	return status;
}

static int wait_none(struct ctx *c)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	pk_map(&pk);
	pk_key(&pk, "runs");
	pk_array(&pk);
	pk_end(&pk);
	pk_kbool(&pk, "timed_out", false);
	pk_end(&pk);
	return ctx_print_json(c, buf_slice(&b));
}

static int verb_wait(struct ctx *c, void *options)
{
	struct wait_options *o = options;
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	struct selector how = { .words = c->argv,
				.n = c->argc,
				.none = NONE_ACTIVE,
				.everywhere = o->everywhere,
				.all = WHICH_ACTIVE };
	int status = ctx_connect(c, CTX_NEVER_START);
	if (status == EXIT_OK)
		status = selection_resolve(c, &how, &sel);
	if (status == EXIT_OK)
		status = own_runs_leave_out(c, &sel, own_runs_named(&how));
	if (status)
		return status;
	if (sel.n == 0) {
		note(c, "nothing to wait for");
		return c->json ? wait_none(c) : EXIT_OK;
	}
	return wait_for(c, o, &sel);
}

const struct verb cmd_wait = {
	.name = "wait",
	.run = verb_wait,
	.usage = "[RUN...]",
	.help = "wait until runs have ended; 1 when one did not succeed",
	.more = "Without RUN: all active runs of this project; within an op all but its own. Never\n"
		"starts a daemon.\n\n"
		"  batchctl wait 12 13 --timeout 10m\n"
		"  batchctl wait all --any\n",
	.options = wait_opts,
	.options_size = sizeof(struct wait_options),
	.max_args = -1,
};

static const struct opt follow_opts[] = {
	WAIT_OPT("output", 'o', OPT_FLAG, output, NULL, "show the ops' output, prefixed"),
	WAIT_OPT("everywhere", 0, OPT_FLAG, everywhere, NULL, "runs of all projects"),
	OPT_END,
};

static int verb_follow(struct ctx *c, void *options)
{
	struct wait_options *o = options;
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	struct selector how = { .words = c->argv,
				.n = c->argc,
				.none = NONE_ACTIVE,
				.everywhere = o->everywhere,
				.all = WHICH_ACTIVE };
	int status = ctx_connect(c, CTX_MAY_START);
	if (status == EXIT_OK)
		status = selection_resolve(c, &how, &sel);
	if (status == EXIT_OK && sel.n == 0 && c->argc == 0) {
		how.none = NONE_LAST;
		status = selection_resolve(c, &how, &sel);
	}
	if (status == EXIT_OK)
		status = own_runs_leave_out(c, &sel, own_runs_named(&how));
	if (status)
		return status;
	_cleanup_free_ int64_t *runs = xcalloc(sel.n + 1, sizeof(*runs));
	for (size_t i = 0; i < sel.n; i++)
		runs[i] = sel.v[i].run;
	return progress_follow(c, runs, (int)sel.n, false, o->output);
}

const struct verb cmd_follow = {
	.name = "follow",
	.alias = "fo",
	.run = verb_follow,
	.usage = "[RUN...]",
	.help = "watch runs to their end",
	.more = "Without RUN: the active runs of this project, else the last one. ^C leaves them "
		"running.\n\n"
		"  batchctl follow last -o\n",
	.options = follow_opts,
	.options_size = sizeof(struct wait_options),
	.max_args = -1,
};
