#include "proto/methods.h"

#include <string.h>

#include "common/cleanup.h"
#include "proto/limits.h"
#include "proto/notify_batch.h"
#include "proto/value.h"

/* stored, never renumber */
const char *const wire_run_states[] = { "queued", "running",   "paused",      "succeeded",
					"failed", "cancelled", "interrupted", NULL };

static const char *const get_ops_names[] = { "all", "failed", "none", NULL };
static const char *const stream_names[] = { "both", "stdout", "stderr", NULL };
static const char *const sub_output_names[] = { "false", "sizes", "data", NULL };
static const char *const mode_names[] = { "replace", "merge", NULL };

#define TABLE(p) static const struct field fields_##p[]
#define DEFAULTS(p) static const struct params_##p defaults_##p
#define AT(p, m) offsetof(struct params_##p, m)
#define RUN(p)                                                                                     \
	{                                                                                          \
		"run", FIELD_INT, AT(p, run), .required = true, .min = 1, .max = LIMIT_INT,        \
					      .doc = "the run's id"                                \
	}
#define LIST(p)                                                                                    \
	{ "list", FIELD_NAME, AT(p, list), .max = LIMIT_PATH_BYTES, .doc = "the todo list" },      \
	{                                                                                          \
		"cwd", FIELD_ABSPATH, AT(p, cwd), .doc = "a folder: the list is its project's"     \
	}
#define BASE_REV(p)                                                                                \
	{                                                                                          \
		"base_rev", FIELD_INT, AT(p, base_rev),                                            \
			.min = 0, .max = LIMIT_INT,                                                \
			.doc = "refused (E_CONFLICT) when the list has a later revision"           \
	}
#define SOURCE(p)                                                                                  \
	{                                                                                          \
		"source", FIELD_NAME, AT(p, source), .doc = "who writes; default: hello's client"  \
	}
#define PUSH(p)                                                                                    \
	{                                                                                          \
		"push", FIELD_PUSH, AT(p, push), .doc = "[method, args...] of the notifications"   \
	}

/* --- rpc --- */

TABLE(rpc_hello) = {
	{ "client", FIELD_NAME, AT(rpc_hello, client),
	  .doc = "the client's name: the source of its todos" },
	{ "protocol", FIELD_INT, AT(rpc_hello, protocol), .min = 1, .max = LIMIT_INT,
	  .doc = "the protocol version spoken" },
	{ "cwd", FIELD_ABSPATH, AT(rpc_hello, cwd), .doc = "default of the todo methods' cwd" },
	{ "omit_nil", FIELD_BOOL, AT(rpc_hello, omit_nil), AT(rpc_hello, has_omit_nil),
	  .doc = "leave keys whose value is nil out of what is sent" },
	FIELD_END,
};
DEFAULTS(rpc_hello) = { 0 };

TABLE(rpc_async) = {
	{ "method", FIELD_NAME, AT(rpc_async, method), .required = true,
	  .doc = "the method to call" },
	{ "params", FIELD_RAW, AT(rpc_async, params), .doc = "its params: a map, or [] or [map]" },
	PUSH(rpc_async),
	FIELD_END,
};
DEFAULTS(rpc_async) = { 0 };

static int async_unknown(void *arg _unused_, struct slice key _unused_, struct slice value _unused_,
			 struct err *e _unused_)
{
	return 0;
}

bool method_async_push(struct slice params, struct slice *ret)
{
	static const struct field only_push[] = { PUSH(rpc_async), FIELD_END };
	static const struct field_opts opts = { .unknown = async_unknown };
	struct params_rpc_async a = { .push = SLICE_NONE };
	uint32_t n;
	struct mp at = array_open(params, &n);
	if (n != 1 ||
	    field_decode_with(only_push, mp_skip(&at), &a, "", &opts, NULL, &(struct err)ERR_INIT))
		return false;
	*ret = a.push;
	return true;
}

TABLE(rpc_unsubscribe) = {
	{ "sub", FIELD_INT, AT(rpc_unsubscribe, sub), .required = true, .min = 1, .max = LIMIT_INT,
	  .doc = "what the subscribe reply named" },
	FIELD_END,
};
DEFAULTS(rpc_unsubscribe) = { 0 };

/* --- batch --- */

TABLE(batch_submit) = {
	{ "batch", FIELD_MAP, AT(batch_submit, batch), .required = true, .doc = "the batch" },
	{ "notify", FIELD_BYTESV, AT(batch_submit, notify), .min = 1, .max = NOTIFY_BYTES_MAX,
	  .doc = "bash commands, at most 16, that run when the run has ended, in its `env_base`" },
	FIELD_END,
};
DEFAULTS(batch_submit) = { { NULL, 0 }, { NULL, 0 } };

TABLE(batch_check) = {
	{ "batch", FIELD_MAP, AT(batch_check, batch), .required = true, .doc = "the batch" },
	FIELD_END,
};
DEFAULTS(batch_check) = { { NULL, 0 } };

/* --- run --- */

TABLE(run_list) = {
	{ "state", FIELD_ENUMSET, AT(run_list, states), .names = wire_run_states,
	  .doc = "only runs in this state, or in one of an array of states" },
	{ "name", FIELD_NAME, AT(run_list, name), .doc = "only runs of this name" },
	{ "group", FIELD_NAME, AT(run_list, group), .doc = "only runs of this group" },
	{ "project", FIELD_ABSPATH, AT(run_list, project), .doc = "only runs of this project" },
	{ "limit", FIELD_INT, AT(run_list, limit), .min = 1, .max = LIMIT_INT,
	  .doc = "at most so many; 100" },
	{ "before", FIELD_INT, AT(run_list, before), .min = 1, .max = LIMIT_INT,
	  .doc = "only runs with a smaller id" },
	FIELD_END,
};
DEFAULTS(run_list) = { .limit = 100 };

TABLE(run_get) = {
	RUN(run_get),
	{ "ops", FIELD_ENUM, AT(run_get, ops), .names = get_ops_names,
	  .doc = "which ops: all, failed, none" },
	{ "offset", FIELD_INT, AT(run_get, offset), .min = 0, .max = LIMIT_INT,
	  .doc = "index of the first op to send" },
	{ "limit", FIELD_INT, AT(run_get, limit), .min = 0, .max = LIMIT_INT,
	  .doc = "at most so many ops" },
	{ "output", FIELD_INT, AT(run_get, output), .min = 0, .max = LIMIT_INT,
	  .doc = "with each op's first and last bytes, so many" },
	FIELD_END,
};
DEFAULTS(run_get) = { .offset = 1, .limit = -1, .output = -1 };

TABLE(run_wait) = {
	{ "run", FIELD_INT, AT(run_wait, run), .min = 1, .max = LIMIT_INT, .doc = "the run's id" },
	{ "runs", FIELD_INTS, AT(run_wait, runs), .min = 1, .max = LIMIT_INT,
	  .doc = "several, instead of run" },
	{ "any", FIELD_BOOL, AT(run_wait, any), .doc = "answer when the first of them has ended" },
	{ "timeout_ms", FIELD_INT, AT(run_wait, timeout_ms), .min = 0, .max = LIMIT_DURATION_MS,
	  .doc = "answer after this at the latest" },
	{ "output", FIELD_INT, AT(run_wait, output), .min = 0, .max = LIMIT_INT,
	  .doc = "with the ops and their first and last bytes, so many" },
	FIELD_END,
};
DEFAULTS(run_wait) = { .timeout_ms = -1, .output = -1 };

TABLE(run_cancel) = {
	RUN(run_cancel),
	{ "op", FIELD_OPREF, AT(run_cancel, op), .doc = "only this op: its index or id" },
	{ "signal", FIELD_NAME, AT(run_cancel, signal),
	  .doc = "send this signal and nothing else" },
	{ "grace", FIELD_DURATION, AT(run_cancel, grace_ms), AT(run_cancel, has_grace),
	  .doc = "time between TERM and KILL" },
	{ "now", FIELD_BOOL, AT(run_cancel, now),
	  .doc = "cancel the messages marked `always` too" },
	FIELD_END,
};
DEFAULTS(run_cancel) = { 0 };

TABLE(run_pause) = {
	RUN(run_pause),
	{ "freeze", FIELD_BOOL, AT(run_pause, freeze), .doc = "stop what runs, too" },
	FIELD_END,
};
DEFAULTS(run_pause) = { 0 };

TABLE(run_resume) = { RUN(run_resume), FIELD_END };
DEFAULTS(run_resume) = { 0 };

TABLE(run_restart) = {
	RUN(run_restart),
	{ "failed", FIELD_BOOL, AT(run_restart, failed),
	  .doc = "take over what succeeded, run the rest" },
	{ "env_base", FIELD_ENV, AT(run_restart, env_base),
	  .doc = "base environment of the new run" },
	FIELD_END,
};
DEFAULTS(run_restart) = { 0 };

TABLE(run_output) = {
	RUN(run_output),
	{ "op", FIELD_OPREF, AT(run_output, op), .required = true, .doc = "the op's index or id" },
	{ "attempt", FIELD_INT, AT(run_output, attempt), .min = 1, .max = LIMIT_RETRIES + 1,
	  .doc = "which try; default: the last" },
	{ "stream", FIELD_ENUM, AT(run_output, stream), .names = stream_names,
	  .doc = "stdout, stderr, or both by order of arrival" },
	{ "offset", FIELD_INT, AT(run_output, offset), .min = 0, .max = LIMIT_INT,
	  .doc = "from this byte of what was printed" },
	{ "limit", FIELD_INT, AT(run_output, limit), .min = 0, .max = LIMIT_INT,
	  .doc = "at most so many bytes; 1 MiB, or all of tail; 3 MiB at most" },
	{ "tail", FIELD_INT, AT(run_output, tail), .min = 0, .max = LIMIT_INT,
	  .doc = "the last so many bytes" },
	{ "lines", FIELD_INT, AT(run_output, lines), .min = 0, .max = LIMIT_INT,
	  .doc = "the last so many lines" },
	FIELD_END,
};
DEFAULTS(run_output) = { .offset = -1, .limit = -1, .tail = -1, .lines = -1 };

TABLE(run_plan) = {
	RUN(run_plan),
	{ "offset", FIELD_INT, AT(run_plan, offset), .min = 0, .max = LIMIT_INT,
	  .doc = "index of the first op to send" },
	{ "limit", FIELD_INT, AT(run_plan, limit), .min = 0, .max = LIMIT_INT,
	  .doc = "at most so many ops" },
	FIELD_END,
};
DEFAULTS(run_plan) = { .offset = 1, .limit = -1 };

TABLE(run_explain) = {
	RUN(run_explain),
	{ "op", FIELD_OPREF, AT(run_explain, op), .required = true, .doc = "the op's index or id" },
	FIELD_END,
};
DEFAULTS(run_explain) = { 0 };

TABLE(run_forget) = {
	{ "run", FIELD_INT, AT(run_forget, run), .min = 1, .max = LIMIT_INT, .doc = "this run" },
	{ "runs", FIELD_INTS, AT(run_forget, runs), .min = 1, .max = LIMIT_INT,
	  .doc = "these, as far as there are such and they have ended" },
	{ "before", FIELD_INT, AT(run_forget, before), .min = 1, .max = LIMIT_INT,
	  .doc = "runs that ended before this time" },
	{ "state", FIELD_ENUMSET, AT(run_forget, states), .names = wire_run_states,
	  .doc = "runs in this state, or in one of an array of states" },
	FIELD_END,
};
DEFAULTS(run_forget) = { 0 };

TABLE(run_subscribe) = {
	{ "run", FIELD_INT, AT(run_subscribe, run), .min = 1, .max = LIMIT_INT,
	  .doc = "this run; default: all" },
	{ "output", FIELD_ENUM, AT(run_subscribe, output), .names = sub_output_names,
	  .doc = "false, \"sizes\" (how far output has grown) or \"data\" (with its bytes)" },
	PUSH(run_subscribe),
	{ "since", FIELD_INT, AT(run_subscribe, since), .min = 0, .max = LIMIT_INT,
	  .doc = "the rev that the client knows" },
	FIELD_END,
};
DEFAULTS(run_subscribe) = { .since = -1 };

/* --- todo --- */

TABLE(todo_write) = {
	LIST(todo_write),
	{ "todos", FIELD_ARRAY, AT(todo_write, todos), .required = true, .doc = "the items" },
	{ "mode", FIELD_ENUM, AT(todo_write, mode), .names = mode_names,
	  .doc = "replace or merge" },
	BASE_REV(todo_write),
	SOURCE(todo_write),
	FIELD_END,
};
DEFAULTS(todo_write) = { .base_rev = -1 };

TABLE(todo_list) = {
	LIST(todo_list),
	{ "status", FIELD_ENUMSET, AT(todo_list, statuses), .names = wire_todo_statuses,
	  .doc = "only items of this status, or of one of an array" },
	{ "ready", FIELD_BOOL, AT(todo_list, ready), .doc = "only items that can be started" },
	{ "owner", FIELD_NAME, AT(todo_list, owner), .doc = "only items of this owner" },
	{ "rev", FIELD_INT, AT(todo_list, rev), .min = 0, .max = LIMIT_INT,
	  .doc = "as it was at this revision" },
	{ "offset", FIELD_INT, AT(todo_list, offset), .min = 0, .max = LIMIT_TODOS,
	  .doc = "how many to pass over" },
	{ "limit", FIELD_INT, AT(todo_list, limit), .min = 1, .max = LIMIT_INT,
	  .doc = "at most so many; all that fit" },
	FIELD_END,
};
DEFAULTS(todo_list) = { .rev = -1 };

TABLE(todo_update) = {
	LIST(todo_update),   BASE_REV(todo_update),
	SOURCE(todo_update), TODO_ITEM_FIELDS(struct params_todo_update, item),
	FIELD_END,
};
DEFAULTS(todo_update) = { .base_rev = -1, .item = TODO_ITEM_INIT };

TABLE(todo_claim) = {
	LIST(todo_claim),
	{ "id", FIELD_NAME, AT(todo_claim, id),
	  .doc = "this item; default: the first that is ready" },
	{ "owner", FIELD_NAME, AT(todo_claim, owner), .required = true, .doc = "who takes it" },
	{ "lease_ms", FIELD_INT, AT(todo_claim, lease_ms), .min = 1, .max = LIMIT_DURATION_MS,
	  .doc = "given back by itself after this" },
	FIELD_END,
};
DEFAULTS(todo_claim) = { 0 };

TABLE(todo_release) = {
	LIST(todo_release),
	{ "id", FIELD_NAME, AT(todo_release, id), .required = true, .doc = "the item" },
	{ "owner", FIELD_NAME, AT(todo_release, owner), .doc = "only when it is this owner's" },
	FIELD_END,
};
DEFAULTS(todo_release) = { 0 };

TABLE(todo_remove) = {
	LIST(todo_remove),
	{ "id", FIELD_NAME, AT(todo_remove, id), .required = true, .doc = "the item" },
	BASE_REV(todo_remove),
	FIELD_END,
};
DEFAULTS(todo_remove) = { .base_rev = -1 };

TABLE(todo_history) = {
	LIST(todo_history),
	{ "since", FIELD_INT, AT(todo_history, since), .min = 0, .max = LIMIT_INT,
	  .doc = "only revisions after this one" },
	{ "limit", FIELD_INT, AT(todo_history, limit), .min = 1, .max = LIMIT_INT,
	  .doc = "at most so many; 100" },
	FIELD_END,
};
DEFAULTS(todo_history) = { .limit = 100 };

TABLE(todo_restore) = {
	LIST(todo_restore),
	{ "rev", FIELD_INT, AT(todo_restore, rev), .required = true, .min = 0, .max = LIMIT_INT,
	  .doc = "the revision to go back to" },
	BASE_REV(todo_restore),
	FIELD_END,
};
DEFAULTS(todo_restore) = { .base_rev = -1 };

TABLE(todo_lists) = {
	LIST(todo_lists),
	{ "after", FIELD_CSTR, AT(todo_lists, after), .doc = "only those whose names come after" },
	{ "limit", FIELD_INT, AT(todo_lists, limit), .min = 1, .max = LIMIT_INT,
	  .doc = "at most so many; all that fit" },
	FIELD_END,
};
DEFAULTS(todo_lists) = { .limit = LIMIT_INT };

TABLE(todo_subscribe) = { LIST(todo_subscribe), PUSH(todo_subscribe), FIELD_END };
DEFAULTS(todo_subscribe) = { 0 };

/* --- group, daemon --- */

TABLE(group_list) = {
	{ "after", FIELD_NAME, AT(group_list, after), .doc = "only those whose names come after" },
	{ "limit", FIELD_INT, AT(group_list, limit), .min = 1, .max = LIMIT_INT,
	  .doc = "at most so many; all that fit" },
	FIELD_END,
};
DEFAULTS(group_list) = { .limit = LIMIT_INT };

TABLE(group_set) = {
	{ "group", FIELD_LABEL, AT(group_set, group), .required = true, .doc = "the pool" },
	{ "slots", FIELD_INT, AT(group_set, slots), .min = 1, .max = LIMIT_JOBS,
	  .doc = "how many slots it has" },
	{ "paused", FIELD_BOOL, AT(group_set, paused), AT(group_set, has_paused),
	  .doc = "whether it starts nothing" },
	FIELD_END,
};
DEFAULTS(group_set) = { 0 };

TABLE(daemon_status) = { FIELD_END };
DEFAULTS(daemon_status) = { 0 };

TABLE(daemon_stop) = {
	{ "drain", FIELD_BOOL, AT(daemon_stop, drain), .doc = "wait for what runs" },
	FIELD_END,
};
DEFAULTS(daemon_stop) = { 0 };

TABLE(daemon_reload) = { FIELD_END };
DEFAULTS(daemon_reload) = { 0 };

/* --- the rows --- */

#define X(id_, name_, params, flags_, doc_)                                                        \
	_Static_assert(sizeof(struct params_##params) <= METHOD_PARAMS_MAX, "room for params");    \
	_Static_assert(ARRAY_SIZE(fields_##params) <= FIELD_MAX_PER_TABLE, "a bit for each "       \
									   "field");
#include "proto/methods.def"
#undef X

const struct method methods[METHOD_MAX] = {
#define X(id_, name_, params, flags_, doc_)                                                        \
	[METHOD_##id_] = { .id = METHOD_##id_,                                                     \
			   .name = name_,                                                          \
			   .fields = fields_##params,                                              \
			   .defaults = &defaults_##params,                                         \
			   .params_size = sizeof(struct params_##params),                          \
			   .flags = flags_,                                                        \
			   .doc = doc_ },
#include "proto/methods.def"
#undef X
};

const struct method *method_find(struct slice name)
{
	for (size_t i = 0; i < METHOD_MAX; i++)
		if (slice_is(name, methods[i].name))
			return &methods[i];
	return NULL;
}

/* --- what no single field knows --- */

static int check_wait(const struct method *m _unused_, uint64_t seen _unused_, void *params,
		      struct err *e)
{
	const struct params_run_wait *p = params;
	if (!p->run == !p->runs.p)
		return err_set(e, E_PARAMS, ": give one of 'run' and 'runs'");
	if (p->runs.p && array_count(p->runs) == 0)
		return err_set(e, E_PARAMS, ".runs: must not be empty");
	return 0;
}

static int check_output(const struct method *m _unused_, uint64_t seen _unused_, void *params,
			struct err *e)
{
	const struct params_run_output *p = params;
	if ((p->offset >= 0) + (p->tail >= 0) + (p->lines >= 0) > 1)
		return err_set(e, E_PARAMS, ": give only one of 'offset', 'tail' and 'lines'");
	return 0;
}

static int check_forget(const struct method *m _unused_, uint64_t seen _unused_, void *params,
			struct err *e)
{
	const struct params_run_forget *p = params;
	bool filter = p->before || p->states;
	if (!p->run && !p->runs.p && !filter)
		return err_set(e, E_PARAMS, ": give 'run', 'runs', 'before' or 'state'");
	if ((p->run != 0) + (p->runs.p != NULL) + filter > 1)
		return err_set(e, E_PARAMS,
			       ": 'run' and 'runs' stand alone; 'before' and 'state' go together");
	return 0;
}

static int check_update(const struct method *m, uint64_t seen, void *params, struct err *e)
{
	struct params_todo_update *p = params;
	if (!p->item.id.p)
		return err_set(e, E_PARAMS, ".id: required");
	if (todo_item_check(m->fields, seen, &p->item, e))
		return 1;
	p->critical = p->item.priority == TODO_ITEM_CRITICAL;
	if (p->critical)
		p->item.priority = 0;
	return 0;
}

static int check_group(const struct method *m _unused_, uint64_t seen _unused_, void *params,
		       struct err *e)
{
	const struct params_group_set *p = params;
	if (!p->slots && !p->has_paused)
		return err_set(e, E_PARAMS, ": give 'slots' or 'paused'");
	return 0;
}

static int (*const checks[METHOD_MAX])(const struct method *m, uint64_t seen, void *params,
				       struct err *e) = {
	[METHOD_RUN_WAIT] = check_wait,	    [METHOD_RUN_OUTPUT] = check_output,
	[METHOD_RUN_FORGET] = check_forget, [METHOD_TODO_UPDATE] = check_update,
	[METHOD_GROUP_SET] = check_group,
};

int method_decode(const struct method *m, struct slice params, void *ret, struct err *e)
{
	static const char empty_map[] = { (char)0x80 };
	uint64_t seen = 0;
	struct mp at = mp_of(params);
	struct mp_value head = mp_next(&at);
	if (head.type != MP_ARRAY || head.count > 1)
		return err_set(e, E_PARAMS, "params must be [] or [map]");
	memcpy(ret, m->defaults, m->params_size);
	struct slice map = head.count ? mp_rest(&at) : slice_of(empty_map, 1);
	if (field_decode(m->fields, map, ret, "", &seen, e))
		return 1;
	if (checks[m->id] && checks[m->id](m, seen, ret, e))
		return value_at(e, "", NULL);
	return 0;
}
