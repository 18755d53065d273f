#include "daemon/rpc/rpc.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "daemon/rpc/answers.h"
#include "daemon/rpc/lend.h"
#include "daemon/rpc/opener.h"
#include "daemon/rpc/subs.h"
#include "proto/mp.h"
#include "proto/suggest.h"

/* What only names or asks about todos and the daemon need not wait for anything. */
const struct rpc_row rpc_handlers[METHOD_MAX] = {
	[METHOD_RPC_HELLO] = { rpc_rpc_hello, 0 },
	[METHOD_RPC_ASYNC] = { NULL, 0 }, /* not a call but a way to call: rpc_async */
	[METHOD_RPC_UNSUBSCRIBE] = { rpc_rpc_unsubscribe, 0 },
	[METHOD_BATCH_SUBMIT] = { rpc_batch_submit, ROW_MAKES_RUNS, rpc_batch_open,
				  rpc_batch_drop },
	[METHOD_BATCH_CHECK] = { rpc_batch_check, 0, rpc_check_open, rpc_batch_drop },
	[METHOD_RUN_LIST] = { rpc_run_list, ROW_SEES_RUNS | ROW_READS },
	[METHOD_RUN_GET] = { rpc_run_get, ROW_SEES_RUNS | ROW_READS },
	[METHOD_RUN_WAIT] = { rpc_run_wait, ROW_SEES_RUNS },
	[METHOD_RUN_CANCEL] = { rpc_run_cancel, ROW_SEES_RUNS | ROW_ACTS },
	[METHOD_RUN_PAUSE] = { rpc_run_pause, ROW_SEES_RUNS | ROW_ACTS },
	[METHOD_RUN_RESUME] = { rpc_run_resume, ROW_SEES_RUNS | ROW_ACTS },
	[METHOD_RUN_RESTART] = { rpc_run_restart, ROW_SEES_RUNS | ROW_READS | ROW_ALONE },
	[METHOD_RUN_OUTPUT] = { rpc_run_output, ROW_SEES_RUNS | ROW_READS },
	[METHOD_RUN_PLAN] = { rpc_run_plan, ROW_SEES_RUNS | ROW_READS },
	[METHOD_RUN_EXPLAIN] = { rpc_run_explain, ROW_SEES_RUNS | ROW_READS },
	[METHOD_RUN_FORGET] = { rpc_run_forget, ROW_SEES_RUNS | ROW_READS | ROW_ALONE },
	[METHOD_RUN_SUBSCRIBE] = { rpc_run_subscribe, ROW_SEES_RUNS | ROW_READS },
	[METHOD_TODO_WRITE] = { rpc_todo_write, ROW_MAKES_TODOS },
	[METHOD_TODO_LIST] = { rpc_todo_list, ROW_SEES_TODOS | ROW_READS },
	[METHOD_TODO_UPDATE] = { rpc_todo_update, ROW_MAKES_TODOS },
	[METHOD_TODO_CLAIM] = { rpc_todo_claim, ROW_MAKES_TODOS },
	[METHOD_TODO_RELEASE] = { rpc_todo_release, ROW_MAKES_TODOS },
	[METHOD_TODO_REMOVE] = { rpc_todo_remove, ROW_MAKES_TODOS },
	[METHOD_TODO_HISTORY] = { rpc_todo_history, ROW_SEES_TODOS | ROW_READS },
	[METHOD_TODO_RESTORE] = { rpc_todo_restore, ROW_SEES_TODOS | ROW_READS | ROW_ALONE },
	[METHOD_TODO_LISTS] = { rpc_todo_lists, 0 },
	[METHOD_TODO_SUBSCRIBE] = { rpc_todo_subscribe, 0 },
	[METHOD_GROUP_LIST] = { rpc_group_list, 0 },
	[METHOD_GROUP_SET] = { rpc_group_set, ROW_ALONE },
	[METHOD_DAEMON_STATUS] = { rpc_daemon_status, 0 },
	[METHOD_DAEMON_STOP] = { rpc_daemon_stop, 0 },
	[METHOD_DAEMON_RELOAD] = { rpc_daemon_reload, ROW_ALONE },
};

/* --- connections --- */

static struct rpc_conn *conn_find(struct rpc_server *s, uint64_t id)
{
	struct rpc_conn *c;
	HASH_FIND(hh, s->conns, &id, sizeof(id), c);
	return c;
}

struct rpc_conn *rpc_conn_new(struct rpc_server *s, int fd, pid_t pid)
{
	struct rpc_conn *c = xcalloc(1, sizeof(*c));
	c->s = s;
	c->id = ++s->last_conn;
	c->pid = pid;
	conn_find_parent(c);
	list_init(&c->calls);
	list_init(&c->subs);
	HASH_ADD(hh, s->conns, id, sizeof(c->id), c);
	s->n_conns++;
	c->peer = peer_new(&s->hub, fd, c);
	return c;
}

/* A line for each connection that misbehaves, unless they come by the thousand. */
static void conn_log(struct rpc_conn *c, const char *why)
{
	if (rpc_may_log(c->s, &c->s->log_closed))
		log_info("connection %" PRIu64 " (pid %d%s%s) closed: %s", c->id, (int)c->pid,
			 c->client ? ", " : "", c->client ? c->client : "", why);
}

void rpc_closed(void *user, const char *why)
{
	struct rpc_conn *c = user;
	struct rpc_server *s = c->s;
	if (why)
		conn_log(c, why);
	HASH_DEL(s->conns, c);
	s->n_conns--;
	if (c->opening)
		opener_forget(c);
	subs_conn_gone(s->subs, c);
	HASH_CLEAR(hh, c->pending);
	list_for_safe (&c->calls, node) {
		struct rpc_call *call = list_entry(node, struct rpc_call, list);
		list_del(&call->list);
		if (call->gone)
			call->gone(call);
	}
	free(c->client);
	free(c->cwd);
	free(c);
	if (!s->quiet && s->n_conns < s->max_conns)
		event_add(s->ev_accept, NULL);
}

void rpc_drained(void *user)
{
	subs_drained(user);
}

bool rpc_expects(void *user)
{
	struct rpc_conn *c = user;
	return !list_empty(&c->calls) || !list_empty(&c->subs);
}

/* --- answering --- */

struct rpc_conn *rpc_conn_of(const struct rpc_call *call)
{
	return conn_find(call->s, call->conn);
}

struct pk rpc_pk(const struct rpc_call *call, struct buf *b)
{
	return (struct pk){ .b = b, .omit_nil = call->omit_nil };
}

/* A call of such a row begins (by 1) or ends (by -1). */
static void conn_count(struct rpc_conn *c, unsigned flags, int by)
{
	uint32_t d = (uint32_t)by;
	c->n_reads += flags & ROW_READS ? d : 0;
	c->n_runs += flags & ROW_MAKES_RUNS ? d : 0;
	c->n_acts += flags & ROW_ACTS ? d : 0;
	c->n_todos += flags & ROW_MAKES_TODOS ? d : 0;
	c->n_alone += flags & ROW_ALONE ? d : 0;
}

static void call_end(struct rpc_call *call, struct rpc_conn *c)
{
	struct rpc_server *s = call->s;
	list_del(&call->list);
	if (c) {
		if (call->kind == CALL_REQUEST)
			HASH_DEL(c->pending, call);
		conn_count(c, call->flags, -1);
		c->n_calls--;
		peer_answered(c->peer);
		peer_resume(c->peer);
		opener_next(s);
	}
	buf_done(&call->push);
	free(call);
	s->n_calls--;
	if (s->freed && s->n_calls == 0)
		free(s);
}

/* Head of the answer up to where the error or the result goes. */
static void call_head(struct rpc_call *call, bool failed, struct buf *b)
{
	struct pk pk = PK_INIT(b);
	if (call->kind == CALL_ASYNC) {
		buf_addslice(b, buf_slice(&call->push));
		buf_addc(b, (char)0x81);
		pk_str(&pk, slice_str(failed ? "error" : "ok"));
		return;
	}
	buf_addc(b, (char)0x94);
	pk_int(&pk, 1); /* a response */
	pk_int(&pk, call->msgid);
	if (!failed)
		pk_nil(&pk);
}

/* False: the answer is one that cannot be given, and that has been said. */
static bool reply_fits(struct rpc_call *call, struct slice result)
{
	if (result.len > LIMIT_REPLY_BYTES) {
		rpc_failf(call, E_LIMIT,
			  "the answer would be longer than %u bytes: ask for less at a time",
			  LIMIT_REPLY_BYTES);
		return false;
	}
	if (call->kind == CALL_ASYNC && call->push_depth + 1 + mp_depth(result) > LIMIT_DEPTH_OUT) {
		rpc_failf(
			call, E_LIMIT,
			"the push would be nested more than %d deep: give one without an array at "
			"its end",
			LIMIT_DEPTH_OUT);
		return false;
	}
	return true;
}

/* The answer up to the result, to the connection; NULL: nobody waits for it. */
static struct peer *reply_begin(struct rpc_call *call, struct rpc_conn *c)
{
	_cleanup_buf_ struct buf head = BUF_INIT;
	if (!c || call->kind == CALL_NOTIFY)
		return NULL;
	call_head(call, false, &head);
	peer_send(c->peer, buf_slice(&head));
	return c->peer;
}

void rpc_reply(struct rpc_call *call, struct buf *result)
{
	if (reply_fits(call, buf_slice(result))) {
		struct rpc_conn *c = rpc_conn_of(call);
		struct peer *p = reply_begin(call, c);
		if (p)
			peer_send_buf(p, result);
		call_end(call, c);
	}
	buf_done(result);
}

bool rpc_reply_again(struct rpc_call *call, struct slice question, uint64_t rev)
{
	struct rpc_conn *c = rpc_conn_of(call);
	struct shared *result = answers_find(call->s->answers, question, rev);
	if (!result || (c && c->n_reads > 1))
		return false;
	if (reply_fits(call, slice_of(result->bytes, result->len))) {
		struct peer *p = reply_begin(call, c);
		if (p)
			peer_send_shared(p, result);
		call_end(call, c);
	}
	return true;
}

static void pack_error(const struct err *e, struct buf *b)
{
	struct pk pk = PK_INIT(b);
	_cleanup_buf_ struct buf text = BUF_INIT;
	buf_addf(&text, "%s: ", err_symbol_name(e->sym));
	text_one_line(&text, slice_str(e->text), sizeof(e->text));
	pk_array(&pk);
	pk_int(&pk, err_symbol_is_callers(e->sym));
	pk_str(&pk, buf_slice(&text));
	pk_end(&pk);
}

void rpc_fail(struct rpc_call *call, const struct err *e)
{
	struct rpc_conn *c = rpc_conn_of(call);
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (c && call->kind != CALL_NOTIFY) {
		call_head(call, true, &b);
		pack_error(e, &b);
		if (call->kind == CALL_REQUEST)
			buf_addc(&b, (char)0xc0);
		peer_send(c->peer, buf_slice(&b));
	}
	if (e->sym == E_INTERNAL)
		log_error("%s: %s", call->method ? call->method->name : "a request", e->text);
	call_end(call, c);
}

void rpc_failf(struct rpc_call *call, int sym, const char *fmt, ...)
{
	struct err e = { .sym = sym };
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	rpc_fail(call, &e);
}

/* --- pushes --- */

static void put_array(struct buf *b, uint32_t count)
{
	unsigned char head[5] = { 0xdd, (unsigned char)(count >> 24), (unsigned char)(count >> 16),
				  (unsigned char)(count >> 8), (unsigned char)count };
	if (count < 16) {
		buf_addc(b, (char)(0x90 | count));
	} else if (count < 65536) {
		head[2] = 0xdc;
		buf_add(b, head + 2, 3);
	} else {
		buf_add(b, head, 5);
	}
}

unsigned rpc_push_prefix(struct slice push, struct buf *b)
{
	struct pk pk = PK_INIT(b);
	put_array(b, 3);
	pk_int(&pk, 2); /* a notification */
	if (!push.p) {
		pk_str(&pk, slice_str("batchd.event"));
		put_array(b, 1);
		return 2;
	}
	uint32_t count;
	struct mp m = array_open(push, &count);
	buf_addslice(b, mp_skip(&m)); /* the method */
	struct slice last = SLICE_NONE;
	const char *args = m.p;
	for (uint32_t i = 1; i < count; i++)
		last = mp_skip(&m);
	if (!last.p ||
	    (last.len && mp_peek(&(struct mp){ last.p, last.p + last.len }) != MP_ARRAY)) {
		put_array(b, count);
		buf_add(b, args, (size_t)(m.p - args));
		return 2;
	}
	uint32_t inner;
	struct mp in = array_open(last, &inner);
	put_array(b, count - 1);
	buf_add(b, args, (size_t)(last.p - args));
	put_array(b, inner + 1);
	buf_add(b, in.p, (size_t)(in.end - in.p));
	return 3;
}

/* --- requests --- */

static struct rpc_call *call_new(struct rpc_conn *c, enum call_kind kind, uint32_t msgid)
{
	struct rpc_call *call = xcalloc(1, sizeof(*call));
	call->s = c->s;
	call->conn = c->id;
	call->kind = kind;
	call->msgid = msgid;
	call->omit_nil = c->omit_nil;
	call->s->n_calls++;
	c->n_calls++;
	list_add_tail(&c->calls, &call->list);
	if (kind == CALL_REQUEST)
		HASH_ADD(hh, c->pending, msgid, sizeof(call->msgid), call);
	return call;
}

static const struct rpc_row *row_of(const struct rpc_conn *c, const struct method *m)
{
	return &c->s->config.handlers[m->id];
}

static void call_unknown(struct rpc_call *call, struct slice name)
{
	char text[SUGGEST_TEXT_MAX];
	_cleanup_buf_ struct buf shown = BUF_INIT;
	struct suggest s = SUGGEST_INIT(name);
	for (int i = 0; i < METHOD_MAX; i++)
		if (call->s->config.handlers[i].fn)
			suggest_offer(&s, methods[i].name);
	text_one_line(&shown, name, LIMIT_METHOD_BYTES);
	rpc_failf(call, E_METHOD, "there is no method '%s'%s", buf_str(&shown),
		  suggest_text(&s, text));
}

/* Opens the request and calls the handler; answers itself where there is nothing to call. */
static void call_dispatch(struct rpc_call *call, struct rpc_conn *c, struct request *q)
{
	const struct method *m = call->method = q->method;
	if (c->n_calls > RPC_PENDING_MAX) {
		rpc_failf(call, E_BUSY, "%d requests of this connection wait for their answers",
			  RPC_PENDING_MAX);
		return;
	}
	if (m && m->flags & METHOD_NOTIFY_ONLY) {
		rpc_failf(call, E_METHOD, "'%s' is for notifications: [2, \"%s\", [...]]", m->name,
			  m->name);
		return;
	}
	if (!m) {
		call_unknown(call, q->name);
		return;
	}
	if (!row_of(c, m)->fn) {
		rpc_failf(call, E_METHOD, "'%s' is not offered by this version", m->name);
		return;
	}
	call->flags = row_of(c, m)->flags;
	conn_count(c, call->flags, 1);
	request_open(q, &c->s->config);
	if (q->refused) {
		rpc_fail(call, &q->err);
		return;
	}
	call->prepared = TAKE_PTR(q->prepared);
	q->row->fn(call, q->decoded);
}

/* What must be over before this method's turn comes. */
static bool must_wait(const struct rpc_conn *c, const struct method *m)
{
	unsigned flags = m ? row_of(c, m)->flags : 0;
	bool shows = flags & ROW_SEES_RUNS && !(flags & ROW_ACTS);
	return c->n_alone || (flags & ROW_SEES_RUNS && c->n_runs) || (shows && c->n_acts) ||
	       (flags & ROW_SEES_TODOS && c->n_todos) ||
	       (flags & ROW_READS && c->n_reads >= RPC_READS_MAX);
}

bool rpc_conn_settled(const struct rpc_conn *c)
{
	return !c->n_alone && !c->n_runs && !c->n_acts && !c->n_todos && c->n_reads < RPC_READS_MAX;
}

/* What is wrong with an rpc.async itself is pushed as well, where it says to whom. */
static void async_refused(struct rpc_conn *c, const struct request *q)
{
	struct slice push;
	if (!method_async_push(q->params, &push)) {
		log_debug("connection %" PRIu64 ": rpc.async: %s", c->id, q->err.text);
		return;
	}
	struct rpc_call *call = call_new(c, CALL_ASYNC, 0);
	call->method = q->method;
	call->push_depth = rpc_push_prefix(push, &call->push);
	rpc_fail(call, &q->err);
}

void rpc_take(struct rpc_conn *c, struct request *q)
{
	if (q->bad_async) {
		async_refused(c, q);
		return;
	}
	struct rpc_call *call = call_new(c, q->kind, q->msgid);
	if (q->kind == CALL_ASYNC)
		call->push_depth = rpc_push_prefix(q->push, &call->push);
	call_dispatch(call, c, q);
}

static bool msgid_is_pending(const struct rpc_conn *c, uint32_t msgid)
{
	struct rpc_call *same;
	HASH_FIND(hh, c->pending, &msgid, sizeof(msgid), same);
	return same;
}

static enum peer_verdict frame_bad(const char *why, const char **ret_why)
{
	*ret_why = why;
	return PEER_BAD;
}

enum peer_verdict rpc_frame(void *user, struct slice frame, const char **ret_why)
{
	struct rpc_conn *c = user;
	struct request q;
	if (c->opening)
		return PEER_LATER; /* it is this very frame */
	enum request_read read = request_read(frame, &q);
	if (read == REQUEST_NOTHING)
		return PEER_TAKEN;
	if (read == REQUEST_CALL && q.kind == CALL_REQUEST && msgid_is_pending(c, q.msgid))
		return frame_bad("it used a msgid again before the answer to it", ret_why);
	if (read != REQUEST_CALL)
		return frame_bad(read == REQUEST_ANSWER ? "it sent a reply, and was asked nothing"
							: "it sent what is not MessagePack-RPC",
				 ret_why);
	if (frame.len > PEER_LARGE_BYTES) {
		opener_add(c, &q);
		return PEER_LATER;
	}
	request_unwrap(&q);
	bool wait = !q.bad_async && must_wait(c, q.method);
	if (!wait)
		rpc_take(c, &q);
	request_done(&q);
	return wait ? PEER_LATER : PEER_TAKEN;
}
