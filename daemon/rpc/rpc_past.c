/* What can be done with runs that have ended: run.restart and run.forget. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/exec/work.h"
#include "daemon/rpc/lend.h"
#include "daemon/rpc/rpc.h"
#include "daemon/store/keep.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"
#include "proto/mp.h"

/* A run that has not ended is refused, and that is answered. */
static bool refuse_live(struct rpc_call *call, uint64_t run, const char *hint)
{
	struct engine *e = call->s->config.engine;
	struct run_row row;
	if (!engine_run_row(e, run, &row) || engine_run_ends(e, run))
		return false;
	rpc_failf(call, E_STATE, "run %" PRIu64 " has not ended (%s)%s", run,
		  run_state_names[row.state], hint);
	return true;
}

/* Calls fn when the end of the run is stored: now, unless that is on its way. With an err: that
 * cannot be stored now. */
static void once_stored(struct rpc_call *call, uint64_t run, engine_todo_fn fn, void *arg)
{
	struct engine *e = call->s->config.engine;
	if (engine_run_ends(e, run))
		engine_answer_after(e, fn, arg);
	else
		fn(arg, NULL);
}

static void end_not_stored(struct err *e, uint64_t run, const struct err *why)
{
	*e = *why;
	err_prefix(e, "nothing was done: the end of run %" PRIu64 " is not stored yet: ", run);
}

/* --- run.restart: the stored batch, without what belonged to its first time --- */

struct restart_job {
	struct rpc_call *call;
	uint64_t run;
	bool only_failed;
	enum run_dropped dropped; /* that run's output */
	struct buf env_base;	  /* empty: not given */
	struct buf batch, reused, warnings;
	struct buf again; /* a byte an op: done again though it succeeded */
	uint32_t succeeded;
	struct buf live; /* uint64_t each, ascending: runs that have not ended */
	struct engine_batch *ready;
	struct err err;
};

static void restart_free(struct restart_job *j)
{
	buf_done(&j->env_base);
	buf_done(&j->batch);
	buf_done(&j->reused);
	buf_done(&j->warnings);
	buf_done(&j->again);
	buf_done(&j->live);
	free(j);
}

/* What cleans up does so after the new work, too; and a service is there for it again. */
static void restart_note_again(struct restart_job *j)
{
	struct mp m = mp_of(mp_find(buf_slice(&j->batch), "messages"));
	for (uint32_t n = mp_next(&m).count; n > 0; n--) {
		struct slice message = mp_skip(&m);
		bool always = mp_get_bool(message, "always");
		struct mp ops = mp_of(mp_find(message, "ops"));
		for (uint32_t k = mp_next(&ops).count; k > 0; k--)
			buf_addc(&j->again, mp_get_bool(mp_skip(&ops), "background") || always);
	}
}

static bool restart_op(void *arg, const struct op_row *row)
{
	struct restart_job *j = arg;
	if (row->state != OP_SUCCEEDED)
		return true;
	j->succeeded++;
	if (!j->again.p[row->op - 1])
		buf_add(&j->reused, &row->op, sizeof(row->op));
	return true;
}

static int restart_load(struct restart_job *j, struct sql_reader *r)
{
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct run_row row;
	if (sql_run_get(r, j->run, &row, &strings, &j->err) ||
	    sql_run_batch(r, j->run, &j->batch, &j->err))
		return 1;
	j->dropped = row.dropped;
	if (!j->only_failed)
		return 0;
	restart_note_again(j);
	if (sql_ops_list(r, j->run, SQL_OPS_ALL, 0, 0, restart_op, j, &j->err))
		return 1;
	if (j->succeeded == row.n_ops)
		return err_set(&j->err, E_STATE,
			       "all %u ops of run %" PRIu64
			       " succeeded: there is nothing failed to restart",
			       row.n_ops, j->run);
	return 0;
}

static void restart_read(struct sql_reader *r, void *arg)
{
	struct restart_job *j = arg;
	if (restart_load(j, r) && !j->err.sym)
		j->err.sym = E_INTERNAL;
}

static bool belongs_to_the_first(struct slice key)
{
	static const char *const keys[] = { "key", "env_base", "held", "not_before", "delay" };
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (slice_is(key, keys[i]))
			return true;
	return false;
}

static void restart_note_live(struct restart_job *j)
{
	struct engine *e = j->call->s->config.engine;
	_cleanup_buf_ struct buf ids = BUF_INIT;
	engine_live_runs(e, &ids);
	const uint64_t *id = (const void *)ids.p;
	for (size_t i = 0; i < ids.len / sizeof(*id); i++)
		if (!engine_run_ends(e, id[i]))
			buf_add(&j->live, &id[i], sizeof(*id));
}

static int by_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* Of the runs it was to wait for those that have not ended; what came of the others was for its
 * first time. */
static void restart_needs(const struct restart_job *j, struct pk *pk, struct slice runs)
{
	struct mp m = mp_of(runs);
	pk_array(pk);
	for (uint32_t n = mp_next(&m).count; n > 0; n--) {
		struct mp_value v = mp_next(&m);
		uint64_t run = v.type == MP_FLOAT ? (uint64_t)v.f : (uint64_t)v.i;
		if (j->live.len &&
		    bsearch(&run, j->live.p, j->live.len / sizeof(run), sizeof(run), by_id))
			pk_int(pk, (int64_t)run);
	}
	pk_end(pk);
}

static void restart_batch(const struct restart_job *j, struct buf *ret)
{
	struct pk pk = PK_INIT(ret);
	struct mp m = mp_of(buf_slice(&j->batch));
	pk_map(&pk);
	for (uint32_t pairs = mp_next(&m).count; pairs > 0; pairs--) {
		struct slice key = mp_next(&m).bytes, value = mp_skip(&m);
		if (belongs_to_the_first(key))
			continue;
		pk_keyslice(&pk, key);
		if (slice_is(key, "needs_runs") || slice_is(key, "after_any_runs"))
			restart_needs(j, &pk, value);
		else
			pk_raw(&pk, value);
	}
	if (j->env_base.len)
		pk_kraw(&pk, "env_base", buf_slice(&j->env_base));
	pk_end(&pk);
}

/* Of ops that are taken over the output stays with the run that made it: or not. */
static void restart_warnings(const struct restart_job *j, struct pk *pk)
{
	size_t reused = j->reused.len / sizeof(uint32_t);
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct mp m = mp_of(buf_slice(&j->warnings));
	pk_key(pk, "warnings");
	pk_array(pk);
	for (uint32_t n = j->warnings.len ? mp_next(&m).count : 0; n > 0; n--)
		pk_raw(pk, mp_skip(&m));
	if (j->dropped && reused) {
		buf_addf(&text,
			 "%zu %s taken over from run %" PRIu64
			 ", whose output was dropped (%s): what they printed is gone",
			 reused, reused == 1 ? "op is" : "ops are", j->run,
			 run_dropped_names[j->dropped]);
		pk_str(pk, buf_slice(&text));
	}
	pk_end(pk);
}

static void restart_submitted(void *arg, uint64_t run, bool existing, const struct err *err)
{
	struct restart_job *j = arg;
	struct buf b = BUF_INIT;
	(void)existing;
	if (err) {
		rpc_fail(j->call, err);
	} else {
		struct pk pk = rpc_pk(j->call, &b);
		pk_map(&pk);
		pk_kint(&pk, "run", (int64_t)run);
		pk_kint(&pk, "origin", (int64_t)j->run);
		pk_kint(&pk, "reused", (int64_t)(j->reused.len / sizeof(uint32_t)));
		restart_warnings(j, &pk);
		pk_end(&pk);
		rpc_reply(j->call, &b);
	}
	restart_free(j);
}

/* On the opener's thread. */
static void restart_open(void *arg)
{
	struct restart_job *j = arg;
	_cleanup_buf_ struct buf batch = BUF_INIT;
	restart_batch(j, &batch);
	j->ready = engine_batch_new(buf_slice(&batch), j->call->s->config.environ_dflt);
}

static void restart_submit(void *arg)
{
	struct restart_job *j = arg;
	struct engine_submit s = { .batch = TAKE_PTR(j->ready),
				   .origin = j->run,
				   .reused = j->reused.len ? buf_slice(&j->reused) : SLICE_NONE,
				   .done = restart_submitted,
				   .arg = j };
	struct rpc_conn *c = rpc_conn_of(j->call);
	if (c)
		conn_parent(c, &s.parent, &s.parent_op);
	engine_submit(j->call->s->config.engine, &s, &j->warnings);
}

static void restart_go(void *arg)
{
	struct restart_job *j = arg;
	if (j->call->s->freed)
		err_set(&j->err, E_STATE, "the daemon is stopping");
	if (j->err.sym) {
		rpc_fail(j->call, &j->err);
		restart_free(j);
		return;
	}
	restart_note_live(j);
	work_submit(j->call->s->opener, restart_open, restart_submit, j);
}

static void restart_look(void *arg, const struct err *err)
{
	struct restart_job *j = arg;
	if (err) {
		end_not_stored(&j->err, j->run, err);
		restart_go(j);
		return;
	}
	store_read(j->call->s->config.store, restart_read, restart_go, j);
}

void rpc_run_restart(struct rpc_call *call, const void *params)
{
	const struct params_run_restart *p = params;
	if (refuse_live(call, (uint64_t)p->run, ": cancel it or wait for it first"))
		return;
	struct restart_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->run = (uint64_t)p->run;
	j->only_failed = p->failed;
	if (p->env_base.p)
		buf_addslice(&j->env_base, p->env_base);
	once_stored(call, j->run, restart_look, j);
}

/* --- run.forget --- */

#define FORGET_RUNS_MAX 100000

struct forget_job {
	struct rpc_call *call;
	uint64_t run;	  /* 0: by `asked` or by filter */
	struct buf asked; /* uint64_t each; empty: by filter */
	struct sql_run_filter filter;
	struct buf runs; /* uint64_t each */
	struct err err;
};

static void forget_free(struct forget_job *j)
{
	buf_done(&j->asked);
	buf_done(&j->runs);
	free(j);
}

static bool forget_one(void *arg, const struct run_row *row)
{
	struct forget_job *j = arg;
	if (run_state_ended(row->state))
		buf_add(&j->runs, &row->run, sizeof(row->run));
	return true;
}

static int forget_find(struct forget_job *j, struct sql_reader *r, uint64_t run)
{
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct run_row row;
	if (sql_run_get(r, run, &row, &strings, &j->err))
		return 1;
	forget_one(j, &row);
	return 0;
}

static int forget_find_all(struct forget_job *j, struct sql_reader *r)
{
	const uint64_t *run = (const void *)j->asked.p;
	for (size_t i = 0; i < j->asked.len / sizeof(*run); i++) {
		if (forget_find(j, r, run[i]) && j->err.sym != E_NOT_FOUND)
			return 1;
		j->err = (struct err)ERR_INIT;
	}
	return 0;
}

static void forget_read(struct sql_reader *r, void *arg)
{
	struct forget_job *j = arg;
	int failed;
	if (j->run)
		failed = forget_find(j, r, j->run);
	else if (j->asked.len)
		failed = forget_find_all(j, r);
	else
		failed = sql_runs_list(r, &j->filter, forget_one, j, &j->err);
	if (failed && !j->err.sym)
		j->err.sym = E_INTERNAL;
}

static void pack_stay(struct pk *pk, const struct buf *stay)
{
	const uint64_t *run = (const void *)stay->p;
	if (stay->len == 0)
		return;
	pk_key(pk, "needed");
	pk_array(pk);
	for (size_t i = 0; i < stay->len / sizeof(*run); i++)
		pk_int(pk, (int64_t)run[i]);
	pk_end(pk);
}

static void forget_answer(void *arg, uint32_t forgotten, const struct buf *stay,
			  const struct err *err)
{
	struct forget_job *j = arg;
	struct buf b = BUF_INIT;
	if (err) {
		rpc_fail(j->call, err);
	} else {
		struct pk pk = rpc_pk(j->call, &b);
		pk_map(&pk);
		pk_kint(&pk, "forgotten", forgotten);
		pack_stay(&pk, stay);
		pk_end(&pk);
		rpc_reply(j->call, &b);
	}
	forget_free(j);
}

static void forget_go(void *arg)
{
	struct forget_job *j = arg;
	static const struct buf none = BUF_INIT;
	if (j->err.sym)
		forget_answer(j, 0, &none, &j->err);
	else if (j->runs.len == 0)
		forget_answer(j, 0, &none, NULL);
	else
		keeper_forget(j->call->s->config.keeper, &j->runs, j->run != 0, forget_answer, j);
}

static void forget_look(void *arg, const struct err *err)
{
	struct forget_job *j = arg;
	if (err) {
		end_not_stored(&j->err, j->run, err);
		forget_go(j);
		return;
	}
	store_read(j->call->s->config.store, forget_read, forget_go, j);
}

static void forget_asked(struct forget_job *j, struct slice runs)
{
	if (!runs.p)
		return;
	struct mp m = mp_of(runs);
	for (uint32_t n = mp_next(&m).count; n > 0; n--) {
		struct mp_value v = mp_next(&m);
		uint64_t run = v.type == MP_FLOAT ? (uint64_t)v.f : (uint64_t)v.i;
		buf_add(&j->asked, &run, sizeof(run));
	}
}

void rpc_run_forget(struct rpc_call *call, const void *params)
{
	const struct params_run_forget *p = params;
	if (refuse_live(call, (uint64_t)p->run, ""))
		return;
	if (p->runs.p && array_count(p->runs) > FORGET_RUNS_MAX) {
		rpc_failf(call, E_LIMIT, "runs: at most %d at a time", FORGET_RUNS_MAX);
		return;
	}
	struct forget_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->run = (uint64_t)p->run;
	forget_asked(j, p->runs);
	j->filter = (struct sql_run_filter){
		.states = p->states ? p->states & SQL_STATES_ENDED : SQL_STATES_ENDED,
		.ended_before = p->before,
	};
	if (!j->run && !j->asked.len && (!j->filter.states || p->runs.p))
		forget_go(j); /* none, or none of the states asked for is one that has ended */
	else
		once_stored(call, j->run, forget_look, j);
}
