/*
 * A server with an engine that nobody submits to, handlers made for the test, and clients of it,
 * all in one process: the server's loop is turned while a client waits. Todos can be written: the
 * test answers for the store. Included by test_rpc.c and test_rpc_stored.c, one world a program.
 */
#ifndef TEST_RPC_WORLD_H
#define TEST_RPC_WORLD_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/shape.h"
#include "daemon/rpc/subs.h"
#include "proto/mp.h"
#include "proto/scan.h"

#define HELD_MAX 64
#define WAIT_MS 10000

static struct {
	struct event_base *base;
	struct rpc_server *server;
	struct engine *engine;
	char dir[64], socket[96];
	struct rpc_call *held[HELD_MAX]; /* calls that the handlers keep */
	unsigned n_held, n_called, n_gone;
	size_t reply_bytes;  /* of what batch_check answers */
	struct txn *txns[8]; /* handed to the store and not answered */
	unsigned n_txns;
} w;

/* --- handlers of the test --- */

static void reply_int(struct rpc_call *call, int64_t v)
{
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	pk_int(&pk, v);
	rpc_reply(call, &b);
}

static void h_now(struct rpc_call *call, const void *params)
{
	(void)params;
	w.n_called++;
	reply_int(call, w.n_called);
}

static void call_gone(struct rpc_call *call)
{
	struct err e = { .sym = E_STATE };
	for (unsigned i = 0; i < w.n_held; i++)
		if (w.held[i] == call)
			w.held[i] = w.held[--w.n_held];
	w.n_gone++;
	rpc_fail(call, &e);
}

static void h_hold(struct rpc_call *call, const void *params)
{
	(void)params;
	ck_assert_uint_lt(w.n_held, HELD_MAX);
	w.n_called++;
	w.held[w.n_held++] = call;
}

static void h_hold_gone(struct rpc_call *call, const void *params)
{
	call->gone = call_gone;
	h_hold(call, params);
}

static void h_big(struct rpc_call *call, const void *params)
{
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	(void)params;
	w.n_called++;
	_cleanup_free_ char *bytes = xcalloc(1, w.reply_bytes);
	pk_bin(&pk, slice_of(bytes, w.reply_bytes));
	rpc_reply(call, &b);
}

static const struct rpc_row rows[METHOD_MAX] = {
	[METHOD_RPC_HELLO] = { rpc_rpc_hello, 0 },
	[METHOD_RPC_UNSUBSCRIBE] = { rpc_rpc_unsubscribe, 0 },
	[METHOD_TODO_SUBSCRIBE] = { rpc_todo_subscribe, 0 },
	[METHOD_TODO_LISTS] = { rpc_todo_lists, 0 },
	[METHOD_TODO_LIST] = { rpc_todo_list, ROW_SEES_TODOS | ROW_READS },
	[METHOD_TODO_RELEASE] = { rpc_todo_release, ROW_MAKES_TODOS },
	[METHOD_DAEMON_STATUS] = { h_now, 0 },
	[METHOD_RUN_WAIT] = { h_hold_gone, 0 },
	[METHOD_RUN_GET] = { h_hold, ROW_READS | ROW_SEES_RUNS },
	[METHOD_BATCH_SUBMIT] = { h_hold, ROW_MAKES_RUNS },
	[METHOD_BATCH_CHECK] = { h_big, 0 },
};

/* --- the world --- */

static void w_commit(void *arg, struct txn *t)
{
	(void)arg;
	ck_assert_uint_lt(w.n_txns, ARRAY_SIZE(w.txns));
	w.txns[w.n_txns++] = t;
}

static void w_event(void *arg, const struct event *e)
{
	(void)arg;
	rpc_server_event(w.server, e);
}

/* There is nothing to load anew: a list whose write failed is as it was before it had any. */
static void w_lost(void *arg, const char *list)
{
	(void)arg;
	todos_list_reset(engine_todos(w.engine), list);
}

static int w_reload(void *arg, struct err *err)
{
	(void)arg;
	(void)err;
	return 0;
}

static void setup(void)
{
	static const struct engine_ports ports = {
		.commit = w_commit, .event = w_event, .todos_lost = w_lost, .todos_reload = w_reload
	};
	static const struct engine_config config = { .slots = 1 };
	memset(&w, 0, sizeof(w));
	signal(SIGPIPE, SIG_IGN);
	snprintf(w.dir, sizeof(w.dir), "/tmp/test-rpc-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w.dir));
	snprintf(w.socket, sizeof(w.socket), "%s/socket", w.dir);
	w.base = event_base_new();
	event_base_priority_init(w.base, 3);
	w.engine = engine_new(&config, &ports, 1, 0);
	int fd = unix_listen(w.socket, SOCK_STREAM, 128);
	ck_assert_int_ge(fd, 0);
	fd_set_nonblock(fd, true);
	const struct rpc_config rc = { .base = w.base,
				       .listen_fd = fd,
				       .engine = w.engine,
				       .runs_dir = w.dir,
				       .handlers = rows };
	w.server = rpc_server_new(&rc);
}

static void turn(void)
{
	event_base_loop(w.base, EVLOOP_NONBLOCK);
}

static void turns(void)
{
	for (int i = 0; i < 20; i++)
		turn();
}

static void teardown(void)
{
	turns();
	ck_assert_uint_eq(w.server->n_calls, w.n_held);
	while (w.n_held)
		reply_int(w.held[--w.n_held], 0);
	ck_assert_uint_eq(w.server->n_calls, 0);
	ck_assert_uint_eq(w.n_txns, 0);
	rpc_server_free(w.server);
	engine_free(w.engine);
	event_base_free(w.base);
	unlink(w.socket);
	rmdir(w.dir);
}

/* --- a client --- */

struct client {
	int fd;
	struct buf in;
	struct slice frame; /* the last one read */
	struct scan scan;
	size_t scanned;
	bool closed;
};

static struct client *client_new(void)
{
	struct client *c = xcalloc(1, sizeof(*c));
	c->fd = unix_connect(w.socket, SOCK_STREAM | SOCK_NONBLOCK);
	ck_assert_int_ge(c->fd, 0);
	scan_init(&c->scan);
	turns();
	return c;
}

static void client_free(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	buf_done(&c->in);
	free(c);
	turns();
}

static void send_bytes(struct client *c, const void *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(c->fd, p, len);
		if (n < 0 && errno == EPIPE)
			return;
		if (n > 0) {
			p = (const char *)p + n;
			len -= (size_t)n;
		}
		turn();
	}
}

static bool fill(struct client *c)
{
	buf_reserve(&c->in, 65536);
	ssize_t n = read(c->fd, c->in.p + c->in.len, 65536);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		c->closed = true;
	if (n > 0)
		c->in.len += (size_t)n;
	return n > 0;
}

/* The next frame; false: closed, or nothing came in a while. */
static bool next_frame(struct client *c, int ms)
{
	int64_t end = time_mono_ms() + ms;
	buf_consume(&c->in, c->frame.len);
	c->frame = SLICE_NONE;
	c->scanned = 0;
	scan_init(&c->scan);
	do {
		size_t used = 0;
		enum scan_result r =
			scan_feed(&c->scan, c->in.p + c->scanned, c->in.len - c->scanned, &used);
		ck_assert_msg(r != SCAN_REFUSED, "the server sent what is no MessagePack: %s",
			      c->scan.why);
		c->scanned += used;
		if (r == SCAN_DONE) {
			c->frame = slice_of(c->in.p, c->scanned);
			return true;
		}
		turn();
		if (!fill(c) && ms > 100)
			poll(NULL, 0, 1);
	} while (!c->closed && time_mono_ms() < end);
	return false;
}

static inline void expect_close(struct client *c)
{
	while (next_frame(c, WAIT_MS))
		;
	ck_assert_msg(c->closed, "the connection is still open");
}

static void pack_request(struct buf *b, uint32_t msgid, const char *method, struct slice map)
{
	struct pk pk = PK_INIT(b);
	pk_array(&pk);
	pk_int(&pk, 0);
	pk_int(&pk, msgid);
	pk_str(&pk, slice_str(method));
	pk_array(&pk);
	if (map.p)
		pk_raw(&pk, map);
	pk_end(&pk);
	pk_end(&pk);
}

static void request(struct client *c, uint32_t msgid, const char *method, struct slice map)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	pack_request(&b, msgid, method, map);
	send_bytes(c, b.p, b.len);
}

/* Reads one reply: its msgid, and its error as text or NULL. */
static uint32_t reply(struct client *c, char error[256], struct slice *ret_result)
{
	ck_assert_msg(next_frame(c, WAIT_MS), "no reply came");
	struct mp m = mp_of(c->frame);
	ck_assert_uint_eq(mp_next(&m).count, 4);
	ck_assert_int_eq(mp_next(&m).i, 1);
	uint32_t msgid = (uint32_t)mp_next(&m).i;
	struct mp_value e = mp_next(&m);
	error[0] = '\0';
	if (e.type == MP_ARRAY) {
		mp_next(&m);
		struct mp_value text = mp_next(&m);
		snprintf(error, 256, "%.*s", SLICE_FMT(text.bytes));
	}
	if (ret_result)
		*ret_result = mp_skip(&m);
	return msgid;
}

static void expect_fine(struct client *c, uint32_t msgid)
{
	char error[256];
	ck_assert_uint_eq(reply(c, error, NULL), msgid);
	ck_assert_str_eq(error, "");
}

static void expect_error(struct client *c, uint32_t msgid, const char *begins)
{
	char error[256];
	ck_assert_uint_eq(reply(c, error, NULL), msgid);
	ck_assert_msg(strncmp(error, begins, strlen(begins)) == 0, "'%s' does not begin with '%s'",
		      error, begins);
}

static inline struct slice map1(struct buf *b, const char *key, int64_t v)
{
	struct pk pk = PK_INIT(b);
	pk_map(&pk);
	pk_kint(&pk, key, v);
	pk_end(&pk);
	return buf_slice(b);
}

#endif
