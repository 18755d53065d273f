#include "client/ctx.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/daemon_start.h"
#include "client/json.h"
#include "client/signals.h"
#include "common/fd.h"
#include "common/lock.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "proto/errors.h"
#include "proto/mp.h"

#define RECONNECT_MS 30000
#define GREET_SLOW_MS 5000 /* an idle batchd greets within milliseconds */
#define GREET_MS 30000
#define RESET_WAIT_MS 3000 /* for what follows a daemon that was stopping */
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 2000
#define SAY_MAX 8192

/* One line on stderr in one write, so that lines of several programs do not mix. */
static void say(const struct ctx *c, const char *fmt, va_list ap)
{
	_cleanup_buf_ struct buf line = BUF_INIT, text = BUF_INIT;
	buf_addf(&line, "%s: ", c->command ? c->command : "batchctl");
	buf_vaddf(&text, fmt, ap);
	text_one_line(&line, buf_slice(&text), SAY_MAX); /* names in it may hold anything */
	buf_addc(&line, '\n');
	if (fd_write_all(STDERR_FILENO, line.p, line.len) < 0)
		return; /* nobody left to tell */
}

void note(const struct ctx *c, const char *fmt, ...)
{
	va_list ap;
	if (c->quiet)
		return;
	va_start(ap, fmt);
	say(c, fmt, ap);
	va_end(ap);
}

int fail(const struct ctx *c, int status, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say(c, fmt, ap);
	va_end(ap);
	return status;
}

/* What to do about an answer of batchd's, where it is always the same. */
static const char *fail_hint(const struct err *e, const char *text)
{
	static const struct {
		int sym;
		const char *says, *hint;
	} hints[] = {
		{ E_NOT_FOUND, "no run ", ": see `batchctl status --everywhere`" },
		{ E_NOT_FOUND, " has no op ", ": see `batchctl status RUN`" },
		{ E_STATE, " has ended ", ": `batchctl restart` runs it again" },
		{ E_STORAGE, "", ": see `batchctl doctor`" },
		{ E_VERSION, "", ": see `batchctl doctor`" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
		if (hints[i].sym == e->sym && strstr(text, hints[i].says))
			return hints[i].hint;
	return "";
}

int fail_err(const struct ctx *c, const struct err *e)
{
	if (e->sym == E_NONE)
		return fail(c, EXIT_USAGE, "%s", e->text);
	const char *symbol = err_symbol_name(e->sym);
	size_t len = strlen(symbol);
	const char *text = strncmp(e->text, symbol, len) == 0 && e->text[len] == ':'
				   ? e->text + len + 1
				   : e->text;
	text += strspn(text, " ");
	return fail(c, err_symbol_is_callers(e->sym) ? EXIT_USAGE : EXIT_RUN, "%s (%s)%s", text,
		    symbol, fail_hint(e, text));
}

const char *ctx_cwd(void)
{
	static char cwd[PATH_MAX];
	return getcwd(cwd, sizeof(cwd)) ? cwd : NULL;
}

char *ctx_project(void)
{
	const char *cwd = ctx_cwd();
	if (!cwd)
		return NULL;
	char *project = path_project(cwd);
	return project ? project : xstrdup(cwd);
}

/* Nobody serves the socket. The daemon of our state folder may serve another. */
static int ctx_none(const struct ctx *c)
{
	_cleanup_free_ char *state = path_default_state(NULL);
	_cleanup_(lock_holder_done) struct lock_holder h = LOCK_HOLDER_INIT;
	if (state && lock_look(state, &h) && h.socket && strcmp(h.socket, c->socket) != 0)
		return fail(c, EXIT_NO_DAEMON,
			    "no daemon at '%s'; the one of state folder '%s' (pid %d) is at '%s': "
			    "name that with --socket or BATCHD_SOCKET",
			    c->socket, state, (int)h.pid, h.socket);
	if (h.pid > 1 && h.socket && !h.leaving && access(c->socket, F_OK) < 0)
		return fail(c, EXIT_NO_DAEMON,
			    "batchd (pid %d) runs, but there is no '%s': wait a moment if it is "
			    "just starting; else its socket file was removed: `kill %d`, then "
			    "`batchctl daemon start`",
			    (int)h.pid, c->socket, (int)h.pid);
	return fail(c, EXIT_NO_DAEMON,
		    "no daemon running at '%s': start one with `batchctl daemon start`", c->socket);
}

/* What a failed conn_open means. */
static int ctx_open_failed(struct ctx *c, int r, const struct err *e)
{
	if (r > 0)
		return fail_err(c, e);
	if (r == -ECONNRESET)
		return fail(c, EXIT_NO_DAEMON, "what listens at '%s' hung up: is it batchd?",
			    c->socket);
	if (r == -ETIMEDOUT)
		return fail(c, EXIT_NO_DAEMON,
			    "what listens at '%s' did not answer within %d s: `batchctl doctor` "
			    "says what to do",
			    c->socket, GREET_MS / 1000);
	return fail(c, EXIT_NO_DAEMON, "cannot connect to '%s': %s: %s", c->socket, strerror(-r),
		    trouble_mend(-r));
}

static bool ctx_nobody(int r)
{
	return r == -ECONNREFUSED || r == -ENOENT || r == -ENOTDIR;
}

void ctx_disconnect(struct ctx *c)
{
	c->conn = conn_free(c->conn);
}

/* Waits for the folder to change, a signal, or `ms`. The signal's number, else 0. */
static int ctx_wait_change(int watch_fd, int signal_fd, int64_t ms)
{
	struct pollfd fds[2] = { { .fd = watch_fd, .events = POLLIN },
				 { .fd = signal_fd, .events = POLLIN } };
	char events[4096];
	struct signalfd_siginfo info;
	if (poll(fds, 2, (int)ms) <= 0)
		return 0;
	if ((fds[0].revents & POLLIN) && read(watch_fd, events, sizeof(events)) < 0)
		return 0;
	if ((fds[1].revents & POLLIN) && read(signal_fd, &info, sizeof(info)) == sizeof(info) &&
	    signals_ends((int)info.ssi_signo))
		return (int)info.ssi_signo;
	return 0;
}

static void ctx_say_slow(struct ctx *c, pid_t pid)
{
	_cleanup_free_ char *who = pid > 1 ? xasprintf(" (pid %d)", (int)pid) : xstrdup("");
	note(c,
	     "what listens at '%s'%s does not answer yet: it is starting, stopped or held up; "
	     "`batchctl doctor` says more",
	     c->socket, who);
}

/* One that takes no connection for a while has so many waiting already that the kernel has us wait
 * for room. Who it is only the lock tells then. */
static int ctx_open_socket(struct ctx *c)
{
	int r = conn_connect(c->socket, ctx_cwd(), GREET_SLOW_MS, &c->conn);
	if (r != -ETIMEDOUT)
		return r;
	_cleanup_free_ char *state = path_default_state(NULL);
	_cleanup_(lock_holder_done) struct lock_holder h = LOCK_HOLDER_INIT;
	bool known = state && lock_look(state, &h) && h.socket && strcmp(h.socket, c->socket) == 0;
	ctx_say_slow(c, known ? h.pid : 0);
	return conn_connect(c->socket, ctx_cwd(), GREET_MS - GREET_SLOW_MS, &c->conn);
}

/* As conn_open, but says what it waits for, and not for ever: a batchd that systemd starts for us
 * may have many runs to read, one that is stopped or hangs does not come back by itself. */
static int ctx_open_once(struct ctx *c, struct err *e)
{
	int r = ctx_open_socket(c);
	if (r < 0)
		return r;
	r = conn_greet(c->conn, GREET_SLOW_MS, e);
	if (r == -ETIMEDOUT) {
		ctx_say_slow(c, conn_peer_pid(c->conn));
		r = conn_greet(c->conn, GREET_MS - GREET_SLOW_MS, e);
	}
	if (r != 0)
		ctx_disconnect(c);
	return r;
}

/* As ctx_open_once, but never wakes a batchd that systemd would start for the connection. */
static int ctx_open_running(struct ctx *c, struct err *e)
{
	return daemon_is_running(c->socket) ? ctx_open_once(c, e) : -ECONNREFUSED;
}

/*
 * Opens the connection. One that is reset before it was greeted meets a daemon that is stopping:
 * what comes after it, if anything, is waited for, a short while.
 */
static int ctx_open(struct ctx *c, enum ctx_start start, struct err *e)
{
	int r = ctx_open_once(c, e);
	if (r != -ECONNRESET)
		return r;
	int64_t deadline = time_mono_ms() + RESET_WAIT_MS, pause = RETRY_MIN_MS;
	_cleanup_close_ int watch_fd = unix_watch(c->socket);
	for (int64_t left; r < 0 && (left = deadline - time_mono_ms()) > 0;
	     pause = MIN2(pause * 2, RETRY_MAX_MS)) {
		ctx_wait_change(watch_fd, -1, MIN2(pause, left));
		r = start == CTX_NEVER_START ? ctx_open_running(c, e) : ctx_open_once(c, e);
	}
	return r;
}

int ctx_connect(struct ctx *c, enum ctx_start start)
{
	struct err e = ERR_INIT;
	if (c->conn)
		return EXIT_OK;
	if (start == CTX_NEVER_START && !daemon_is_running(c->socket))
		return ctx_none(c);
	int r = ctx_open(c, start, &e);
	if (!ctx_nobody(r))
		return r == 0 ? EXIT_OK : ctx_open_failed(c, r, &e);
	if (start == CTX_NEVER_START)
		return ctx_none(c);
	/* Where it cannot be started, somebody (systemd, perhaps) may have been quicker. */
	struct err connecting = ERR_INIT;
	int started = daemon_start(c->socket, &e);
	r = ctx_open_once(c, &connecting);
	if (started && ctx_nobody(r))
		return fail(c, EXIT_NO_DAEMON, "%s", e.text);
	e = connecting;
	return r == 0 ? EXIT_OK : ctx_open_failed(c, r, &e);
}

/* A daemon that is restarted comes back by itself; one that was stopped is to stay so. */
int ctx_reconnect(struct ctx *c, int signal_fd)
{
	int64_t deadline = time_mono_ms() + RECONNECT_MS, pause = RETRY_MIN_MS;
	_cleanup_close_ int watch_fd = unix_watch(c->socket);
	struct err e = ERR_INIT;
	ctx_disconnect(c);
	for (bool told = false;; pause = MIN2(pause * 2, RETRY_MAX_MS)) {
		int r = ctx_open_running(c, &e);
		if (r == 0)
			return EXIT_OK;
		int64_t left = deadline - time_mono_ms();
		if (left <= 0)
			return fail(c, EXIT_NO_DAEMON,
				    "batchd went away and did not come back within %d s",
				    RECONNECT_MS / 1000);
		if (!told && pause > 4 * RETRY_MIN_MS) {
			note(c, "batchd went away; waiting for it to come back");
			told = true;
		}
		int sig = ctx_wait_change(watch_fd, signal_fd, MIN2(pause, left));
		if (sig)
			return EXIT_SIGNAL + sig;
	}
}

int ctx_try(struct ctx *c, const char *method, const struct buf *params, struct buf *ret,
	    struct err *e)
{
	return conn_call(c->conn, method, params ? buf_slice(params) : SLICE_NONE, ret, e);
}

int ctx_call(struct ctx *c, const char *method, const struct buf *params, struct buf *ret)
{
	struct err e = ERR_INIT;
	int r = ctx_try(c, method, params, ret, &e);
	if (r < 0)
		return fail(c, EXIT_NO_DAEMON, "%s", e.text);
	return r ? fail_err(c, &e) : EXIT_OK;
}

void ctx_warnings(struct ctx *c, struct slice reply)
{
	struct mp m = mp_of(mp_find(reply, "warnings"));
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		_cleanup_buf_ struct buf line = BUF_INIT;
		struct mp_value one = mp_next(&m);
		if (one.type != MP_STR && one.type != MP_BIN)
			continue;
		text_one_line(&line, one.bytes, 1000);
		note(c, "warning: %s", buf_str(&line));
	}
}

int ctx_print(struct ctx *c, const struct buf *text)
{
	int r = fd_write_all(STDOUT_FILENO, text->p, text->len);
	if (r == 0 || r == -EPIPE)
		return r ? EXIT_RUN : EXIT_OK;
	return fail(c, EXIT_RUN, "cannot write to stdout: %s", strerror(-r));
}

int ctx_print_changed(struct ctx *c, int printed, const char *how, const struct buf *text)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	for (size_t i = 0; printed && i < text->len; i++) {
		if (text->p[i] != '\n')
			buf_addc(&line, text->p[i]);
		else if (i + 1 < text->len)
			buf_adds(&line, ", ");
	}
	if (line.len)
		note(c, "%s %s", how, buf_str(&line));
	return printed;
}

int ctx_print_json(struct ctx *c, struct slice value)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	json_print_mp(value, JSON_LINE, &text);
	buf_addc(&text, '\n');
	return ctx_print(c, &text);
}
