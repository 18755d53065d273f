/* run.subscribe and todo.subscribe: the snapshot, and with it the place in the row of events. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/follow.h"
#include "daemon/rpc/logcache.h"
#include "daemon/rpc/page.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/rpc_todo.h"
#include "daemon/rpc/rundoc.h"
#include "daemon/rpc/shape.h"
#include "daemon/rpc/subs.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"
#include "proto/mp.h"

/* --- one run --- */

struct sub_job {
	struct rpc_call *call;
	struct sub like;
	struct buf push; /* raw; empty: the default */
	struct rundoc doc;
	struct buf begun; /* struct follow_begun each */
	struct body end;
};

static void job_free(struct sub_job *j)
{
	rundoc_done(&j->doc);
	buf_done(&j->push);
	buf_done(&j->begun);
	body_done(&j->end);
	free(j);
}

static struct slice job_push(const struct sub_job *j)
{
	return j->push.len ? buf_slice(&j->push) : SLICE_NONE;
}

/* Answers with the snapshot; the subscription, or NULL when nobody is there. */
static struct sub *job_answer(struct sub_job *j)
{
	struct sub *sub = subs_add(j->call, &j->like, job_push(j));
	if (sub)
		subs_pack(sub, &j->doc.pk);
	pk_end(&j->doc.pk);
	rpc_reply(j->call, &j->doc.b);
	return sub;
}

static bool begun_op(void *arg, const struct op_row *row)
{
	struct sub_job *j = arg;
	struct follow_begun b = { .op = row->op, .attempts = row->attempts };
	if (row->attempts > 1 || row->stdout_bytes + row->stderr_bytes > 0)
		buf_add(&j->begun, &b, sizeof(b));
	return true;
}

/* An ended run whose output is wanted: which ops have any, and the event that will close it. */
static int job_read_past(struct sub_job *j, struct sql_reader *r)
{
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct run_row row;
	if (sql_run_get(r, j->doc.run, &row, &strings, &j->doc.err))
		return 1;
	j->end = body_run_state(&row, time_wall_ms(), j->like.omit_nil);
	if (j->like.from_now || row.dropped)
		return 0;
	return sql_ops_list(r, j->doc.run, SQL_OPS_ALL, 0, 0, begun_op, j, &j->doc.err);
}

static void job_read(struct sql_reader *r, void *arg)
{
	struct sub_job *j = arg;
	rundoc_stored(&j->doc, r);
	if (!j->doc.failed && j->like.output)
		j->doc.failed = job_read_past(j, r) != 0;
}

static void job_done_stored(void *arg)
{
	struct sub_job *j = arg;
	if (j->doc.failed) {
		rpc_fail(j->call, &j->doc.err);
		job_free(j);
		return;
	}
	struct sub *sub = job_answer(j);
	if (sub && sub->output)
		follow_ended(sub, sub->run, j->begun.len ? buf_slice(&j->begun) : slice_of("", 0),
			     &j->end);
	job_free(j);
}

static void subscribe_run(struct rpc_call *call, const struct sub *like, struct slice push)
{
	struct sub_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->like = *like;
	if (push.p)
		buf_addslice(&j->push, push);
	rundoc_init(&j->doc, like->run, call->omit_nil);
	if (!rundoc_live(&j->doc, call->s)) {
		store_read(call->s->config.store, job_read, job_done_stored, j);
		return;
	}
	struct sub *sub = job_answer(j);
	if (sub && sub->output)
		follow_live(sub, sub->run);
	job_free(j);
}

/* --- all runs --- */

/* Returns the first that did not fit, 0: none. */
static uint64_t pack_live(struct rpc_server *s, const struct buf *ids, struct pk *pk)
{
	const uint64_t *id = (const uint64_t *)(const void *)ids->p;
	struct engine *e = s->config.engine;
	_cleanup_buf_ struct buf messages = BUF_INIT;
	struct run_row row;
	for (size_t i = 0; i < ids->len / sizeof(*id); i++) {
		if (!engine_run_row(e, id[i], &row))
			continue;
		if (pk->b->len + SHAPE_LISTED_BYTES > LIMIT_REPLY_BYTES)
			return id[i];
		buf_clear(&messages);
		if (engine_run_messages(e, id[i], &messages))
			row.messages = buf_slice(&messages);
		pk_map(pk);
		shape_run_keys(pk, &row, SHAPE_LISTED_BYTES);
		pk_end(pk);
	}
	return 0;
}

static void subscribe_all(struct rpc_call *call, const struct sub *like, struct slice push)
{
	_cleanup_buf_ struct buf ids = BUF_INIT;
	struct rpc_server *s = call->s;
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	struct sub *sub = subs_add(call, like, push);
	engine_live_runs(s->config.engine, &ids);
	pk_map(&pk);
	subs_pack(sub, &pk);
	pk_key(&pk, "runs");
	pk_array(&pk);
	uint64_t next = pack_live(s, &ids, &pk);
	pk_end(&pk);
	pk_kint_or_nil(&pk, "next", (int64_t)next, next != 0);
	pk_end(&pk);
	rpc_reply(call, &b);
	const uint64_t *id = (const uint64_t *)(const void *)ids.p;
	for (size_t i = 0; like->output && i < ids.len / sizeof(*id); i++)
		follow_live(sub, id[i]);
}

void rpc_run_subscribe(struct rpc_call *call, const void *params)
{
	const struct params_run_subscribe *p = params;
	const struct sub like = { .kind = SUB_RUN,
				  .run = (uint64_t)p->run,
				  .output = p->output,
				  .omit_nil = call->omit_nil,
				  .from_now = p->since >= 0 };
	if (p->run)
		subscribe_run(call, &like, p->push);
	else
		subscribe_all(call, &like, p->push);
}

/* --- todos --- */

struct lists {
	struct page page;
	const struct todos *t;
};

/* Of many lists the items take so much; the rest is for what the lists are called. */
#define LISTS_MAX_BYTES (LIMIT_REPLY_BYTES / 4 * 3)
#define ITEM_MAX_BYTES (LIMIT_TODO_BYTES + (64 << 10)) /* packed */

/* As many items as fit, one at least; todo.list has the others, from `next` on. */
static void pack_list_items(struct pk *pk, const struct todos *t, const char *list,
			    size_t max_bytes)
{
	const struct todo_filter filter = { .max_bytes = max_bytes };
	pk_ktext(pk, "list", slice_str(list));
	pk_kint(pk, "todo_rev", todos_rev(t, list));
	pk_key(pk, "todos");
	uint32_t next = todos_pack(t, list, &filter, pk);
	pk_kint_or_nil(pk, "next", next, next != 0);
}

/* Where there is no room for an item the list is only named. */
static bool pack_list(void *arg, const struct todo_list_info *info)
{
	struct lists *l = arg;
	struct pk *pk = l->page.pk;
	if (!page_takes(&l->page, info->list))
		return false;
	pk_map(pk);
	if (pk->b->len + ITEM_MAX_BYTES < LISTS_MAX_BYTES) {
		pack_list_items(pk, l->t, info->list, LISTS_MAX_BYTES);
	} else {
		pk_ktext(pk, "list", slice_str(info->list));
		pk_kint(pk, "todo_rev", info->rev);
		pk_knil(pk, "todos");
		pk_knil(pk, "next");
	}
	pk_end(pk);
	return true;
}

static void pack_lists(struct pk *pk, const struct todos *t)
{
	struct lists l = { .page = { .pk = pk, .left = INT64_MAX }, .t = t };
	pk_knil(pk, "list");
	pk_key(pk, "lists");
	pk_array(pk);
	todos_each_list(t, NULL, pack_list, &l);
	pk_end(pk);
	page_next(&l.page);
}

struct todo_sub_job {
	struct rpc_call *call;
	char *list;	 /* NULL: all */
	struct buf push; /* raw; empty: the default */
	struct buf b;
	struct pk pk;
};

/* What the snapshot shows is stored and has been told: its events begin here. */
static void todo_sub_answer(struct todo_sub_job *j)
{
	const struct sub like = { .kind = SUB_TODO, .list = j->list };
	struct sub *sub = subs_add(j->call, &like, j->push.len ? buf_slice(&j->push) : SLICE_NONE);
	if (sub)
		subs_pack(sub, &j->pk);
	pk_end(&j->pk);
	rpc_reply(j->call, &j->b);
}

static void todo_sub_done(void *arg, const struct err *err)
{
	struct todo_sub_job *j = arg;
	if (err)
		rpc_fail(j->call, err);
	else
		todo_sub_answer(j);
	buf_done(&j->b);
	buf_done(&j->push);
	free(j->list);
	free(j);
}

/* Without a list or folder of its own it is told of all lists (contract section 3 rule 7). */
void rpc_todo_subscribe(struct rpc_call *call, const void *params)
{
	const struct params_todo_subscribe *p = params;
	if (!rpc_todos_ready(call))
		return;
	const struct todos *t = engine_todos(call->s->config.engine);
	struct todo_sub_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->list = p->list.p ? xslicedup(p->list) : p->cwd.p ? rpc_todo_list_of_cwd(p->cwd) : NULL;
	if (p->push.p)
		buf_addslice(&j->push, p->push);
	j->pk = rpc_pk(call, &j->b);
	pk_map(&j->pk);
	if (j->list)
		pack_list_items(&j->pk, t, j->list, LIMIT_REPLY_BYTES - 4096);
	else
		pack_lists(&j->pk, t);
	rpc_once_stored(call, j->b.cap, todo_sub_done, j);
}
