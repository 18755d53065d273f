/*
 * batchctl top: the runs of a project on the whole screen, live. One subscription and no polling:
 * it wakes for events, keys, signals, and once a second while something runs, for the clock.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/daemon_start.h"
#include "client/screen.h"
#include "client/self.h"
#include "client/signals.h"
#include "client/term.h"
#include "client/top.h"
#include "common/timeutil.h"
#include "common/xalloc.h"

#define PAINT_MS 100
#define CLOCK_MS 1000
#define RETRY_MS 250 /* between two looks whether batchd is back */
#define GONE_MS 30000
#define STAY (-1) /* no exit status yet */

struct top_options {
	bool everywhere;
};

static const struct opt top_opts[] = {
	{ "everywhere", 0, OPT_FLAG, offsetof(struct top_options, everywhere), NULL,
	  "runs of all projects" },
	OPT_END,
};

struct topping {
	struct top top;
	struct ctx *c;
	struct keys keys;
	int signal_fd;
	bool dirty;
	int64_t painted_ms, lost_ms;
};

/* --- painting --- */

static int top_paint(struct topping *x)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int cols, rows;
	term_size(STDOUT_FILENO, &cols, &rows);
	top_lines(&x->top, cols, rows, &b);
	x->painted_ms = time_mono_ms();
	x->dirty = false;
	return screen_paint(buf_slice(&b)) < 0 ? EXIT_SIGNAL + SIGHUP : STAY;
}

/* When to be woken for the next painting; -1: not before something happens. */
static int64_t top_due(struct topping *x)
{
	size_t active;
	top_shown(&x->top, &active);
	if (x->dirty)
		return x->painted_ms + PAINT_MS;
	return active ? x->painted_ms + CLOCK_MS : -1;
}

/* --- keys --- */

static void top_say(struct topping *x, char *message)
{
	free(x->top.message);
	x->top.message = message;
	x->dirty = true;
}

/* Ourselves with a verb and the selected run; its last line is what is told. */
static void top_do(struct topping *x, const char *verb, const char *flag)
{
	const struct top_run *r = top_selected(&x->top);
	_cleanup_buf_ struct buf said = BUF_INIT;
	_cleanup_free_ char *run = xasprintf("%" PRId64, r ? r->v.run : 0);
	const char *argv[] = { verb, run, flag, NULL };
	if (!r)
		return;
	int status = self_capture(x->c, argv, &said);
	while (said.len && said.p[said.len - 1] == '\n')
		said.len--;
	const char *nl = said.len ? memrchr(said.p, '\n', said.len) : NULL;
	size_t from = nl ? (size_t)(nl + 1 - said.p) : 0;
	if (said.len == 0)
		buf_addf(&said, "%s %s: %s", verb, run, status ? "failed" : "done");
	top_say(x, xslicedup(slice_of(said.p + from, said.len - from)));
	if (strcmp(verb, "restart") == 0 && status == EXIT_OK)
		x->top.selected = 0; /* the new one is the first */
}

/* The screen is another's meanwhile. */
static int top_outside(struct topping *x, const char *verb, const char *flag)
{
	const struct top_run *r = top_selected(&x->top);
	_cleanup_free_ char *run = xasprintf("%" PRId64, r ? r->v.run : 0);
	const char *argv[] = { verb, run, flag, NULL };
	if (!r)
		return STAY;
	if (screen_lend() < 0)
		return EXIT_SIGNAL + SIGHUP;
	self_run(x->c, argv, x->signal_fd);
	self_pause(x->signal_fd, "press Enter to go back to top ");
	x->dirty = true;
	return screen_enter() < 0 ? EXIT_SIGNAL + SIGHUP : STAY;
}

static void top_ask(struct topping *x, int key, const char *what)
{
	const struct top_run *r = top_selected(&x->top);
	if (!r)
		return;
	top_say(x, xasprintf("%s run %" PRId64 "? y/n", what, r->v.run));
	x->top.asking = key;
	x->top.selected = r->v.run; /* also when a newer one comes meanwhile */
}

static void top_answer(struct topping *x, int key)
{
	int asked = x->top.asking;
	x->top.asking = 0;
	top_say(x, NULL);
	if (key != 'y' && key != 'Y')
		return;
	if (asked == 'c')
		top_do(x, "cancel", NULL);
	else
		top_do(x, "restart", "--failed");
}

static void top_pause(struct topping *x)
{
	const struct top_run *r = top_selected(&x->top);
	if (r)
		top_do(x, r->v.state == VIEW_PAUSED ? "resume" : "pause", NULL);
}

static int top_key(struct topping *x, int key)
{
	x->dirty = true;
	if (key == KEY_GONE)
		return EXIT_SIGNAL + SIGHUP;
	if (x->top.asking) {
		top_answer(x, key);
		return STAY;
	}
	if (key == 'q' || key == 'Q')
		return EXIT_OK;
	if (x->top.lost)
		return STAY;
	top_say(x, NULL);
	switch (key) {
	case 'k':
	case KEY_UP:
		top_move(&x->top, -1);
		break;
	case 'j':
	case KEY_DOWN:
		top_move(&x->top, 1);
		break;
	case KEY_PAGE_UP:
		top_move(&x->top, -10);
		break;
	case KEY_PAGE_DOWN:
		top_move(&x->top, 10);
		break;
	case 'g':
	case KEY_HOME:
		x->top.selected = 0;
		break;
	case 'G':
	case KEY_END:
		top_move(&x->top, (int)x->top.n);
		break;
	case 'f':
	case '\n':
	case '\r':
		return top_outside(x, "follow", "-o");
	case 'e':
		return top_outside(x, "explain", NULL);
	case 'c':
		top_ask(x, key, "cancel");
		break;
	case 'r':
		top_ask(x, key, "run again what failed of");
		break;
	case 'p':
		top_pause(x);
		break;
	case 'L' - '@':
		return screen_paint(SLICE_NONE) < 0 ? EXIT_SIGNAL + SIGHUP : STAY;
	}
	return STAY;
}

static int top_keys(struct topping *x)
{
	int status = STAY, key;
	screen_read(&x->keys);
	while (status == STAY && (key = screen_key(&x->keys)) != KEY_NONE)
		status = top_key(x, key);
	return status;
}

/* --- signals --- */

/* ^Z: the terminal is the shell's until we are let go on. */
static int top_stop(struct topping *x)
{
	screen_leave();
	raise(SIGSTOP);
	x->dirty = true;
	return screen_enter() < 0 ? EXIT_SIGNAL + SIGHUP : STAY;
}

static int top_signal(struct topping *x, int signal)
{
	x->dirty = true;
	if (signal == SIGTSTP)
		return top_stop(x);
	return signals_ends(signal) ? EXIT_SIGNAL + signal : STAY;
}

/* --- batchd goes and comes --- */

static int top_lose(struct topping *x)
{
	ctx_disconnect(x->c);
	x->top.lost = true;
	x->top.asking = 0;
	x->lost_ms = time_mono_ms();
	return top_paint(x);
}

/* A key, a signal, or a moment gone by; then another look. */
static int top_wait(struct topping *x)
{
	struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
				{ .fd = x->signal_fd, .events = POLLIN } };
	struct signalfd_siginfo info;
	int status = STAY;
	poll(fds, ARRAY_SIZE(fds), RETRY_MS);
	if (fds[0].revents)
		status = top_keys(x);
	if (status == STAY && read(x->signal_fd, &info, sizeof(info)) == sizeof(info))
		status = top_signal(x, (int)info.ssi_signo);
	if (status == STAY && x->dirty)
		status = top_paint(x);
	return status;
}

static int top_again(struct topping *x)
{
	struct err e = ERR_INIT;
	if (time_mono_ms() - x->lost_ms > GONE_MS) {
		screen_leave();
		return fail(x->c, EXIT_NO_DAEMON,
			    "batchd went away and did not come back within %d s", GONE_MS / 1000);
	}
	if (!daemon_is_running(x->c->socket) ||
	    conn_open(x->c->socket, ctx_cwd(), &x->c->conn, &e) != 0)
		return top_wait(x);
	if (top_load(&x->top)) {
		ctx_disconnect(x->c);
		return top_wait(x);
	}
	x->top.lost = false;
	x->dirty = true;
	return STAY;
}

/* --- the loop --- */

static int top_turn(struct topping *x)
{
	struct conn_in in;
	int64_t due = top_due(x);
	if (due >= 0 && due <= time_mono_ms()) {
		if (top_refresh(&x->top))
			return top_lose(x);
		return top_paint(x);
	}
	conn_watch_signals(x->c->conn, x->signal_fd);
	conn_watch_input(x->c->conn, STDIN_FILENO);
	switch (conn_next(x->c->conn, due, &in)) {
	case CONN_EVENT:
		x->dirty = true;
		return top_event(&x->top, in.body) ? top_lose(x) : STAY;
	case CONN_SIGNAL:
		return top_signal(x, in.signal);
	case CONN_INPUT:
		return top_keys(x);
	case CONN_CLOSED:
		return top_lose(x);
	case CONN_REPLY:
	case CONN_TIMEOUT:
		break;
	}
	return STAY;
}

static int top_loop(struct topping *x)
{
	int status = STAY;
	if (screen_enter() < 0)
		return fail(x->c, EXIT_RUN, "cannot take over the terminal");
	x->dirty = true;
	if (top_load(&x->top))
		status = top_lose(x);
	while (status == STAY)
		status = x->top.lost ? top_again(x) : top_turn(x);
	screen_leave();
	if (status > EXIT_SIGNAL)
		note(x->c, "the runs go on: `batchctl top` comes back to them");
	return status;
}

static int verb_top(struct ctx *c, void *options)
{
	struct top_options *o = options;
	if (!screen_possible())
		return fail(
			c, EXIT_USAGE,
			"it needs a terminal: `batchctl status` and `batchctl follow` do without");
	int status = ctx_connect(c, CTX_MAY_START);
	if (status)
		return status;
	struct topping x = { .c = c, .top = { .c = c }, .signal_fd = signals_watch(1) };
	x.top.project = o->everywhere ? NULL : ctx_project();
	status = top_loop(&x);
	top_done(&x.top);
	close(x.signal_fd);
	return status;
}

const struct verb cmd_top = {
	.name = "top",
	.run = verb_top,
	.help = "the runs of this project on the whole screen, live",
	.more = "Keys: j, k or arrows select a run; f follows it with its output, e explains it, c\n"
		"cancels it, r runs again what failed of it (both ask first), p pauses or resumes it,\n"
		"q quits. The runs go on without it.\n\n"
		"  batchctl top\n"
		"  batchctl top --everywhere\n",
	.options = top_opts,
	.options_size = sizeof(struct top_options),
};
