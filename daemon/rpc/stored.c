/* Answers that wait until what they show is stored. */
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/rpc.h"

struct once {
	struct rpc_call *call;
	size_t bytes;
	void (*fn)(void *arg, const struct err *err);
	void *arg;
};

static void conn_owes(const struct rpc_call *call, int64_t bytes)
{
	struct rpc_conn *c = rpc_conn_of(call);
	if (c)
		peer_owe(c->peer, bytes);
}

static void once_done(void *arg, bool lost)
{
	struct once *o = arg;
	struct err err = ERR_INIT;
	conn_owes(o->call, -(int64_t)o->bytes);
	if (lost)
		err_set(&err, E_STORAGE,
			"a write of todos that this would have told of could not be stored: ask "
			"again");
	o->fn(o->arg, lost ? &err : NULL);
	free(o);
}

void rpc_once_stored(struct rpc_call *call, size_t bytes,
		     void (*fn)(void *arg, const struct err *err), void *arg)
{
	struct engine *e = call->s->config.engine;
	if (engine_todos_stored(e)) {
		fn(arg, NULL);
		return;
	}
	struct once *o = xmalloc(sizeof(*o));
	*o = (struct once){ .call = call, .bytes = bytes, .fn = fn, .arg = arg };
	conn_owes(call, (int64_t)bytes);
	engine_after_todos(e, once_done, o);
}

/* An answer that is ready. */
struct held {
	struct rpc_call *call;
	struct buf result;
	struct err err; /* instead, where its symbol is set */
};

static void held_go(void *arg, const struct err *err)
{
	struct held *h = arg;
	if (!err && h->err.sym)
		err = &h->err;
	if (err)
		rpc_fail(h->call, err);
	else
		rpc_reply(h->call, &h->result);
	buf_done(&h->result);
	free(h);
}

void rpc_reply_stored(struct rpc_call *call, struct buf *result)
{
	if (engine_todos_stored(call->s->config.engine)) {
		rpc_reply(call, result);
		return;
	}
	struct held *h = xcalloc(1, sizeof(*h));
	h->call = call;
	h->result = *result;
	*result = (struct buf)BUF_INIT;
	rpc_once_stored(call, h->result.cap, held_go, h);
}

void rpc_fail_stored(struct rpc_call *call, const struct err *e)
{
	struct held *h = xcalloc(1, sizeof(*h));
	h->call = call;
	h->err = *e;
	rpc_once_stored(call, sizeof(*h), held_go, h);
}
