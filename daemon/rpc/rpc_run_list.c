/*
 * run.list: live runs as the engine has them at the call, ended ones as the store has them, newest
 * first. A run that ends in between is in both and shown as ended: what was live when the store was
 * asked is never missing, since the store is asked later.
 */
#include <stdlib.h>

#include "common/paths.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/shape.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"

#define LIST_MAX_BYTES (LIMIT_REPLY_BYTES - SHAPE_LISTED_BYTES)

/* Runs as packed maps, newest first. */
struct listed {
	struct buf b;
	struct listed_run {
		uint64_t run;
		size_t at, len;
	} * runs;
	size_t n, cap;
};

struct list_job {
	struct rpc_call *call;
	char *name, *group, *project;
	struct sql_run_filter filter; /* its limit is one more than what is sent */
	uint32_t states;	      /* asked for; 0: all */
	struct listed live, stored;
	bool omit_nil, failed;
	struct err err;
};

static void listed_done(struct listed *l)
{
	buf_done(&l->b);
	free(l->runs);
}

/* False: that was the last one that fits. */
static bool listed_add(struct listed *l, const struct list_job *j, const struct run_row *row)
{
	size_t at = l->b.len;
	struct pk pk = { .b = &l->b, .omit_nil = j->omit_nil };
	pk_map(&pk);
	shape_run_keys(&pk, row, SHAPE_LISTED_BYTES);
	pk_end(&pk);
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->runs = xrealloc(l->runs, l->cap, sizeof(l->runs[0]));
	}
	l->runs[l->n++] = (struct listed_run){ .run = row->run, .at = at, .len = l->b.len - at };
	return l->n < j->filter.limit && l->b.len < LIST_MAX_BYTES;
}

static bool same_or_any(const char *wanted, const char *is)
{
	return !wanted || (is && strcmp(wanted, is) == 0);
}

static bool list_wants(const struct list_job *j, const struct run_row *row)
{
	return (!j->states || j->states & 1u << row->state) &&
	       (!j->filter.before || row->run < j->filter.before) &&
	       same_or_any(j->name, row->name) && same_or_any(j->group, row->group) &&
	       same_or_any(j->project, row->project);
}

static void list_live(struct list_job *j, struct engine *e)
{
	_cleanup_buf_ struct buf ids = BUF_INIT, messages = BUF_INIT;
	struct run_row row;
	engine_live_runs(e, &ids);
	const uint64_t *id = (const uint64_t *)(const void *)ids.p;
	for (size_t i = ids.len / sizeof(*id); i-- > 0;) {
		if (!engine_run_row(e, id[i], &row) || !list_wants(j, &row))
			continue;
		buf_clear(&messages);
		if (engine_run_messages(e, id[i], &messages))
			row.messages = buf_slice(&messages);
		if (!listed_add(&j->live, j, &row))
			return;
	}
}

static bool list_stored_run(void *arg, const struct run_row *row)
{
	struct list_job *j = arg;
	return listed_add(&j->stored, j, row);
}

static void list_stored(struct sql_reader *r, void *arg)
{
	struct list_job *j = arg;
	j->failed = sql_runs_list(r, &j->filter, list_stored_run, j, &j->err) != 0;
}

/* The next of both, newest first; NULL: no more. */
static const struct listed_run *list_next(const struct list_job *j, size_t *live, size_t *stored,
					  const struct buf **ret_b)
{
	const struct listed_run *a = *live < j->live.n ? &j->live.runs[*live] : NULL;
	const struct listed_run *b = *stored < j->stored.n ? &j->stored.runs[*stored] : NULL;
	if (a && b && a->run == b->run) {
		++*live;
		a = NULL;
	}
	bool take_live = a && (!b || a->run > b->run);
	*ret_b = take_live ? &j->live.b : &j->stored.b;
	if (take_live)
		++*live;
	else if (b)
		++*stored;
	return take_live ? a : b;
}

/* `next` is what `before` is to be for those that follow; nil: there are none. */
static void list_answer(struct list_job *j)
{
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(j->call, &b);
	size_t live = 0, stored = 0, n = 1;
	uint64_t last = 0;
	const struct buf *from;
	const struct listed_run *r;
	pk_map(&pk);
	pk_key(&pk, "runs");
	pk_array(&pk);
	while ((r = list_next(j, &live, &stored, &from)) && n++ < j->filter.limit &&
	       b.len + r->len < LIST_MAX_BYTES) {
		pk_raw(&pk, slice_of(from->p + r->at, r->len));
		last = r->run;
	}
	pk_end(&pk);
	pk_kint_or_nil(&pk, "next", (int64_t)last, r != NULL);
	pk_end(&pk);
	rpc_reply(j->call, &b);
}

static void list_done(void *arg)
{
	struct list_job *j = arg;
	if (j->failed)
		rpc_fail(j->call, &j->err);
	else
		list_answer(j);
	listed_done(&j->live);
	listed_done(&j->stored);
	free(j->name);
	free(j->group);
	free(j->project);
	free(j);
}

void rpc_run_list(struct rpc_call *call, const void *params)
{
	const struct params_run_list *p = params;
	struct list_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->omit_nil = call->omit_nil;
	j->states = p->states;
	j->name = xslicedup(p->name);
	j->group = xslicedup(p->group);
	if (p->project.p) { /* as projects are kept: lexically normal */
		struct buf path = BUF_INIT;
		path_normal(&path, slice_str("/"), p->project);
		j->project = buf_steal(&path);
	}
	j->filter = (struct sql_run_filter){
		.states = p->states ? p->states & SQL_STATES_ENDED : SQL_STATES_ENDED,
		.name = j->name,
		.group = j->group,
		.project = j->project,
		.before = (uint64_t)p->before,
		.limit = (uint32_t)MIN2(p->limit, INT32_MAX) + 1,
	};
	list_live(j, call->s->config.engine);
	if (j->filter.states)
		store_read(call->s->config.store, list_stored, list_done, j);
	else
		list_done(j);
}
