#include "client/link.h"

#include <errno.h>
#include <string.h>

#include "client/conn.h"
#include "client/ctx.h"
#include "client/daemon_start.h"
#include "client/link_subs.h"
#include "common/list.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/methods.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define LINK_RECONNECT_MS 30000
#define LINK_RETRY_MIN_MS 50
#define LINK_RETRY_MAX_MS 2000
#define LINK_HELLO_MS 10000 /* for the greeting of what listens */

struct link_call {
	struct list list;
	char *method;
	struct buf params;
	link_reply_fn reply; /* NULL: a notification */
	void *arg;
	bool sent;
	uint32_t msgid;
};

struct link {
	struct ctx *c;
	bool may_start;
	link_push_fn push;
	void *push_arg;
	struct list calls; /* in the order they were made */
	size_t n_calls;
	struct link_subs subs;
	struct buf hello; /* the params last said hello with; empty: none */
	int64_t give_up;  /* while a lost daemon is waited for: until when; else 0 */
	int64_t retry, pause;
	bool more; /* the last turn did not take all that had come */
};

struct link *link_new(struct ctx *c, bool may_start, link_push_fn push, void *arg)
{
	struct link *l = xcalloc(1, sizeof(*l));
	*l = (struct link){ .c = c, .may_start = may_start, .push = push, .push_arg = arg };
	list_init(&l->calls);
	link_subs_init(&l->subs);
	return l;
}

static void link_call_free(struct link *l, struct link_call *call)
{
	list_del(&call->list);
	l->n_calls--;
	buf_done(&call->params);
	free(call->method);
	free(call);
}

size_t link_pending(const struct link *l)
{
	return l->n_calls;
}

static bool link_has_connection(const struct link *l)
{
	return l->c->conn != NULL;
}

static void link_resumed(void *arg, struct slice result, const struct err *e);
static void link_ignore(void *arg, struct slice result, const struct err *e);

/* ---- calls ---- */

static bool link_unsubscribes(const struct link_call *call)
{
	return strcmp(call->method, "rpc.unsubscribe") == 0;
}

/* Sends it, which ends a notification. A subscription that is being made again has no number of
 * batchd's yet: ending it waits for that. */
static void link_send(struct link *l, struct link_call *call)
{
	struct slice params = call->params.len ? buf_slice(&call->params) : SLICE_NONE;
	if (!call->reply) {
		conn_notify(l->c->conn, call->method, params);
		link_call_free(l, call);
		return;
	}
	_cleanup_buf_ struct buf theirs = BUF_INIT;
	struct link_sub *s = link_unsubscribes(call) ? link_subs_named(&l->subs, params) : NULL;
	if (s && !s->live)
		return;
	/* A number that is none of ours must not end one that has it over there. */
	if (s || (link_unsubscribes(call) && link_subs_taken(&l->subs, params))) {
		struct pk pk = PK_INIT(&theirs);
		pk_map(&pk);
		pk_kint(&pk, "sub", s ? s->theirs : LIMIT_INT);
		pk_end(&pk);
		params = buf_slice(&theirs);
	}
	call->msgid = conn_send(l->c->conn, call->method, params);
	call->sent = true;
}

void link_call(struct link *l, const char *method, struct slice params, link_reply_fn reply,
	       void *arg)
{
	struct link_call *call = xcalloc(1, sizeof(*call));
	call->method = xstrdup(method);
	call->reply = reply;
	call->arg = arg;
	if (params.p)
		buf_addslice(&call->params, params);
	list_add_tail(&l->calls, &call->list);
	l->n_calls++;
	if (link_has_connection(l))
		link_send(l, call);
}

void link_notify(struct link *l, const char *method, struct slice params)
{
	link_call(l, method, params, NULL, NULL);
}

/* Ends a call. What is remembered of it for the next daemon is taken from its params first. */
static void link_answer(struct link *l, struct link_call *call, struct slice result,
			const struct err *e)
{
	_cleanup_buf_ struct buf ours = BUF_INIT;
	struct slice params = buf_slice(&call->params);
	if (!e && strcmp(call->method, "rpc.hello") == 0) {
		buf_clear(&l->hello);
		buf_addslice(&l->hello, params);
	}
	struct link_sub *ended =
		!e && link_unsubscribes(call) ? link_subs_named(&l->subs, params) : NULL;
	if (ended)
		link_sub_free(ended);
	if (!e && call->reply != link_resumed &&
	    link_subs_begin(&l->subs, call->method, params, result, &ours))
		result = buf_slice(&ours);
	if (call->reply)
		call->reply(call->arg, result, e);
	link_call_free(l, call);
}

struct link *link_free(struct link *l)
{
	struct err e = ERR_INIT;
	if (!l)
		return NULL;
	err_set(&e, E_NONE, "not waited for");
	while (!list_empty(&l->calls))
		link_answer(l, list_entry(l->calls.next, struct link_call, list), SLICE_NONE, &e);
	link_subs_done(&l->subs);
	buf_done(&l->hello);
	ctx_disconnect(l->c);
	free(l);
	return NULL;
}

static void link_fail_all(struct link *l, const struct err *e)
{
	/* A callback may make another call, which is not for us. */
	for (size_t n = l->n_calls; n > 0 && !list_empty(&l->calls); n--)
		link_answer(l, list_entry(l->calls.next, struct link_call, list), SLICE_NONE, e);
}

static struct link_call *link_find(struct link *l, uint32_t msgid)
{
	list_for (&l->calls, node) {
		struct link_call *call = list_entry(node, struct link_call, list);
		if (call->sent && call->msgid == msgid)
			return call;
	}
	return NULL;
}

/* ---- connecting ---- */

/* May it be made again when nobody knows whether it was done? */
static bool link_may_repeat(const struct link_call *call)
{
	const struct method *m = method_find(slice_str(call->method));
	if (!m || !(m->flags & METHOD_MUTATES))
		return true;
	return m->id == METHOD_BATCH_SUBMIT &&
	       mp_find(mp_find(buf_slice(&call->params), "batch"), "key").p;
}

static void link_lost(struct link *l)
{
	struct err e = ERR_INIT;
	ctx_disconnect(l->c);
	link_subs_lost(&l->subs);
	l->pause = LINK_RETRY_MIN_MS;
	l->retry = time_mono_ms();
	l->give_up = l->retry + LINK_RECONNECT_MS;
	list_for_safe (&l->calls, node) {
		struct link_call *call = list_entry(node, struct link_call, list);
		bool own = call->reply == link_resumed || call->reply == link_ignore;
		if (own)
			link_call_free(l, call); /* made anew with the next connection */
		if (own)
			continue;
		if (!call->sent || link_may_repeat(call)) {
			call->sent = false;
			continue;
		}
		err_set(&e, E_INTERNAL,
			"E_INTERNAL: batchd went away while '%s' was under way: whether it was "
			"done is not known",
			call->method);
		link_answer(l, call, SLICE_NONE, &e);
	}
}

static int link_none(const struct link *l, struct err *e)
{
	return err_set(e, E_NONE,
		       "no daemon running at '%s': start one with `batchctl daemon start`",
		       l->c->socket);
}

static int link_open_now(struct link *l, struct err *e)
{
	struct ctx *c = l->c;
	int r = conn_open_within(c->socket, ctx_cwd(), LINK_HELLO_MS, &c->conn, e);
	if (r < 0 && !e->text[0])
		err_set(e, E_NONE, "cannot connect to '%s': %s", c->socket, strerror(-r));
	return r;
}

/* 0, or another value with e filled. */
static int link_open(struct link *l, bool start, struct err *e)
{
	if (!start && !daemon_is_running(l->c->socket))
		return link_none(l, e);
	int r = link_open_now(l, e);
	if (!start || (r != -ECONNREFUSED && r != -ENOENT && r != -ENOTDIR))
		return r;
	e->text[0] = '\0';
	if (daemon_start(l->c->socket, e) == 0)
		e->text[0] = '\0';
	struct err connecting = ERR_INIT;
	r = link_open_now(l, &connecting);
	if (r && !e->text[0])
		*e = connecting;
	return r;
}

static void link_resumed(void *arg, struct slice result, const struct err *e)
{
	struct link_sub *s = arg;
	struct link *l = s->owner;
	_cleanup_buf_ struct buf args = BUF_INIT;
	struct slice method, event;
	link_sub_resumed(s, result, e, &args, &method, &event);
	l->push(l->push_arg, method, buf_slice(&args), event);
	if (e)
		link_sub_free(s);
	list_for_safe (&l->calls, node) {
		struct link_call *call = list_entry(node, struct link_call, list);
		if (!call->sent)
			link_send(l, call);
	}
}

static void link_ignore(void *arg, struct slice result, const struct err *e)
{
	(void)arg, (void)result, (void)e;
}

/* Everything the new connection must know comes before the calls that waited for it. */
static void link_greet(struct link *l)
{
	struct list waiting;
	list_init(&waiting);
	list_for_safe (&l->calls, node) {
		list_del(node);
		list_add_tail(&waiting, node);
	}
	if (l->hello.len) {
		_cleanup_buf_ struct buf params = BUF_INIT;
		buf_addslice(&params, buf_slice(&l->hello));
		link_call(l, "rpc.hello", buf_slice(&params), link_ignore, l);
	}
	list_for (&l->subs.list, node) {
		struct link_sub *s = list_entry(node, struct link_sub, list);
		_cleanup_buf_ struct buf params = BUF_INIT;
		s->owner = l;
		link_sub_params(s, &params);
		link_call(l, s->method, buf_slice(&params), link_resumed, s);
	}
	list_for_safe (&waiting, node) {
		list_del(node);
		list_add_tail(&l->calls, node);
		link_send(l, list_entry(node, struct link_call, list));
	}
}

static bool link_may_start(const struct link *l)
{
	if (!l->may_start || l->give_up)
		return false;
	list_for (&l->calls, node) {
		const char *method = list_entry(node, struct link_call, list)->method;
		if (strcmp(method, "daemon.status") != 0 && strcmp(method, "daemon.stop") != 0)
			return true;
	}
	return false;
}

/* Is there a reason to be connected? */
static bool link_is_wanted(const struct link *l)
{
	return l->n_calls > 0 || !list_empty(&l->subs.list);
}

/* With nobody there: calls fail when it has been waited long enough, subscriptions wait on. */
static void link_connect(struct link *l)
{
	struct err e = ERR_INIT;
	int64_t now = time_mono_ms();
	bool fresh = !l->give_up && l->n_calls > 0;
	if (!link_is_wanted(l) || (!fresh && now < l->retry))
		return;
	int r = link_open(l, link_may_start(l), &e);
	if (r == 0) {
		l->give_up = 0;
		link_greet(l);
		return;
	}
	now = time_mono_ms();
	/* One that is just stopping hangs up: what follows it is waited for. */
	if (r == -ECONNRESET && fresh)
		l->give_up = now + LINK_RECONNECT_MS;
	l->pause = MIN2(MAX2(l->pause, LINK_RETRY_MIN_MS) * 2, LINK_RETRY_MAX_MS);
	l->retry = now + l->pause;
	if (now < l->give_up)
		return;
	l->give_up = 0;
	link_fail_all(l, &e);
}

/* ---- the loop ---- */

void link_poll(const struct link *l, bool reading, struct pollfd *ret)
{
	*ret = (struct pollfd){ .fd = -1 };
	if (!link_has_connection(l) || !reading)
		return;
	ret->fd = conn_fd(l->c->conn);
	ret->events = POLLIN;
	if (conn_wants_write(l->c->conn))
		ret->events |= POLLOUT;
}

int64_t link_deadline(const struct link *l)
{
	if (link_has_connection(l))
		return l->more ? 0 : -1;
	if (!link_is_wanted(l))
		return -1;
	return !l->give_up && l->n_calls > 0 ? 0 : l->retry;
}

static void link_event(struct link *l, const struct conn_in *in)
{
	_cleanup_buf_ struct buf ours = BUF_INIT;
	struct slice event = SLICE_NONE;
	if (link_subs_event(&l->subs, in, &ours, &event))
		l->push(l->push_arg, in->method, buf_slice(&ours), event);
	else
		l->push(l->push_arg, in->method, in->args, in->body);
}

static void link_take(struct link *l, const struct conn_in *in)
{
	if (in->got == CONN_EVENT)
		link_event(l, in);
	if (in->got != CONN_REPLY)
		return;
	struct link_call *call = link_find(l, in->msgid);
	if (call)
		link_answer(l, call, in->body, in->failed ? &in->error : NULL);
}

/* At most so many at once, so that who writes to us is not left waiting. */
#define LINK_TURN 256

void link_step(struct link *l, bool reading)
{
	struct conn_in in;
	if (!link_has_connection(l))
		link_connect(l);
	l->more = reading;
	for (int i = 0; reading && i < LINK_TURN && link_has_connection(l); i++) {
		enum conn_got got = conn_next(l->c->conn, 0, &in);
		l->more = got != CONN_TIMEOUT;
		if (got == CONN_TIMEOUT)
			return;
		if (got == CONN_CLOSED)
			link_lost(l);
		else
			link_take(l, &in);
	}
}
