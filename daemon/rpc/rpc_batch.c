/* batch.submit and batch.check. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/rpc.h"

#define ENVIRON_MAX_BYTES (4u << 20)

/* --- who submits: a program that runs inside an op makes runs that belong to it --- */

static struct slice environ_find(const struct buf *env, const char *name)
{
	size_t len = strlen(name);
	for (const char *p = env->p, *end = env->p + env->len; p < end; p += strnlen(p, (size_t)(end - p)) + 1)
		if ((size_t)(end - p) > len && strncmp(p, name, len) == 0 && p[len] == '=')
			return slice_of(p + len + 1, strnlen(p + len + 1, (size_t)(end - p) - len - 1));
	return SLICE_NONE;
}

/*
 * The op that the peer's environment names. The environment is inherited by whatever an op leaves behind, and may name another
 * daemon's op: so the socket must be ours and the op must be running.
 */
static void conn_find_parent(struct rpc_conn *c)
{
	_cleanup_buf_ struct buf env = BUF_INIT;
	struct engine *e = c->s->config.engine;
	char path[64];
	int64_t run, op;
	c->parent_known = true;
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)c->pid);
	if (c->pid <= 0 || !c->s->config.socket || fd_read_file(path, ENVIRON_MAX_BYTES, &env) < 0 || !env.len)
		return;
	struct slice op_name = environ_find(&env, "BATCHD_OP");
	if (!slice_is(environ_find(&env, "BATCHD_SOCKET"), c->s->config.socket) || !op_name.p ||
	    !parse_int(environ_find(&env, "BATCHD_RUN"), 1, INT64_MAX, &run))
		return;
	if (!parse_int(op_name, 1, UINT32_MAX, &op))
		op = engine_op_find(e, (uint64_t)run, op_name);
	c->parent = op ? (uint64_t)run : 0;
	c->parent_op = (uint32_t)op;
}

static bool conn_parent(struct rpc_conn *c, uint64_t *ret_run, uint32_t *ret_op)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct op_row row;
	if (!c->parent_known)
		conn_find_parent(c);
	if (!c->parent || !engine_op_row(c->s->config.engine, c->parent, c->parent_op, &text, &row) || row.state != OP_RUNNING)
		return false;
	*ret_run = c->parent;
	*ret_op = c->parent_op;
	return true;
}

/* --- batch.submit --- */

struct submit_job {
	struct rpc_call *call;
	struct buf warnings;
};

static void submit_done(void *arg, uint64_t run, bool existing, const struct err *err)
{
	struct submit_job *j = arg;
	struct buf b = BUF_INIT;
	rpc_submit_done(j->call);
	if (err) {
		rpc_fail(j->call, err);
	} else {
		struct pk pk = rpc_pk(j->call, &b);
		pk_map(&pk);
		pk_kint(&pk, "run", (int64_t)run);
		pk_kbool(&pk, "existing", existing);
		pk_kraw(&pk, "warnings", j->warnings.len ? buf_slice(&j->warnings) : SLICE_NONE);
		pk_end(&pk);
		rpc_reply(j->call, &b);
	}
	buf_done(&j->warnings);
	free(j);
}

void rpc_batch_submit(struct rpc_call *call, const void *params)
{
	const struct params_batch_submit *p = params;
	struct rpc_conn *c = rpc_conn_of(call);
	struct submit_job *j = xcalloc(1, sizeof(*j));
	struct engine_submit s = { .batch = p->batch, .done = submit_done, .arg = j };
	j->call = call;
	conn_parent(c, &s.parent, &s.parent_op);
	c->n_submits++;
	engine_submit(call->s->config.engine, &s, &j->warnings);
}

/* --- batch.check --- */

void rpc_batch_check(struct rpc_call *call, const void *params)
{
	const struct params_batch_check *p = params;
	_cleanup_buf_ struct buf plan = BUF_INIT, warnings = BUF_INIT;
	struct buf b = BUF_INIT;
	struct err err = ERR_INIT;
	if (engine_check(call->s->config.engine, p->batch, &plan, &warnings, &err)) {
		rpc_fail(call, &err);
		return;
	}
	struct pk pk = rpc_pk(call, &b);
	pk_map(&pk);
	pk_kraw(&pk, "plan", buf_slice(&plan));
	pk_kraw(&pk, "warnings", buf_slice(&warnings));
	pk_end(&pk);
	rpc_reply(call, &b);
}
