#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/daemon_start.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/mp.h"
#include "proto/pack.h"

struct daemon_options {
	bool drain;
};

static const struct opt stop_opts[] = {
	{ "drain", 0, OPT_FLAG, offsetof(struct daemon_options, drain), NULL,
	  "let what runs end first" },
	OPT_END,
};

/* ---- status ---- */

static void status_time(struct buf *b, int64_t ms)
{
	time_t t = ms / 1000;
	struct tm tm;
	char text[32] = "";
	if (localtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	buf_adds(b, text);
}

static void status_line(struct buf *b, struct slice key, struct mp_value v)
{
	buf_addf(b, "%-14.*s", SLICE_FMT(key));
	switch (v.type) {
	case MP_BOOL:
		buf_adds(b, v.b ? "yes" : "no");
		break;
	case MP_INT:
		if (slice_is(key, "started"))
			status_time(b, v.i);
		else
			buf_addf(b, "%" PRId64, v.i);
		break;
	case MP_STR:
	case MP_BIN:
		text_one_line(b, v.bytes, 400);
		break;
	case MP_FLOAT:
		buf_addf(b, "%.2f", v.f);
		break;
	default:
		buf_addc(b, '-');
		break;
	}
	buf_addc(b, '\n');
}

/* "key  value" lines; maps in it are unfolded. */
static void status_lines(struct buf *b, struct slice map)
{
	struct mp m = mp_of(map);
	struct mp_value head = mp_next(&m);
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct slice key = mp_next(&m).bytes;
		enum mp_type type = mp_peek(&m);
		struct slice value = mp_skip(&m);
		struct mp one = mp_of(value);
		if (type == MP_MAP)
			status_lines(b, value);
		else if (type != MP_ARRAY)
			status_line(b, key, mp_next(&one));
	}
}

static int verb_daemon_status(struct ctx *c, void *options)
{
	_cleanup_buf_ struct buf reply = BUF_INIT, b = BUF_INIT;
	(void)options;
	int status = ctx_connect(c, CTX_NEVER_START);
	if (status == EXIT_OK)
		status = ctx_call(c, "daemon.status", NULL, &reply);
	if (status)
		return status;
	if (c->json)
		return ctx_print_json(c, buf_slice(&reply));
	buf_addf(&b, "running at '%s'\n", c->socket);
	status_lines(&b, buf_slice(&reply));
	return ctx_print(c, &b);
}

static const struct verb cmd_daemon_status = {
	.name = "status",
	.run = verb_daemon_status,
	.help = "tell whether batchd runs, and how it is",
	.more = "Exit 125 when none runs; never starts one.\n\n  batchctl daemon status --json\n",
	.options_size = sizeof(struct daemon_options),
};

/* ---- start ---- */

static int verb_daemon_start(struct ctx *c, void *options)
{
	_cleanup_buf_ struct buf reply = BUF_INIT;
	(void)options;
	bool was = daemon_is_running(c->socket);
	int status = ctx_connect(c, CTX_MAY_START);
	if (status)
		return status;
	note(c, "batchd %s at '%s'", was ? "runs already" : "started", c->socket);
	if (!c->json)
		return EXIT_OK;
	status = ctx_call(c, "daemon.status", NULL, &reply);
	return status ? status : ctx_print_json(c, buf_slice(&reply));
}

static const struct verb cmd_daemon_start = {
	.name = "start",
	.run = verb_daemon_start,
	.help = "start batchd unless one runs",
	.more = "--json prints its status.\n\n  batchctl daemon start\n",
	.options_size = sizeof(struct daemon_options),
};

/* ---- stop ---- */

/* A fd that becomes readable when the process has ended (pidfd_open(2)); -1: it has, or cannot be
 * watched. */
static int stop_watch(int64_t pid)
{
	return pid > 0 ? (int)syscall(SYS_pidfd_open, (pid_t)pid, 0) : -1;
}

static int64_t stop_pid(struct ctx *c)
{
	_cleanup_buf_ struct buf reply = BUF_INIT;
	struct err e = ERR_INIT;
	int64_t dflt = conn_peer_pid(c->conn);
	if (ctx_try(c, "daemon.status", NULL, &reply, &e) != 0)
		return dflt;
	return mp_get_int(buf_slice(&reply), "pid", dflt);
}

/* Until batchd has hung up and, where it can be told, is gone: then a new one can start at once. */
static void stop_await(struct ctx *c, int process)
{
	struct conn_in in;
	while (conn_next(c->conn, -1, &in) != CONN_CLOSED)
		;
	struct pollfd fd = { .fd = process, .events = POLLIN };
	while (process >= 0 && poll(&fd, 1, -1) < 0 && errno == EINTR)
		;
}

/* None runs: that is well. Under --json as daemon.stop would answer. */
static int stop_nothing(struct ctx *c)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	note(c, "no daemon running at '%s'", c->socket);
	pk_map(&pk);
	pk_kbool(&pk, "stopping", false);
	pk_kbool(&pk, "draining", false);
	pk_end(&pk);
	return c->json ? ctx_print_json(c, buf_slice(&b)) : EXIT_OK;
}

static int verb_daemon_stop(struct ctx *c, void *options)
{
	struct daemon_options *o = options;
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	if (!daemon_is_running(c->socket))
		return stop_nothing(c);
	int status = ctx_connect(c, CTX_NEVER_START);
	if (status)
		return status == EXIT_NO_DAEMON ? stop_nothing(c) : status;
	_cleanup_close_ int process = stop_watch(stop_pid(c));
	pk_map(&pk);
	if (o->drain)
		pk_kbool(&pk, "drain", true);
	pk_end(&pk);
	int r = ctx_try(c, "daemon.stop", &params, &reply, &e);
	if (r > 0)
		return fail_err(c, &e);
	if (r < 0)
		return stop_nothing(c);
	stop_await(c, process);
	return c->json ? ctx_print_json(c, buf_slice(&reply)) : EXIT_OK;
}

static const struct verb cmd_daemon_stop = {
	.name = "stop",
	.run = verb_daemon_stop,
	.help = "stop batchd; ops go on",
	.more = "Ops that run go on, and are found again by the next batchd. --drain waits for "
		"them.\n"
		"With none running: nothing to do, exit 0.\n\n  batchctl daemon stop --drain\n",
	.options = stop_opts,
	.options_size = sizeof(struct daemon_options),
};

/* ---- reload ---- */

static void reload_word(struct buf *b, struct slice change, const char *key)
{
	struct slice word = mp_get_str(change, key);
	if (word.len)
		text_one_line(b, word, 200);
	else
		buf_adds(b, "default");
}

/* "slots: 4 -> 8", a line a setting. */
static void reload_lines(struct buf *b, struct slice reply)
{
	struct mp m = mp_of(mp_find(reply, "changed"));
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice change = mp_skip(&m);
		text_one_line(b, mp_get_str(change, "name"), 400);
		buf_adds(b, ": ");
		reload_word(b, change, "before");
		buf_adds(b, " -> ");
		reload_word(b, change, "after");
		buf_addc(b, '\n');
	}
}

static int verb_daemon_reload(struct ctx *c, void *options)
{
	_cleanup_buf_ struct buf reply = BUF_INIT, b = BUF_INIT;
	(void)options;
	int status = ctx_connect(c, CTX_NEVER_START);
	if (status == EXIT_OK)
		status = ctx_call(c, "daemon.reload", NULL, &reply);
	if (status)
		return status;
	if (c->json)
		return ctx_print_json(c, buf_slice(&reply));
	reload_lines(&b, buf_slice(&reply));
	if (b.len == 0)
		note(c, "nothing changed");
	return ctx_print(c, &b);
}

static const struct verb cmd_daemon_reload = {
	.name = "reload",
	.run = verb_daemon_reload,
	.help = "have batchd read batchd.conf again",
	.more = "Prints what changed. A file that is wrong is refused, naming the line, and "
		"changes\nnothing. See batchd.conf(5).\n\n  batchctl daemon reload\n",
	.options_size = sizeof(struct daemon_options),
};

static const struct verb *const daemon_verbs[] = { &cmd_daemon_status, &cmd_daemon_start,
						   &cmd_daemon_stop, &cmd_daemon_reload, NULL };

const struct verb cmd_daemon = {
	.name = "daemon",
	.usage = "start|stop|status|reload",
	.help = "the daemon itself",
	.more = "  batchctl daemon status\n  batchctl daemon stop --drain\n",
	.options_size = sizeof(struct daemon_options),
	.subs = daemon_verbs,
};
