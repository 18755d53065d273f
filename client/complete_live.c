#include "client/complete.h"

#include <inttypes.h>

#include "client/ctx.h"
#include "client/daemon_start.h"
#include "client/selectors.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

/* A prompt waits for it. */
#define LIVE_MS 2000
#define LIVE_RUNS 100

/* One call; false where no daemon runs or it says no. The params map is ended here. */
static bool live_call(struct complete *k, const char *method, struct pk *pk, struct buf *params,
		      struct buf *reply)
{
	struct err e = ERR_INIT;
	struct ctx *c = k->c;
	pk_end(pk);
	if (!c->conn && (!daemon_is_running(c->socket) ||
			 conn_open_within(c->socket, ctx_cwd(), LIVE_MS, &c->conn, &e)))
		return false;
	return ctx_try(c, method, params, reply, &e) == 0;
}

/* Calls `each` with every map of the array `key`. */
static void live_each(struct complete *k, const struct buf *reply, const char *key,
		      void (*each)(struct complete *k, struct slice one))
{
	struct mp m = mp_of(mp_find(buf_slice(reply), key));
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++)
		each(k, mp_skip(&m));
}

static void offer_number(struct complete *k, int64_t number, struct slice help)
{
	char text[24];
	snprintf(text, sizeof(text), "%lld", (long long)number);
	complete_offer(k, slice_str(text), help);
}

/* ---- runs ---- */

static bool runs_call(struct complete *k, struct slice name, int limit, struct buf *reply)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	_cleanup_free_ char *project = ctx_project();
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "limit", limit);
	if (name.len)
		pk_ktext(&pk, "name", name);
	else if (!k->everywhere && project)
		pk_ktext(&pk, "project", slice_str(project));
	return live_call(k, "run.list", &pk, &params, reply);
}

static void offer_run(struct complete *k, struct slice run)
{
	_cleanup_buf_ struct buf help = BUF_INIT;
	struct slice name = mp_get_str(run, "name"), state = mp_get_str(run, "state");
	buf_addf(&help, "%.*s%s%.*s", SLICE_FMT(name), name.len ? ", " : "", SLICE_FMT(state));
	offer_number(k, mp_get_int(run, "run", 0), buf_slice(&help));
}

static void offer_run_name(struct complete *k, struct slice run)
{
	_cleanup_buf_ struct buf help = BUF_INIT;
	struct slice name = mp_get_str(run, "name"), state = mp_get_str(run, "state");
	buf_addf(&help, "run %lld, %.*s", (long long)mp_get_int(run, "run", 0), SLICE_FMT(state));
	if (name.len)
		complete_offer(k, name, buf_slice(&help));
}

void complete_runs(struct complete *k)
{
	_cleanup_buf_ struct buf reply = BUF_INIT;
	if (!runs_call(k, SLICE_NONE, LIVE_RUNS, &reply))
		return;
	live_each(k, &reply, "runs", offer_run);
	live_each(k, &reply, "runs", offer_run_name);
	complete_offer(k, slice_str("last"), slice_str("the newest run"));
	complete_offer(k, slice_str("all"), slice_str("all runs the verb is about"));
}

/* ---- ops ---- */

/* The run that a word before the dot means; 0: none. */
static int64_t ops_run(struct complete *k, struct slice head)
{
	_cleanup_buf_ struct buf reply = BUF_INIT;
	int64_t run;
	if (parse_int(head, 1, LIMIT_INT, &run))
		return run;
	if (!runs_call(k, slice_is(head, "last") ? SLICE_NONE : head, 1, &reply))
		return 0;
	struct mp m = mp_of(mp_find(buf_slice(&reply), "runs"));
	struct mp_value list = mp_next(&m);
	return list.type == MP_ARRAY && list.count ? mp_get_int(mp_skip(&m), "run", 0) : 0;
}

static void offer_op(struct complete *k, struct slice op)
{
	_cleanup_buf_ struct buf value = BUF_INIT, help = BUF_INIT;
	const char *head = k->word + k->kept;
	int len = (int)strcspn(head, ".");
	struct slice id = mp_get_str(op, "id"), state = mp_get_str(op, "state");
	buf_addf(&help, "%.*s: ", SLICE_FMT(state));
	text_one_line(&help, mp_get_str(op, "text"), 60);
	buf_addf(&value, "%.*s.%lld", len, head, (long long)mp_get_int(op, "index", 0));
	complete_offer(k, buf_slice(&value), buf_slice(&help));
	if (!id.len)
		return;
	buf_clear(&value);
	buf_addf(&value, "%.*s.%.*s", len, head, SLICE_FMT(id));
	complete_offer(k, buf_slice(&value), buf_slice(&help));
}

void complete_ops(struct complete *k)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	const char *head = k->word + k->kept, *dot = strchr(head, '.');
	if (!dot) {
		complete_runs(k);
		return;
	}
	int64_t run = ops_run(k, slice_of(head, (size_t)(dot - head)));
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	pk_kint(&pk, "limit", 1000);
	if (run && live_call(k, "run.get", &pk, &params, &reply))
		live_each(k, &reply, "ops", offer_op);
}

/* ---- todos, lists, pools ---- */

static void offer_todo_if(struct complete *k, struct slice item, bool open)
{
	_cleanup_buf_ struct buf help = BUF_INIT;
	struct slice status = mp_get_str(item, "status");
	bool is_open = slice_is(status, "pending") || slice_is(status, "in_progress");
	if (open != is_open)
		return;
	if (!slice_is(status, "pending"))
		buf_addf(&help, "%.*s: ", SLICE_FMT(status));
	text_one_line(&help, mp_get_str(item, "content"), 60);
	complete_offer(k, mp_get_str(item, "id"), buf_slice(&help));
}

static void offer_open_todo(struct complete *k, struct slice item)
{
	offer_todo_if(k, item, true);
}

static void offer_ended_todo(struct complete *k, struct slice item)
{
	offer_todo_if(k, item, false);
}

void complete_todos(struct complete *k)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	const char *env = getenv("BATCHD_LIST"), *cwd = ctx_cwd();
	const char *list = k->list ? k->list : env && *env ? env : NULL;
	pk_map(&pk);
	if (list)
		pk_ktext(&pk, "list", slice_str(list));
	else
		pk_ktext(&pk, "cwd", slice_str(cwd ? cwd : "/"));
	if (!live_call(k, "todo.list", &pk, &params, &reply))
		return;
	live_each(k, &reply, "todos", offer_open_todo);
	live_each(k, &reply, "todos", offer_ended_todo);
}

static void offer_list(struct complete *k, struct slice list)
{
	complete_offer(k, mp_get_str(list, "list"), slice_str("todo list"));
}

void complete_lists(struct complete *k)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	if (live_call(k, "todo.lists", &pk, &params, &reply))
		live_each(k, &reply, "lists", offer_list);
}

static void offer_group(struct complete *k, struct slice group)
{
	_cleanup_buf_ struct buf help = BUF_INIT;
	int64_t slots = mp_get_int(group, "slots", 0);
	buf_addf(&help, "%" PRId64 " slot%s, %" PRId64 " used", slots, PLURAL(slots),
		 mp_get_int(group, "used", 0));
	complete_offer(k, mp_get_str(group, "group"), buf_slice(&help));
}

void complete_groups(struct complete *k)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	if (live_call(k, "group.list", &pk, &params, &reply))
		live_each(k, &reply, "groups", offer_group);
}
