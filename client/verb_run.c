#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/follow.h"
#include "client/lines.h"
#include "client/progress.h"
#include "client/report.h"
#include "client/signals.h"
#include "client/submit.h"
#include "common/fd.h"
#include "common/text.h"
#include "proto/limits.h"
#include "proto/pack.h"

static const struct opt add_opts[] = { SUBMIT_OPTS, OPT_END };

static const struct opt run_opts[] = {
	SUBMIT_OPTS,
	SUBMIT_OPT("stdin", 0, OPT_FLAG, read_stdin, NULL,
		   "give it our stdin, read to its end first"),
	SUBMIT_OPT("tty", 't', OPT_FLAG, pty, NULL,
		   "give it a pseudo-terminal to print to; keys are not passed on"),
	OPT_END,
};

static int verb_add(struct ctx *c, void *options)
{
	struct submit_options *o = options;
	struct batch_source from = { 0 };
	int status = submit_check(c, o);
	if (status == EXIT_OK)
		status = submit_command(c, o, &from);
	return status ? status : submit_and_follow(c, o, &from);
}

const struct verb cmd_add = {
	.name = "add",
	.run = verb_add,
	.usage = "[--] CMD...",
	.help = "submit one command",
	.more = "One argument is a bash command; two or more are a program and its arguments, byte "
		"for\n"
		"byte. Options end at the command. Prints the run's id.\n\n"
		"  batchctl add -- 'make test 2>&1 | tee log'\n"
		"  batchctl add --after last -- rsync -a out/ host:out/\n",
	.options = add_opts,
	.options_size = sizeof(struct submit_options),
	.stop_at_operand = true,
	.max_args = -1,
};

/* A command in the foreground. */
struct foreground {
	struct ctx *c;
	struct follow *f;
	const char *program; /* as it was written */
	struct lines lines;
	int interrupts;
	int pending; /* a signal that came while batchd was away */
	bool stdout_gone;
};

/* Batchd went away before it could pass that on: it is sent when batchd is back. */
static void foreground_keep(struct foreground *g, int signal)
{
	g->pending = signal;
	note(g->c,
	     "batchd is away: it gets the %s when batchd is back; a second one leaves the run",
	     signals_name(signal));
}

/* To the command; 0: cancels it. Positive: that was refused. */
static int foreground_ask(struct foreground *g, int signal)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	pk_map(&pk);
	pk_kint(&pk, "run", g->f->views[0].run);
	if (signal) {
		pk_kint(&pk, "op", 1);
		pk_kstr(&pk, "signal", slice_str(signals_name(signal)));
	}
	pk_end(&pk);
	int r = ctx_try(g->c, "run.cancel", &params, NULL, &e);
	if (r < 0)
		foreground_keep(g, signal ? signal : SIGTERM);
	return r;
}

static int foreground_send(struct foreground *g, int signal)
{
	/* One that is just ending cannot be signalled any more: its end is on its way. */
	foreground_ask(g, signal);
	return EXIT_OK;
}

static int foreground_output(void *arg, struct run_view *v, struct op_view *o, int stream,
			     struct slice data)
{
	struct foreground *g = arg;
	if (stream == 0 && g->stdout_gone) {
		/* It took no notice of the SIGPIPE, or had printed much by then: for nobody. */
		foreground_send(g, 0);
		return EXIT_SIGNAL + SIGPIPE;
	}
	lines_add(&g->lines, v, o, stream, data);
	int status = lines_flush(&g->lines);
	if (status != EXIT_SIGNAL + SIGPIPE)
		return status;
	/* As if it wrote into the broken pipe itself. */
	g->stdout_gone = true;
	foreground_send(g, SIGPIPE);
	return EXIT_OK;
}

static void foreground_dropped(void *arg, struct run_view *v, struct op_view *o, int stream,
			       int64_t bytes)
{
	struct foreground *g = arg;
	lines_dropped(&g->lines, v, o, stream, bytes);
}

/*
 * ^Z stops the command, then us; whoever lets us go on lets it go on too. STOP, since in a session
 * of its own nothing else stops it (an orphaned process group: setpgid(2)).
 */
static int foreground_suspend(struct foreground *g)
{
	foreground_send(g, SIGSTOP);
	raise(SIGSTOP);
	foreground_send(g, SIGCONT);
	return EXIT_OK;
}

/* Nobody can pass it on now: it is kept for when batchd is back, and a second one leaves. */
static int foreground_away(struct foreground *g, int signal)
{
	if (g->pending || signal == SIGHUP)
		return EXIT_SIGNAL + signal;
	foreground_keep(g, signal);
	return EXIT_OK;
}

static void foreground_snapshot(void *arg, struct run_view *v)
{
	struct foreground *g = arg;
	(void)v;
	if (g->pending)
		foreground_send(g, g->pending);
	g->pending = 0;
}

/*
 * ^C and its like go to the command. A command that has not started is cancelled at once, one that
 * takes no notice at the second. A closed terminal ends nothing.
 */
static int foreground_signal(void *arg, int signal)
{
	struct foreground *g = arg;
	if (signals_ends(signal) && !g->c->conn)
		return foreground_away(g, signal);
	if (!signals_ends(signal))
		return EXIT_OK;
	if (signal == SIGHUP)
		return EXIT_SIGNAL + SIGHUP;
	if (signal == SIGTSTP)
		return foreground_suspend(g);
	bool ends = signal == SIGINT || signal == SIGTERM || signal == SIGQUIT;
	if (ends && g->interrupts++)
		return foreground_send(g, 0);
	/* That it has begun we may not have heard yet, but batchd knows whom it can signal. */
	if (foreground_ask(g, signal) > 0 && ends)
		return foreground_send(g, 0);
	return EXIT_OK;
}

static const struct follow_sink foreground_sink = {
	.snapshot = foreground_snapshot,
	.output = foreground_output,
	.dropped = foreground_dropped,
	.signal = foreground_signal,
};

static bool foreground_no_file(const struct op_view *o)
{
	const char *text = o->error ? o->error : "";
	return strcasestr(text, strerror(ENOENT)) || strcasestr(text, "not found");
}

static int foreground_not_started(struct foreground *g, const struct op_view *o)
{
	_cleanup_buf_ struct buf program = BUF_INIT;
	text_one_line(&program, slice_str(g->program), 200);
	return fail(g->c, foreground_no_file(o) ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, "'%s': %s",
		    buf_str(&program), o->error ? o->error : "could not be started");
}

/* The status a shell would give. */
static int foreground_status(struct foreground *g)
{
	const struct run_view *v = &g->f->views[0];
	const struct op_view *o = run_view_op(&g->f->views[0], 1);
	const char *cause = o && o->cause ? o->cause : "";
	if (!o)
		return EXIT_RUN;
	if (strcmp(cause, "timeout") == 0)
		return fail(g->c, EXIT_TIMED_OUT, "run %" PRId64 " timed out", v->run);
	if (strcmp(cause, "start") == 0)
		return foreground_not_started(g, o);
	if (g->stdout_gone)
		return EXIT_SIGNAL + SIGPIPE;
	if (o->signal && signals_number(o->signal))
		return EXIT_SIGNAL + signals_number(o->signal);
	/* Somebody has ended it: it has not done what it was to do, however well it takes that. */
	if (o->exit > 0 || (o->exit == 0 && o->state != VIEW_CANCELLED))
		return o->exit;
	if (v->state == VIEW_SUCCEEDED)
		return EXIT_OK;
	return fail(g->c, EXIT_RUN, "run %" PRId64 " %s%s%s", v->run, view_state_names[o->state],
		    o->error ? ": " : "", o->error ? o->error : "");
}

static const struct follow_sink foreground_end_sink = { .signal = foreground_signal };

/* The op's exit, signal and error are read once more: events need not carry them. */
static int foreground_settle(struct foreground *g)
{
	struct run_view *v = &g->f->views[0];
	const struct op_view *o = run_view_op(v, 1);
	bool told = o && o->state == VIEW_SUCCEEDED && o->exit == 0;
	int status = told ? EXIT_OK : follow_settle(g->f, v);
	return status ? status : foreground_status(g);
}

/* The command goes on without us. */
static void foreground_left(struct foreground *g)
{
	int64_t run = g->f->views[0].run;
	note(g->c,
	     "run %" PRId64 " goes on: `batchctl follow %" PRId64 "` comes back to it, "
	     "`batchctl cancel %" PRId64 "` ends it",
	     run, run, run);
}

static int foreground_follow(struct ctx *c, int64_t run, const char *program, int signal_fd)
{
	struct run_view view = { .run = run };
	struct follow f = {
		.c = c, .views = &view, .n = 1, .signal_fd = signal_fd, .sink = &foreground_sink
	};
	struct foreground g = {
		.c = c,
		.f = &f,
		.program = program,
		/* Under --json stdout is the document's. */
		.lines = { .c = c, .raw = true, .to_stderr = c->json },
	};
	f.arg = &g;
	int status = follow_runs(&f);
	if (g.stdout_gone && status == EXIT_SIGNAL + SIGPIPE)
		status = follow_to_end(&f, &foreground_end_sink);
	if (status == EXIT_OK)
		status = foreground_settle(&g);
	else if (!view.final.len)
		foreground_left(&g);
	if (view.final.len && c->json && ctx_print_json(c, buf_slice(&view.final)))
		status = EXIT_RUN;
	lines_done(&g.lines);
	run_view_done(&view);
	return status;
}

static int verb_run(struct ctx *c, void *options)
{
	struct submit_options *o = options;
	struct batch_source from = { .no_output_cap = true };
	_cleanup_buf_ struct buf input = BUF_INIT;
	struct slice bytes;
	int64_t run;
	bool existing;
	int status = submit_command(c, o, &from);
	if (status)
		return status;
	if (o->read_stdin && !o->dry_run) {
		int r = fd_read_all(STDIN_FILENO, LIMIT_FRAME_BYTES / 2, &input);
		if (r < 0)
			return fail(c, EXIT_USAGE, "--stdin: %s",
				    r == -EFBIG ? "more than 32 MiB: give the command a file"
						: strerror(-r));
		bytes = buf_slice(&input);
		from.op_stdin = &bytes;
	}
	if (o->dry_run)
		return submit_plan(c, o, &from);
	_cleanup_close_ int signal_fd = signals_watch(1);
	status = submit_send(c, o, &from, &run, &existing);
	if (status)
		return status;
	if (c->verbose)
		note(c, "run %" PRId64, run);
	return foreground_follow(c, run, from.argv[0], signal_fd);
}

const struct verb cmd_run = {
	.name = "run",
	.run = verb_run,
	.usage = "[--] CMD...",
	.help = "run one command in the foreground",
	.more = "Passes on its output, our signals and its exit status: 128+N for a signal, 127 "
		"not found,\n"
		"126 not executable, 124 timed out. One argument is a bash command; two or more "
		"are a\n"
		"program and its arguments. Options end at the command. A closed terminal does not "
		"end it.\n\n"
		"  batchctl run -- make test\n"
		"  sort big | batchctl run --stdin -- 'uniq -c | sort -n'\n",
	.options = run_opts,
	.options_size = sizeof(struct submit_options),
	.stop_at_operand = true,
	.max_args = -1,
};
