#include "daemon/rpc/lend.h"

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
	for (const char *p = env->p, *end = env->p + env->len; p < end;
	     p += strnlen(p, (size_t)(end - p)) + 1)
		if ((size_t)(end - p) > len && strncmp(p, name, len) == 0 && p[len] == '=')
			return slice_of(p + len + 1,
					strnlen(p + len + 1, (size_t)(end - p) - len - 1));
	return SLICE_NONE;
}

void conn_find_parent(struct rpc_conn *c)
{
	_cleanup_buf_ struct buf env = BUF_INIT;
	struct engine *e = c->s->config.engine;
	char path[64];
	int64_t run, op;
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)c->pid);
	if (c->pid <= 0 || !c->s->config.socket ||
	    fd_read_file(path, ENVIRON_MAX_BYTES, &env) < 0 || !env.len)
		return;
	struct slice op_name = environ_find(&env, "BATCHD_OP");
	if (!slice_is(environ_find(&env, "BATCHD_OWNER"), c->s->config.socket) || !op_name.p ||
	    !parse_int(environ_find(&env, "BATCHD_RUN"), 1, INT64_MAX, &run))
		return;
	if (!parse_int(op_name, 1, UINT32_MAX, &op))
		op = engine_op_find(e, (uint64_t)run, op_name);
	c->parent = op ? (uint64_t)run : 0;
	c->parent_op = (uint32_t)op;
}

bool conn_parent(struct rpc_conn *c, uint64_t *ret_run, uint32_t *ret_op)
{
	if (!c->parent || !engine_op_at_work(c->s->config.engine, c->parent, c->parent_op))
		return false;
	*ret_run = c->parent;
	*ret_op = c->parent_op;
	return true;
}

void lend_begin(struct rpc_conn *c, struct lend *ret)
{
	if (!c || ret->run || !conn_parent(c, &ret->run, &ret->op))
		return;
	engine_lend(c->s->config.engine, ret->run, ret->op);
}

static void lend_back(void *arg)
{
	struct lend *l = arg, was = *l;
	*l = (struct lend){ 0 };
	was.fn(was.arg);
}

bool lend_return(struct rpc_server *s, struct lend *l, void (*fn)(void *arg), void *arg)
{
	if (!l->run)
		return false;
	l->fn = fn;
	l->arg = arg;
	l->returning = engine_lend_return(s->config.engine, l->run, l->op, lend_back, l);
	if (!l->returning)
		*l = (struct lend){ 0 };
	return l->returning;
}

void lend_end(struct rpc_server *s, struct lend *l)
{
	struct lend was = *l;
	*l = (struct lend){ 0 };
	if (was.run)
		engine_lend_end(s->config.engine, was.run, was.op, l);
}
