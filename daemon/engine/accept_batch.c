/*
 * What of accepting a batch takes long and needs nothing of the engine: the plan, the bytes to be
 * stored and their digest, the arrays of the live run. Nothing here touches the engine, so that any
 * thread may do it.
 */
#include <stdlib.h>

#include "common/paths.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"
#include "proto/errors.h"
#include "proto/mp.h"

static void batch_project(struct live_run *r)
{
	_cleanup_free_ char *marked = path_project(r->cwd);
	const struct batch_head *h = &r->plan->head;
	r->project = marked ? xstrdup(marked) : xstrdup(r->cwd);
	r->list = h->list.p ? xslicedup(h->list) : path_todo_list(r->cwd);
}

static int batch_no_memory(struct slice batch, struct err *err)
{
	return err_set(err, E_MEMORY, "no memory for a batch of %zu bytes: send it in parts",
		       batch.len);
}

static struct live_run *batch_run(struct slice batch, struct slice *ret_env_base, struct err *err)
{
	struct buf stripped = BUF_INIT;
	struct plan *plan;
	if (buf_try_reserve(&stripped, batch.len) < 0) {
		batch_no_memory(batch, err);
		return NULL;
	}
	*ret_env_base = batch_strip(batch, &stripped);
	if (plan_make(buf_slice(&stripped), &plan, err)) {
		buf_done(&stripped);
		return NULL;
	}
	struct live_run *r = live_new(stripped.p, plan);
	if (!r) {
		batch_no_memory(batch, err);
		plan_free(plan);
		buf_done(&stripped);
		return NULL;
	}
	batch_project(r);
	drive_prepare(r);
	history_ask(r);
	if (r->key) /* of others nobody asks whether a batch is the same */
		batch_digest(batch, r->digest);
	return r;
}

/* Of two `todos` ops that replace the list in one message, the later takes out what the earlier put
 * in. */
static void batch_warn_lists(const struct live_run *r, struct pk *pk)
{
	uint32_t message = UINT32_MAX;
	struct batch_op spec;
	for (uint32_t op = 0; op < r->plan->n_ops; op++) {
		if (r->plan->ops[op].kind != KIND_TODOS)
			continue;
		plan_op_decode(r->plan, op, &spec);
		if (spec.todos_mode != TODOS_REPLACE || spec.list.p)
			continue;
		if (r->plan->ops[op].message == message) {
			pk_str(pk, slice_str("two todos ops of one message replace the list: only "
					     "the later's items stay; "
					     "use one, or mode: \"merge\""));
			return;
		}
		message = r->plan->ops[op].message;
	}
}

static void batch_warn(const struct live_run *r, struct buf *warnings)
{
	struct pk pk = PK_INIT(warnings);
	pk_array(&pk);
	batch_warn_lists(r, &pk);
	plan_warn(r->plan, &pk);
	pk_end(&pk);
}

/* Of the row's own strings, `meta` aside. */
#define ROW_BYTES 16384

/* The records are copies, and of a large batch that takes long too. 1 with err: there is no memory
 * for what is stored of it. */
static int batch_records(struct engine_batch *b, struct slice batch, struct slice env_base,
			 char *const *environ_dflt)
{
	struct live_run *r = b->run;
	struct batch_head head = r->plan->head;
	_cleanup_buf_ struct buf env = BUF_INIT;
	struct run_row row;
	b->txn = txn_new(accept_done, r);
	head.env_base = env_base;
	if (buf_try_reserve(&env, head.env_base.len + head.env.len) < 0)
		return batch_no_memory(batch, &b->err);
	batch_env(&head, environ_dflt, &env);
	if (txn_reserve(b->txn, head.meta.len + env.len + ROW_BYTES) < 0)
		return batch_no_memory(batch, &b->err);
	live_fill_row(r, &row);
	txn_run_new(b->txn, &row, r->plan->raw, buf_slice(&env));
	return 0;
}

struct engine_batch *engine_batch_new(struct slice batch, char *const *environ_dflt)
{
	struct engine_batch *b = xcalloc(1, sizeof(*b));
	struct slice env_base;
	b->run = batch_run(batch, &env_base, &b->err);
	if (!b->run)
		return b;
	batch_warn(b->run, &b->warnings);
	if (batch_records(b, batch, env_base, environ_dflt))
		b->run = live_free(b->run);
	return b;
}

void engine_batch_advise(struct engine_batch *b)
{
	_cleanup_buf_ struct buf had = BUF_INIT;
	struct pk pk = PK_INIT(&b->warnings);
	if (!b->run)
		return;
	buf_addslice(&had, buf_slice(&b->warnings));
	buf_clear(&b->warnings);
	struct mp m = mp_of(buf_slice(&had));
	pk_array(&pk);
	for (uint32_t n = mp_next(&m).count; n > 0; n--)
		pk_raw(&pk, mp_skip(&m));
	plan_advise(b->run->plan, &pk);
	pk_end(&pk);
}

void engine_batch_free(struct engine_batch *b)
{
	if (!b)
		return;
	if (b->run)
		live_free(b->run);
	txn_free(b->txn);
	buf_done(&b->warnings);
	free(b);
}
