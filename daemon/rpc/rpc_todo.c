/*
 * todo.*: the lists are in memory (engine/todo.c); a write is answered when it is durable. Only
 * history and past revisions are read from the store.
 */
#include "daemon/rpc/rpc_todo.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/paths.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/shape.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"
#include "proto/mp.h"

char *rpc_todo_list_of_cwd(struct slice cwd)
{
	_cleanup_buf_ struct buf path = BUF_INIT;
	path_normal(&path, slice_str("/"), cwd);
	return path_todo_list(buf_str(&path));
}

bool rpc_todos_ready(struct rpc_call *call)
{
	struct err err = ERR_INIT;
	if (!engine_todos_check(call->s->config.engine, &err))
		return true;
	rpc_fail(call, &err);
	return false;
}

char *rpc_todo_list_name(struct rpc_call *call, struct slice list, struct slice cwd)
{
	const struct rpc_conn *c = rpc_conn_of(call);
	if (!rpc_todos_ready(call))
		return NULL;
	if (list.p)
		return xslicedup(list);
	if (!cwd.p)
		cwd = slice_str(c->cwd);
	if (cwd.p)
		return rpc_todo_list_of_cwd(cwd);
	rpc_failf(call, E_PARAMS, "which list? give 'list' or 'cwd' (or 'cwd' to rpc.hello)");
	return NULL;
}

/* --- writing --- */

/* How the answer shows what was written. */
enum todo_answer { ANSWER_TODO, ANSWER_TODOS, ANSWER_TODOS_AND_OTHERS };

struct write_job {
	struct rpc_call *call;
	enum todo_answer answer;
	char *list, *source;
	struct todo_by by;
	struct txn *txn;
	struct todo_change *change;
};

static void write_free(struct write_job *w)
{
	free(w->list);
	free(w->source);
	free(w);
}

static struct slice first_of(struct slice array)
{
	uint32_t n;
	struct mp m = array_open(array, &n);
	return n ? mp_skip(&m) : SLICE_NONE;
}

static struct slice value_of(const struct buf *b)
{
	return b->len ? buf_slice(b) : SLICE_NONE;
}

/*
 * What is durable must not be answered with an error for its length: what does not fit is nil, the
 * others first.
 */
static void pack_items(struct pk *pk, const char *key, const struct buf *items)
{
	size_t room = LIMIT_REPLY_BYTES - 4096;
	pk_key(pk, key);
	shape_items(pk, pk->b->len + items->len < room ? value_of(items) : SLICE_NONE);
}

static void pack_one(struct pk *pk, const struct buf *items)
{
	pk_key(pk, "todo");
	shape_item(pk, items->len ? first_of(buf_slice(items)) : SLICE_NONE);
}

static void write_answer(struct write_job *w, int64_t rev, const struct todo_change *c)
{
	static const struct buf none = BUF_INIT;
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(w->call, &b);
	pk_map(&pk);
	pk_ktext(&pk, "list", slice_str(w->list));
	pk_kint(&pk, "rev", rev);
	if (w->answer == ANSWER_TODO)
		pack_one(&pk, c ? &c->todos : &none);
	else
		pack_items(&pk, "todos", &c->todos);
	if (w->answer == ANSWER_TODOS_AND_OTHERS)
		pack_items(&pk, "others", &c->others);
	pk_kraw(&pk, "warnings",
		c && c->warnings.len ? buf_slice(&c->warnings) : slice_of("\x90", 1));
	pk_end(&pk);
	if (c)
		rpc_reply(w->call, &b);
	else
		rpc_reply_stored(w->call, &b);
}

static void write_done(void *arg, const struct err *err)
{
	struct write_job *w = arg;
	if (err)
		rpc_fail(w->call, err);
	else
		write_answer(w, w->change->rev, w->change);
	write_free(w);
}

/* NULL: answered already. */
static struct write_job *write_new(struct rpc_call *call, struct slice list, struct slice cwd,
				   struct slice source, int64_t base_rev, enum todo_answer answer)
{
	char *name = rpc_todo_list_name(call, list, cwd);
	if (!name)
		return NULL;
	struct write_job *w = xcalloc(1, sizeof(*w));
	w->call = call;
	w->answer = answer;
	w->list = name;
	bool all = slice_is(source, "*");
	w->source = xslicedup(source.p && !all ? source : slice_str(rpc_conn_of(call)->client));
	w->by = (struct todo_by){ .list = w->list,
				  .source = w->source,
				  .all_sources = all,
				  .has_base_rev = base_rev >= 0,
				  .base_rev = base_rev,
				  .now_ms = time_wall_ms() };
	w->txn = txn_new(NULL, NULL);
	w->change = xmalloc(sizeof(*w->change));
	*w->change = (struct todo_change)TODO_CHANGE_INIT;
	return w;
}

static void write_drop(struct write_job *w)
{
	txn_free(w->txn);
	todo_change_done(w->change);
	free(w->change);
	write_free(w);
}

/* The write has been made, or refused with err. */
static void write_finish(struct write_job *w, int refused, const struct err *err)
{
	struct engine *e = w->call->s->config.engine;
	if (!refused && !w->change->nothing) {
		engine_todo_commit(e, w->txn, w->change, write_done, w);
		return;
	}
	if (refused)
		rpc_fail_stored(w->call, err);
	else
		write_answer(w, todos_rev(engine_todos(e), w->list), NULL);
	write_drop(w);
}

void rpc_todo_write(struct rpc_call *call, const void *params)
{
	const struct params_todo_write *p = params;
	struct err err = ERR_INIT;
	struct write_job *w =
		write_new(call, p->list, p->cwd, p->source, p->base_rev, ANSWER_TODOS_AND_OTHERS);
	if (!w)
		return;
	int r = todos_write(engine_todos(call->s->config.engine), &w->by, p->todos,
			    (enum todos_mode)p->mode, w->txn, w->change, &err);
	write_finish(w, r, &err);
}

/* "critical" is stored as high; that it was said stays in meta. */
static void keep_critical(struct todo_item *item, struct buf *meta)
{
	struct pk pk = PK_INIT(meta);
	struct mp m = mp_of(item->meta);
	uint32_t pairs = item->meta.p ? mp_next(&m).count : 0;
	pk_map(&pk);
	for (; pairs > 0; pairs--) {
		struct slice key = mp_next(&m).bytes, value = mp_skip(&m);
		if (slice_is(key, "priority"))
			continue;
		pk_keyslice(&pk, key);
		pk_raw(&pk, value);
	}
	pk_kstr(&pk, "priority", slice_str("critical"));
	pk_end(&pk);
	item->meta = buf_slice(meta);
}

void rpc_todo_update(struct rpc_call *call, const void *params)
{
	const struct params_todo_update *p = params;
	struct todo_item item = p->item;
	_cleanup_buf_ struct buf meta = BUF_INIT;
	struct err err = ERR_INIT;
	struct write_job *w = write_new(call, p->list, p->cwd, p->source, p->base_rev, ANSWER_TODO);
	if (!w)
		return;
	if (p->critical)
		keep_critical(&item, &meta);
	int r = todos_update(engine_todos(call->s->config.engine), &w->by, &item, w->txn, w->change,
			     &err);
	write_finish(w, r, &err);
}

void rpc_todo_claim(struct rpc_call *call, const void *params)
{
	const struct params_todo_claim *p = params;
	struct todo_claim claim = { .id = p->id, .owner = p->owner, .lease_ms = p->lease_ms };
	struct err err = ERR_INIT;
	struct write_job *w = write_new(call, p->list, p->cwd, SLICE_NONE, -1, ANSWER_TODO);
	if (!w)
		return;
	int r = todos_claim(engine_todos(call->s->config.engine), &w->by, &claim, w->txn, w->change,
			    &err);
	write_finish(w, r, &err);
}

void rpc_todo_release(struct rpc_call *call, const void *params)
{
	const struct params_todo_release *p = params;
	struct err err = ERR_INIT;
	struct write_job *w = write_new(call, p->list, p->cwd, SLICE_NONE, -1, ANSWER_TODO);
	if (!w)
		return;
	int r = todos_release(engine_todos(call->s->config.engine), &w->by, p->id, p->owner, w->txn,
			      w->change, &err);
	write_finish(w, r, &err);
}

void rpc_todo_remove(struct rpc_call *call, const void *params)
{
	const struct params_todo_remove *p = params;
	struct err err = ERR_INIT;
	struct write_job *w =
		write_new(call, p->list, p->cwd, SLICE_NONE, p->base_rev, ANSWER_TODO);
	if (!w)
		return;
	int r = todos_remove(engine_todos(call->s->config.engine), &w->by, p->id, w->txn, w->change,
			     &err);
	write_finish(w, r, &err);
}

/* --- restore: the past is read first --- */

struct restore_job {
	struct write_job *w;
	int64_t rev;
	struct buf items;
	struct err err;
	bool failed;
};

static void restore_read(struct sql_reader *r, void *arg)
{
	struct restore_job *j = arg;
	j->failed = sql_todo_at(r, j->w->list, j->rev, &j->items, &j->err) != 0;
}

static void restore_done(void *arg)
{
	struct restore_job *j = arg;
	struct write_job *w = j->w;
	if (!j->failed)
		j->failed = todos_restore(engine_todos(w->call->s->config.engine), &w->by, j->rev,
					  buf_slice(&j->items), w->txn, w->change, &j->err) != 0;
	write_finish(w, j->failed, &j->err);
	buf_done(&j->items);
	free(j);
}

void rpc_todo_restore(struct rpc_call *call, const void *params)
{
	const struct params_todo_restore *p = params;
	struct write_job *w =
		write_new(call, p->list, p->cwd, SLICE_NONE, p->base_rev, ANSWER_TODOS);
	if (!w)
		return;
	struct restore_job *j = xcalloc(1, sizeof(*j));
	j->w = w;
	j->rev = p->rev;
	store_read(call->s->config.store, restore_read, restore_done, j);
}
