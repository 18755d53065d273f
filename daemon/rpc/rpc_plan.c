/* run.plan and run.explain: what ops of a run wait for. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/exec/work.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/shape.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"

#define PLAN_ROOM (LIMIT_REPLY_BYTES - 4096)

struct plan_job {
	struct rpc_call *call;
	struct plan_page page;
	uint64_t run;
	struct buf batch, reply;
	struct pk pk;
	struct err err;
};

static void plan_reply(struct plan_job *j)
{
	if (j->err.sym) {
		rpc_fail(j->call, &j->err);
	} else {
		pk_end(&j->pk);
		rpc_reply(j->call, &j->reply);
	}
	buf_done(&j->batch);
	buf_done(&j->reply);
	free(j);
}

static void plan_replied(void *arg)
{
	plan_reply(arg);
}

/* A large batch takes long to be proved again: on a thread of its own. */
static void plan_open(void *arg)
{
	struct plan_job *j = arg;
	struct plan *p;
	if (plan_make(buf_slice(&j->batch), &p, &j->err))
		return;
	plan_pack_page(p, &j->page);
	plan_free(p);
}

static void plan_read(struct sql_reader *r, void *arg)
{
	struct plan_job *j = arg;
	if (sql_run_batch(r, j->run, &j->batch, &j->err) && !j->err.sym)
		j->err.sym = E_INTERNAL;
}

static void plan_loaded(void *arg)
{
	struct plan_job *j = arg;
	if (j->call->s->freed)
		err_set(&j->err, E_STATE, "the daemon is stopping");
	if (j->err.sym)
		plan_reply(j);
	else
		work_submit(j->call->s->config.work, plan_open, plan_replied, j);
}

void rpc_run_plan(struct rpc_call *call, const void *params)
{
	const struct params_run_plan *p = params;
	struct plan_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->run = (uint64_t)p->run;
	j->pk = rpc_pk(call, &j->reply);
	j->page = (struct plan_page){
		.first = (uint32_t)MIN2(MAX2(p->offset, 1) - 1, UINT32_MAX),
		.limit = p->limit,
		.max_bytes = PLAN_ROOM,
		.pk = &j->pk,
	};
	pk_map(&j->pk);
	pk_kint(&j->pk, "run", p->run);
	if (engine_plan_page(call->s->config.engine, j->run, &j->page))
		plan_reply(j);
	else
		store_read(call->s->config.store, plan_read, plan_loaded, j);
}

/* --- run.explain --- */

struct explain_job {
	struct rpc_call *call;
	uint64_t run;
	uint32_t op; /* from 1; 0: `id` */
	char *id;
	struct buf reply;
	struct pk pk;
	struct err err;
};

static void explain_reply(void *arg)
{
	struct explain_job *j = arg;
	if (j->err.sym)
		rpc_fail(j->call, &j->err);
	else
		rpc_reply(j->call, &j->reply);
	buf_done(&j->reply);
	free(j->id);
	free(j);
}

static void explain_head(struct explain_job *j, const struct op_row *row)
{
	pk_map(&j->pk);
	pk_kint(&j->pk, "run", (int64_t)j->run);
	pk_key(&j->pk, "op");
	shape_op(&j->pk, row, NULL);
	pk_key(&j->pk, "waits");
}

/* An op that has ended waits for nothing. */
static void explain_stored(struct sql_reader *r, void *arg)
{
	struct explain_job *j = arg;
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct op_row row;
	if (sql_op_get(r, j->run, j->op, slice_str(j->id), &row, &strings, &j->err)) {
		if (!j->err.sym)
			j->err.sym = E_INTERNAL;
		return;
	}
	explain_head(j, &row);
	pk_array(&j->pk);
	pk_end(&j->pk);
	pk_end(&j->pk);
}

static void explain_live(struct explain_job *j, struct engine *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct op_row row;
	uint32_t op = j->id ? engine_op_find(e, j->run, slice_str(j->id)) : j->op;
	if (!op || !engine_op_row(e, j->run, op, &text, &row)) {
		if (j->id)
			err_set(&j->err, E_NOT_FOUND, "run %" PRIu64 " has no op '%s'", j->run,
				j->id);
		else
			err_set(&j->err, E_NOT_FOUND, "run %" PRIu64 " has no op %" PRIu32, j->run,
				op);
		return;
	}
	explain_head(j, &row);
	engine_explain(e, j->run, op, &j->pk);
	pk_end(&j->pk);
}

void rpc_run_explain(struct rpc_call *call, const void *params)
{
	const struct params_run_explain *p = params;
	struct engine *e = call->s->config.engine;
	struct explain_job *j = xcalloc(1, sizeof(*j));
	struct run_row row;
	j->call = call;
	j->run = (uint64_t)p->run;
	j->op = (uint32_t)MIN2(p->op.index, UINT32_MAX);
	j->id = p->op.id.p ? xslicedup(p->op.id) : NULL;
	j->pk = rpc_pk(call, &j->reply);
	if (!engine_run_row(e, j->run, &row)) {
		store_read(call->s->config.store, explain_stored, explain_reply, j);
		return;
	}
	explain_live(j, e);
	explain_reply(j);
}
