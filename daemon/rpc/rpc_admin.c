/* rpc.* and daemon.*: the connection itself and the daemon. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/subs.h"

/* --- rpc.hello --- */

static const struct {
	const char *name;
	int64_t value;
} limits[] = {
	{ "depth_in", LIMIT_DEPTH_IN },
	{ "depth_out", LIMIT_DEPTH_OUT },
	{ "nodes", LIMIT_FRAME_NODES },
	{ "reply_bytes", LIMIT_REPLY_BYTES },
	{ "queue_bytes", LIMIT_QUEUE_BYTES },
	{ "push_bytes", LIMIT_PUSH_BYTES },
	{ "ops", LIMIT_OPS },
	{ "meta_depth", LIMIT_META_DEPTH },
	{ "name_bytes", LIMIT_NAME_BYTES },
	{ "todos", LIMIT_TODOS },
	{ "output_bytes", LIMIT_OUTPUT_MAX },
	{ "pending", RPC_PENDING_MAX },
};

static void hello_answer(struct rpc_call *call)
{
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	pk_map(&pk);
	pk_kstr(&pk, "server", slice_str("batchd"));
	pk_kstr(&pk, "version", slice_str(BATCHD_VERSION));
	pk_kint(&pk, "protocol", PROTOCOL_VERSION);
	pk_key(&pk, "limits");
	pk_map(&pk);
	pk_kint(&pk, "frame_bytes", call->s->hub.max_frame);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		pk_kint(&pk, limits[i].name, limits[i].value);
	pk_end(&pk);
	pk_key(&pk, "capabilities");
	pk_array(&pk);
	for (int i = 0; i < METHOD_MAX; i++)
		if (call->s->config.handlers[i].fn || i == METHOD_RPC_ASYNC)
			pk_str(&pk, slice_str(methods[i].name));
	pk_end(&pk);
	pk_end(&pk);
	rpc_reply(call, &b);
}

/* What it does not say stays as it was: hello may come again. */
void rpc_rpc_hello(struct rpc_call *call, const void *params)
{
	const struct params_rpc_hello *p = params;
	struct rpc_conn *c = rpc_conn_of(call);
	if (p->protocol > PROTOCOL_VERSION) {
		rpc_failf(call, E_VERSION,
			  "batchd %s speaks protocol %d: a client of protocol %" PRId64
			  " needs a newer one",
			  BATCHD_VERSION, PROTOCOL_VERSION, p->protocol);
		return;
	}
	if (p->client.p) {
		free(c->client);
		c->client = xslicedup(p->client);
	}
	if (p->cwd.p) {
		free(c->cwd);
		c->cwd = xslicedup(p->cwd);
	}
	if (p->has_omit_nil)
		c->omit_nil = p->omit_nil;
	call->omit_nil = c->omit_nil;
	hello_answer(call);
}

void rpc_rpc_unsubscribe(struct rpc_call *call, const void *params)
{
	const struct params_rpc_unsubscribe *p = params;
	struct buf b = BUF_INIT;
	if (!subs_end(rpc_conn_of(call), (uint64_t)p->sub)) {
		rpc_failf(call, E_NOT_FOUND, "this connection has no subscription %" PRId64,
			  p->sub);
		return;
	}
	struct pk pk = rpc_pk(call, &b);
	pk_map(&pk);
	pk_kint(&pk, "sub", p->sub);
	pk_end(&pk);
	rpc_reply(call, &b);
}

/* --- daemon --- */

static void pack_troubles(struct pk *pk)
{
	pk_key(pk, "troubles");
	pk_array(pk);
	for (int i = 0; i < TROUBLE_MAX; i++) {
		_cleanup_buf_ struct buf text = BUF_INIT;
		if (trouble_get((enum trouble)i, &text))
			pk_text(pk, buf_slice(&text));
	}
	pk_end(pk);
}

void rpc_daemon_status(struct rpc_call *call, const void *params)
{
	_cleanup_buf_ struct buf runs = BUF_INIT;
	struct rpc_server *s = call->s;
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	(void)params;
	engine_live_runs(s->config.engine, &runs);
	pk_map(&pk);
	if (s->config.status)
		s->config.status(s->config.arg, &pk);
	pk_kint(&pk, "live_runs", (int64_t)(runs.len / sizeof(uint64_t)));
	pk_kint(&pk, "connections", s->n_conns);
	pk_kint(&pk, "subscriptions", (int64_t)subs_count(s->subs));
	pk_kint(&pk, "rev", engine_rev(s->config.engine));
	pack_troubles(&pk);
	pk_end(&pk);
	rpc_reply(call, &b);
}

void rpc_daemon_stop(struct rpc_call *call, const void *params)
{
	const struct params_daemon_stop *p = params;
	struct rpc_server *s = call->s;
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	bool drain = p->drain;
	pk_map(&pk);
	pk_kbool(&pk, "stopping", true);
	pk_kbool(&pk, "draining", drain);
	pk_end(&pk);
	rpc_reply(call, &b);
	if (s->config.stop)
		s->config.stop(s->config.arg, drain);
}

static void pack_changes(struct pk *pk, const struct rpc_reloaded *r)
{
	static const char *const keys[] = { "name", "before", "after" };
	pk_key(pk, "changed");
	pk_array(pk);
	for (size_t i = 0; i < r->n; i++) {
		pk_map(pk);
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			pk_ktext(pk, keys[k], slice_str(r->changes[i * 3 + k]));
		pk_end(pk);
	}
	pk_end(pk);
}

static void reload_answer(void *arg, const struct rpc_reloaded *r, const struct err *err)
{
	struct rpc_call *call = arg;
	struct buf b = BUF_INIT;
	if (err) {
		rpc_fail(call, err);
		return;
	}
	struct pk pk = rpc_pk(call, &b);
	pk_map(&pk);
	pk_ktext(&pk, "config", slice_str(r->path));
	pack_changes(&pk, r);
	pk_end(&pk);
	rpc_reply(call, &b);
}

void rpc_daemon_reload(struct rpc_call *call, const void *params)
{
	(void)params;
	call->s->config.reload(call->s->config.arg, reload_answer, call);
}
