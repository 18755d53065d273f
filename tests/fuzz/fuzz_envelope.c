/*
 * Any bytes on a connection of batchd: whole, and in pieces, they have the same answers; these are
 * MessagePack, and each is a response, or a call where rpc.async asked for one; every call is
 * answered; and when the client is gone nothing of it stays. The handlers are the fuzzer's but for
 * those that need no run.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/paths.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/shape.h"
#include "daemon/rpc/subs.h"
#include "proto/mp.h"
#include "proto/scan.h"
#include "tests/fuzz/fuzz.h"

static struct {
	struct event_base *base;
	struct rpc_server *server;
	struct rpc_call *held; /* one at a time; answered when all is sent */
} w;

static void reply_int(struct rpc_call *call, int64_t v)
{
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	pk_int(&pk, v);
	rpc_reply(call, &b);
}

static void h_now(struct rpc_call *call, const void *params)
{
	HOLDS(params);
	reply_int(call, call->method->id);
}

static void h_refuse(struct rpc_call *call, const void *params)
{
	(void)params;
	rpc_failf(call, E_STATE, "%s: no\n\xff", call->method->name);
}

static void held_gone(struct rpc_call *call)
{
	w.held = NULL;
	rpc_failf(call, E_STATE, "gone");
}

static void h_hold(struct rpc_call *call, const void *params)
{
	if (w.held) {
		h_now(call, params);
		return;
	}
	call->gone = held_gone;
	w.held = call;
}

static const struct rpc_row rows[METHOD_MAX] = {
	[METHOD_RPC_HELLO] = { rpc_rpc_hello, 0 },
	[METHOD_RPC_UNSUBSCRIBE] = { rpc_rpc_unsubscribe, 0 },
	[METHOD_DAEMON_STATUS] = { h_now, 0 },
	[METHOD_BATCH_CHECK] = { h_refuse, 0 },
	[METHOD_BATCH_SUBMIT] = { h_now, ROW_MAKES_RUNS },
	[METHOD_RUN_LIST] = { h_now, ROW_SEES_RUNS | ROW_READS },
	[METHOD_RUN_GET] = { h_refuse, ROW_SEES_RUNS | ROW_READS },
	[METHOD_RUN_CANCEL] = { h_now, ROW_SEES_RUNS },
	[METHOD_RUN_OUTPUT] = { h_now, ROW_SEES_RUNS | ROW_READS },
	[METHOD_RUN_WAIT] = { h_hold, 0 },
	[METHOD_TODO_WRITE] = { h_now, ROW_MAKES_TODOS },
	[METHOD_TODO_LIST] = { h_now, ROW_SEES_TODOS | ROW_READS },
	[METHOD_GROUP_SET] = { h_now, 0 },
};

static void no_commit(void *arg, struct txn *t)
{
	(void)arg;
	txn_free(t);
}

static void init(void)
{
	static const struct engine_ports ports = { .commit = no_commit };
	static const struct engine_config config = { .slots = 1 };
	log_init("fuzz", LOG_ERROR);
	w.base = event_base_new();
	event_base_priority_init(w.base, 3);
	struct rpc_config rc = { .base = w.base,
				 .listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0),
				 .engine = engine_new(&config, &ports, 1, 0),
				 .runs_dir = "/nowhere",
				 .handlers = rows };
	w.server = rpc_server_new(&rc);
}

static void turns(void)
{
	for (int i = 0; i < 4; i++)
		event_base_loop(w.base, EVLOOP_NONBLOCK);
}

static bool take(int fd, struct buf *in)
{
	buf_reserve(in, 65536);
	ssize_t n = read(fd, in->p + in->len, 65536);
	in->len += n > 0 ? (size_t)n : 0;
	return n > 0;
}

/* All that the server says to these bytes, sent in pieces. */
static void converse(const uint8_t *data, size_t size, size_t piece, struct buf *said)
{
	int pair[2];
	HOLDS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	rpc_conn_new(w.server, pair[1], 1);
	for (size_t at = 0; at < size;) {
		size_t n = size - at < piece ? size - at : piece;
		ssize_t sent = send(pair[0], data + at, n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN)
			break; /* it has hung up */
		at += sent > 0 ? (size_t)sent : 0;
		turns();
		take(pair[0], said);
	}
	for (int i = 0; i < 3 || take(pair[0], said); i++)
		turns();
	if (w.held)
		reply_int(TAKE_PTR(w.held), 0);
	for (int i = 0; i < 3 || take(pair[0], said); i++)
		turns();
	close(pair[0]);
	turns();
	HOLDS(w.server->n_conns == 0 && w.server->n_calls == 0 && !w.held);
}

static void check_said(struct slice said)
{
	for (size_t at = 0; at < said.len;) {
		struct scan s;
		size_t used;
		scan_init(&s);
		HOLDS(scan_feed(&s, said.p + at, said.len - at, &used) == SCAN_DONE);
		struct mp m = mp_of(slice_of(said.p + at, used));
		struct mp_value head = mp_next(&m), type = mp_next(&m);
		HOLDS(head.type == MP_ARRAY && type.type == MP_INT);
		HOLDS((type.i == 1 && head.count == 4) || (type.i == 2 && head.count == 3));
		at += used;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf whole = BUF_INIT, pieces = BUF_INIT;
	if (!w.base)
		init();
	converse(data, size, size + 1, &whole);
	check_said(buf_slice(&whole));
	converse(data, size, size / 16 + 1, &pieces);
	HOLDS(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
	return 0;
}
