#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/each_show.h"
#include "client/follow.h"
#include "client/signals.h"
#include "client/submit.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/pack.h"

struct each_runner {
	struct each *e;
	struct ctx *c;
	struct each_show show;
	struct each_halt halt;
	struct follow f;
	struct run_view view;
	struct each_ops ops; /* of this run */
	uint32_t *ended;
	uint32_t n_ended, n_shown; /* ops in the order they are shown in */
	int log_fd, signal_fd;
	int signal;	/* the first one that ends us */
	bool cancelled; /* by us */
	int status;	/* of what went wrong here: EXIT_OK */
};

/* --workdir: makes what is missing, as parallel does. */
static int each_folders(struct each *e)
{
	_cleanup_buf_ struct buf path = BUF_INIT, made = BUF_INIT;
	for (size_t i = 0; i < e->n_jobs && e->workdir.n && ctx_cwd(); i++) {
		buf_clear(&path);
		each_job_folder(e, i, &path);
		if (e->jobs[i].skip || !path.len || slice_eq(buf_slice(&path), buf_slice(&made)))
			continue;
		int r = path_mkdirs(buf_str(&path), 0777);
		if (r < 0)
			return fail(e->c, EXIT_USAGE, "--workdir '%s': %s", buf_str(&path),
				    errno_text(-r));
		buf_clear(&made);
		buf_addslice(&made, buf_slice(&path));
	}
	return EXIT_OK;
}

static int runner_submit(struct each_runner *r)
{
	struct submit_options o = r->e->o->submit;
	_cleanup_buf_ struct buf halt = BUF_INIT;
	struct batch_source from = { .no_output_cap = true,
				     .pack = each_ops_pack,
				     .pack_arg = &r->ops };
	bool existing;
	if (r->e->slots)
		o.jobs = (struct opt_int){ MIN2(r->e->slots, LIMIT_JOBS), true };
	if (r->halt.on) {
		each_halt_print(&r->halt, &halt);
		from.halt = buf_str(&halt);
	}
	from.spacing = r->e->o->delay;
	int status = submit_send(r->c, &o, &from, &r->view.run, &existing);
	if (status == EXIT_OK && r->c->verbose)
		note(r->c, "run %" PRId64, r->view.run);
	return status;
}

/* ---- ends ---- */

/* As a shell has it. */
static int runner_op_status(const struct op_view *o)
{
	const char *cause = o->cause ? o->cause : "";
	if (o->state == VIEW_SUCCEEDED)
		return 0;
	if (strcmp(cause, "timeout") == 0)
		return EXIT_TIMED_OUT;
	if (o->signal)
		return EXIT_SIGNAL + signals_number(o->signal);
	return o->exit > 0 ? o->exit : EXIT_RUN;
}

static void runner_log(struct each_runner *r, size_t job, const struct op_view *o)
{
	bool timed_out = o->cause && strcmp(o->cause, "timeout") == 0;
	struct each_end end = {
		.started = o->started,
		.ended = o->ended,
		.bytes = r->e->o->ungroup ? 0 : o->printed[0], /* as parallel counts */
		.exit = o->exit,
		.signal = o->signal ? signals_number(o->signal) : 0,
	};
	if (end.signal)
		end.exit = 0;
	if (timed_out) {
		end.exit = -1;
		end.signal = SIGTERM;
	}
	if (each_log_add(r->e, r->log_fd, job, &end))
		r->status = EXIT_RUN;
}

/* Ops that never ran, or were ended by somebody, are failures but where --halt or we did that. */
static void runner_count(struct each_runner *r, size_t job, const struct op_view *o)
{
	bool ran = o->attempts && o->state != VIEW_CANCELLED && o->state != VIEW_SKIPPED;
	if (ran) {
		int status = runner_op_status(o);
		runner_log(r, job, o);
		each_halt_count(&r->halt, status);
		r->show.failed += status != 0;
	} else if (!r->halt.on && !r->cancelled) {
		r->halt.failed++;
		r->show.failed++;
	}
	r->show.ended++;
	r->show.dirty = true;
}

static void runner_end(struct each_runner *r, const struct op_view *o)
{
	if (o->index < 1 || o->index > r->ops.n)
		return;
	struct each_job *job = &r->e->jobs[r->ops.jobs[o->index - 1]];
	if (job->ended)
		return;
	job->ended = true;
	runner_count(r, r->ops.jobs[o->index - 1], o);
	if (!r->e->o->keep_order)
		r->ended[r->n_ended++] = o->index;
}

/* Has the op that is shown next ended? *ret: its index. */
static bool runner_next(const struct each_runner *r, uint32_t *ret)
{
	bool ordered = r->e->o->keep_order;
	if (r->n_shown >= (ordered ? r->ops.n : r->n_ended))
		return false;
	*ret = ordered ? r->n_shown + 1 : r->ended[r->n_shown];
	return r->e->jobs[r->ops.jobs[*ret - 1]].ended;
}

static bool runner_is_live(const struct each_runner *r)
{
	const struct each_options *o = r->e->o;
	return !o->results && (o->ungroup || (o->line_buffer && !o->keep_order));
}

static void runner_cancel(struct each_runner *r, bool now)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	pk_map(&pk);
	pk_kint(&pk, "run", r->view.run);
	if (now)
		pk_kbool(&pk, "now", true);
	pk_end(&pk);
	r->cancelled = true;
	/* One that has just ended cannot be cancelled; one that cannot be reached goes on. */
	if (ctx_try(r->c, "run.cancel", &params, NULL, &e) < 0)
		note(r->c,
		     "batchd is away: run %" PRId64 " goes on: `batchctl cancel %" PRId64
		     "` ends it",
		     r->view.run, r->view.run);
}

/* Shows what has ended. False: the connection was lost, the rest is shown later. */
static bool runner_show(struct each_runner *r)
{
	uint32_t index;
	int status = 0;
	while (!runner_is_live(r) && runner_next(r, &index)) {
		struct op_view *o = run_view_op(&r->view, index);
		status = o ? each_show_whole(&r->show, r->ops.jobs[index - 1], r->view.run, o) : 0;
		if (status < 0)
			break;
		r->status = r->status ? r->status : status;
		r->n_shown++;
	}
	if (each_show_flush(&r->show))
		r->status = EXIT_RUN;
	/* Nobody takes what it prints: as in a pipe of a shell, it ends. */
	if (r->show.stdout_gone && !r->cancelled && status >= 0)
		runner_cancel(r, false);
	return status >= 0;
}

/* ---- the sink ---- */

static void runner_snapshot(void *arg, struct run_view *v)
{
	struct each_runner *r = arg;
	for (uint32_t i = 1; i <= v->n_ops; i++) {
		const struct op_view *o = run_view_op(v, i);
		if (o && view_ended(o->state))
			runner_end(r, o);
	}
}

static void runner_op(void *arg, struct run_view *v, struct op_view *o, enum view_state before)
{
	struct each_runner *r = arg;
	(void)v;
	(void)before;
	if (view_ended(o->state))
		runner_end(r, o);
}

static int runner_output(void *arg, struct run_view *v, struct op_view *o, int stream,
			 struct slice data)
{
	struct each_runner *r = arg;
	(void)v;
	if (o->index <= r->ops.n)
		each_show_bytes(&r->show, r->ops.jobs[o->index - 1], o, stream, data);
	return each_show_flush(&r->show);
}

static void runner_op_end(void *arg, struct run_view *v, struct op_view *o)
{
	struct each_runner *r = arg;
	(void)v;
	if (o->index <= r->ops.n)
		each_show_rest(&r->show, r->ops.jobs[o->index - 1], o);
}

static int64_t runner_tick(void *arg)
{
	struct each_runner *r = arg;
	runner_show(r);
	size_t running = r->view.counts[VIEW_RUNNING];
	r->show.dirty |= running != r->show.running;
	r->show.running = running;
	return each_show_tick(&r->show);
}

static void runner_lost(void *arg)
{
	struct each_runner *r = arg;
	each_show_clear(&r->show, false);
}

static void runner_left(struct each_runner *r)
{
	note(r->c,
	     "run %" PRId64 " goes on: `batchctl follow %" PRId64
	     "` comes back to it, `batchctl cancel %" PRId64 "` ends it",
	     r->view.run, r->view.run, r->view.run);
}

/* ^C cancels the run, whose end is waited for; a second one ends it now. A closed terminal leaves
 * it. */
static int runner_signal(void *arg, int signal)
{
	struct each_runner *r = arg;
	if (!signals_ends(signal)) {
		r->show.painted = r->show.painted && signal != SIGCONT;
		r->show.dirty = true;
		return EXIT_OK;
	}
	each_show_clear(&r->show, false);
	if (signal == SIGHUP || !r->c->conn) {
		runner_left(r);
		return EXIT_SIGNAL + signal;
	}
	runner_cancel(r, r->signal != 0);
	if (r->signal)
		return EXIT_SIGNAL + r->signal;
	r->signal = signal;
	note(r->c, "run %" PRId64 " is cancelled; once more ends it without its clean-up",
	     r->view.run);
	return EXIT_OK;
}

#define RUNNER_SINK                                                                                \
	.snapshot = runner_snapshot, .op = runner_op, .tick = runner_tick, .lost = runner_lost,    \
	.signal = runner_signal

static const struct follow_sink runner_sink = { RUNNER_SINK };
static const struct follow_sink runner_live_sink = {
	RUNNER_SINK,
	.output = runner_output,
	.op_end = runner_op_end,
};

/* ---- to the end ---- */

/* What the connection's loss kept back. */
static int runner_rest(struct each_runner *r)
{
	while (!runner_show(r)) {
		int status = ctx_reconnect(r->c, r->signal_fd);
		if (status)
			return status;
	}
	return EXIT_OK;
}

static int runner_follow(struct each_runner *r)
{
	r->f = (struct follow){ .c = r->c,
				.views = &r->view,
				.n = 1,
				.signal_fd = r->signal_fd,
				.sink = runner_is_live(r) ? &runner_live_sink : &runner_sink,
				.arg = r };
	r->ended = xcalloc(MAX2(r->ops.n, 1u), sizeof(*r->ended));
	r->n_ended = r->n_shown = 0;
	int status = follow_runs(&r->f);
	if (status == EXIT_OK)
		status = runner_rest(r);
	else if (status == EXIT_NO_DAEMON)
		runner_left(r);
	if (status == EXIT_OK && r->c->json)
		status = ctx_print_json(r->c, buf_slice(&r->view.final));
	return status;
}

static int runner_one(struct each_runner *r)
{
	int status = runner_submit(r);
	if (status == EXIT_OK)
		status = runner_follow(r);
	bool failed = r->view.final.len && r->show.failed && !r->signal && !r->show.stdout_gone;
	if (status == EXIT_OK && failed) {
		each_show_clear(&r->show, false);
		note(r->c,
		     "%zu of %zu failed: `batchctl status %" PRId64 "` lists them, "
		     "`batchctl restart --failed %" PRId64 "` runs just them again",
		     r->show.failed, r->e->n_todo, r->view.run, r->view.run);
	}
	run_view_done(&r->view);
	free(r->ended);
	r->ended = NULL;
	return status;
}

static int runner_status(struct each_runner *r)
{
	if (r->show.stdout_gone)
		return EXIT_SIGNAL + SIGPIPE;
	if (r->signal)
		return EXIT_SIGNAL + r->signal;
	return r->status ? r->status : each_halt_status(&r->halt);
}

int each_run(struct each *e, const struct each_halt *halt)
{
	struct each_runner r = { .e = e, .c = e->c, .ops.e = e, .halt = *halt };
	int status = each_folders(e);
	if (status == EXIT_OK)
		status = each_ops_learn_shell(e);
	if (status == EXIT_OK)
		status = each_log_open(e, &r.log_fd);
	if (status)
		return status;
	r.halt.total = (int64_t)e->n_jobs;
	r.ops.jobs =
		xcalloc(MIN2(MAX2(e->n_todo, (size_t)1), (size_t)LIMIT_OPS), sizeof(*r.ops.jobs));
	r.signal_fd = signals_watch(0);
	each_show_init(&r.show, e);
	for (size_t ran = 0; ran < e->n_todo && status == EXIT_OK; ran += r.ops.n) {
		if (r.signal || r.show.stdout_gone || r.halt.reached)
			break;
		status = runner_one(&r);
	}
	each_show_clear(&r.show, status == EXIT_OK && !r.signal);
	each_show_done(&r.show);
	free(r.ops.jobs);
	if (r.signal_fd >= 0)
		close(r.signal_fd);
	if (r.log_fd >= 0)
		close(r.log_fd);
	return status ? status : runner_status(&r);
}
