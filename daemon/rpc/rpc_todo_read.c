/* todo.list, todo.history, todo.lists: what is there and what was. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/answers.h"
#include "daemon/rpc/page.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/rpc_todo.h"
#include "daemon/rpc/shape.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"
#include "proto/mp.h"

/* --- todo.list --- */

#define LIST_MAX_BYTES (LIMIT_REPLY_BYTES - 4096) /* room for what stands around the items */

static void list_head(struct pk *pk, const char *list, int64_t rev)
{
	pk_map(pk);
	pk_ktext(pk, "list", slice_str(list));
	pk_kint(pk, "rev", rev);
	pk_key(pk, "todos");
}

static void list_end(struct pk *pk, uint32_t next)
{
	pk_kint_or_nil(pk, "next", next, next != 0);
	pk_end(pk);
}

static void list_question(const struct rpc_call *call, const struct params_todo_list *p,
			  const char *list, struct buf *ret)
{
	const int64_t numbers[] = { METHOD_TODO_LIST,
				    call->omit_nil,
				    p->statuses,
				    p->ready,
				    p->offset,
				    p->limit,
				    p->owner.p ? (int64_t)p->owner.len : -1 };
	buf_add(ret, numbers, sizeof(numbers));
	buf_addslice(ret, p->owner);
	buf_adds(ret, list);
}

static void list_now(struct rpc_call *call, const struct params_todo_list *p, const char *list)
{
	_cleanup_buf_ struct buf question = BUF_INIT;
	uint64_t rev = engine_todos_rev(call->s->config.engine);
	list_question(call, p, list, &question);
	if (rpc_reply_again(call, buf_slice(&question), rev))
		return;
	const struct todos *t = engine_todos(call->s->config.engine);
	struct todo_filter filter = { .status_mask = p->statuses,
				      .ready = p->ready,
				      .owner = p->owner,
				      .offset = (uint32_t)p->offset,
				      .limit = (uint32_t)MIN2(p->limit, LIMIT_TODOS),
				      .max_bytes = LIST_MAX_BYTES };
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	list_head(&pk, list, todos_rev(t, list));
	list_end(&pk, todos_pack(t, list, &filter, &pk));
	answers_keep(call->s->answers, buf_slice(&question), rev, buf_slice(&b));
	rpc_reply_stored(call, &b);
}

struct past_job {
	struct rpc_call *call;
	char *list, *owner;
	int64_t rev, offset, limit;
	uint32_t statuses;
	struct buf items;
	struct err err;
	bool failed;
};

static void past_read(struct sql_reader *r, void *arg)
{
	struct past_job *j = arg;
	j->failed = sql_todo_at(r, j->list, j->rev, &j->items, &j->err) != 0;
}

static bool past_wants(const struct past_job *j, struct slice item)
{
	struct slice status = mp_get_str(item, "status");
	if (j->owner && !slice_is(mp_get_str(item, "owner"), j->owner))
		return false;
	if (!j->statuses)
		return true;
	for (int i = 0; i < TODO_STATUS_MAX; i++)
		if (slice_is(status, todo_status_names[i]))
			return j->statuses & 1u << i;
	return false;
}

static void past_answer(struct past_job *j)
{
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(j->call, &b);
	uint32_t n, at = 0, next = 0;
	struct mp m = array_open(buf_slice(&j->items), &n);
	list_head(&pk, j->list, j->rev);
	pk_array(&pk);
	for (; n > 0 && !next; n--) {
		struct slice item = mp_skip(&m);
		if (!past_wants(j, item) || at++ < j->offset)
			continue;
		if (at > j->offset + j->limit || b.len + item.len > LIST_MAX_BYTES)
			next = at - 1;
		else
			shape_item(&pk, item);
	}
	pk_end(&pk);
	list_end(&pk, next);
	rpc_reply(j->call, &b);
}

static void past_done(void *arg)
{
	struct past_job *j = arg;
	if (j->failed)
		rpc_fail(j->call, &j->err);
	else
		past_answer(j);
	buf_done(&j->items);
	free(j->list);
	free(j->owner);
	free(j);
}

void rpc_todo_list(struct rpc_call *call, const void *params)
{
	const struct params_todo_list *p = params;
	_cleanup_free_ char *list = rpc_todo_list_name(call, p->list, p->cwd);
	if (!list)
		return;
	if (p->rev < 0 || p->rev == todos_rev(engine_todos(call->s->config.engine), list)) {
		list_now(call, p, list);
		return;
	}
	if (p->ready) {
		rpc_failf(call, E_PARAMS,
			  "ready: only of the list as it is now, not of revision %" PRId64, p->rev);
		return;
	}
	struct past_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->list = TAKE_PTR(list);
	j->owner = xslicedup(p->owner);
	j->rev = p->rev;
	j->statuses = p->statuses;
	j->offset = p->offset;
	j->limit = p->limit ? MIN2(p->limit, LIMIT_TODOS) : LIMIT_TODOS;
	store_read(call->s->config.store, past_read, past_done, j);
}

/* --- todo.history --- */

struct history_job {
	struct rpc_call *call;
	char *list;
	int64_t since;
	int64_t rev;  /* the newest that is stored of those made before the call */
	int64_t last; /* that was sent */
	uint32_t limit, n;
	bool more;
	struct buf b;
	struct pk pk;
	struct err err;
	bool failed;
};

/* A change too long for any answer is told without its items. */
static bool history_event(void *arg, const struct todo_event_row *row)
{
	struct history_job *j = arg;
	struct pk *pk = &j->pk;
	bool fits = pk->b->len + row->before.len + row->after.len <= LIST_MAX_BYTES;
	if (row->rev > j->rev)
		return false;
	j->more = j->n == j->limit || (!fits && j->n > 0);
	if (j->more)
		return false;
	pk_map(pk);
	pk_kint(pk, "rev", row->rev);
	pk_kint(pk, "time", row->time);
	pk_kstr(pk, "source", slice_str(row->source));
	pk_kint_or_nil(pk, "run", (int64_t)row->run, row->run != 0);
	pk_kint_or_nil(pk, "restored", row->restored, row->restored >= 0);
	pk_key(pk, "before");
	shape_items(pk, fits ? row->before : SLICE_NONE);
	pk_key(pk, "after");
	shape_items(pk, fits ? row->after : SLICE_NONE);
	pk_end(pk);
	j->last = row->rev;
	j->n++;
	return true;
}

static void history_read(struct sql_reader *r, void *arg)
{
	struct history_job *j = arg;
	int64_t stored;
	j->failed = sql_todo_rev(r, j->list, &stored, &j->err) != 0;
	if (j->failed)
		return;
	j->rev = MIN2(j->rev, stored);
	pk_map(&j->pk);
	pk_ktext(&j->pk, "list", slice_str(j->list));
	pk_kint(&j->pk, "rev", j->rev);
	pk_key(&j->pk, "events");
	pk_array(&j->pk);
	j->failed = sql_todo_history(r, j->list, j->since, j->limit + 1, history_event, j,
				     &j->err) != 0;
	pk_end(&j->pk);
	pk_kint_or_nil(&j->pk, "next", j->last, j->more);
	pk_end(&j->pk);
}

static void history_done(void *arg)
{
	struct history_job *j = arg;
	if (j->failed)
		rpc_fail(j->call, &j->err);
	else
		rpc_reply(j->call, &j->b);
	buf_done(&j->b);
	free(j->list);
	free(j);
}

void rpc_todo_history(struct rpc_call *call, const void *params)
{
	const struct params_todo_history *p = params;
	char *list = rpc_todo_list_name(call, p->list, p->cwd);
	if (!list)
		return;
	struct history_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->list = list;
	j->since = p->since;
	j->limit = (uint32_t)MIN2(p->limit, INT32_MAX);
	j->rev = todos_rev(engine_todos(call->s->config.engine), list);
	j->pk = rpc_pk(call, &j->b);
	store_read(call->s->config.store, history_read, history_done, j);
}

/* --- todo.lists --- */

static void pack_list(struct pk *pk, const struct todo_list_info *info)
{
	pk_map(pk);
	pk_ktext(pk, "list", slice_str(info->list));
	pk_kint(pk, "rev", info->rev);
	pk_kint(pk, "total", info->total);
	for (int i = 0; i < TODO_STATUS_MAX; i++)
		pk_kint(pk, todo_status_names[i], info->count[i]);
	pk_end(pk);
}

static bool page_list(void *arg, const struct todo_list_info *info)
{
	struct page *page = arg;
	if (!page_takes(page, info->list))
		return false;
	pack_list(page->pk, info);
	return true;
}

void rpc_todo_lists(struct rpc_call *call, const void *params)
{
	if (!rpc_todos_ready(call))
		return;
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	const struct todos *t = engine_todos(call->s->config.engine);
	const struct params_todo_lists *p = params;
	_cleanup_free_ char *after = xslicedup(p->after);
	_cleanup_free_ char *list = p->list.p  ? xslicedup(p->list)
				    : p->cwd.p ? rpc_todo_list_of_cwd(p->cwd)
					       : NULL;
	struct page page = { .pk = &pk, .left = p->limit };
	struct todo_list_info info;
	pk_map(&pk);
	pk_key(&pk, "lists");
	pk_array(&pk);
	if (!list)
		todos_each_list(t, after, page_list, &page);
	else if (todos_list_info(t, list, &info))
		pack_list(&pk, &info);
	pk_end(&pk);
	page_next(&page);
	pk_end(&pk);
	rpc_reply_stored(call, &b);
}
