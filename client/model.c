#include "client/model.h"

#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/mp.h"

const char *const view_state_names[VIEW_MAX] = {
	[VIEW_WAITING] = "waiting",	[VIEW_READY] = "ready",
	[VIEW_QUEUED] = "queued",	[VIEW_PAUSED] = "paused",
	[VIEW_RUNNING] = "running",	[VIEW_SUCCEEDED] = "succeeded",
	[VIEW_FAILED] = "failed",	[VIEW_SKIPPED] = "skipped",
	[VIEW_CANCELLED] = "cancelled", [VIEW_INTERRUPTED] = "interrupted",
};

enum view_state view_state_of(struct slice name)
{
	for (int s = 0; s < VIEW_MAX; s++)
		if (slice_is(name, view_state_names[s]))
			return (enum view_state)s;
	return VIEW_WAITING;
}

static void view_replace(char **field, struct slice value)
{
	free(*field);
	*field = xslicedup(value);
}

static void op_view_done(struct op_view *o)
{
	free(o->id);
	free(o->text);
	free(o->cause);
	free(o->signal);
	free(o->todo);
	free(o->error);
	buf_done(&o->streams[0].partial);
	buf_done(&o->streams[1].partial);
}

void run_view_done(struct run_view *v)
{
	for (uint32_t i = 0; i < v->n_ops; i++)
		op_view_done(&v->ops[i]);
	for (uint32_t i = 0; i < v->n_messages; i++)
		free(v->messages[i].name);
	free(v->ops);
	free(v->messages);
	free(v->name);
	buf_done(&v->final);
	*v = (struct run_view){ 0 };
}

static void run_view_messages(struct run_view *v, struct slice messages)
{
	struct mp m = mp_of(messages);
	struct mp_value list = mp_next(&m);
	if (list.type != MP_ARRAY || list.count <= v->n_messages)
		return;
	v->messages = xrealloc(v->messages, list.count, sizeof(*v->messages));
	for (uint32_t i = 0; i < list.count; i++) {
		struct slice one = mp_skip(&m);
		if (i < v->n_messages)
			continue;
		v->messages[i] =
			(struct message_view){ .name = xslicedup(mp_get_str(one, "name")) };
	}
	v->n_messages = list.count;
}

void run_view_estimate(struct run_view *v, struct slice run)
{
	if (!mp_find(run, "eta_partial").p)
		return; /* it says nothing of that */
	v->eta_ms = mp_get_int(run, "eta_ms", 0);
	v->eta_partial = mp_get_bool(run, "eta_partial");
	v->eta_at = time_wall_ms();
}

void run_view_head(struct run_view *v, struct slice run)
{
	struct slice state = mp_get_str(run, "state"), name = mp_get_str(run, "name");
	struct slice messages = mp_find(run, "messages"), summary = mp_find(run, "summary");
	if (name.p)
		view_replace(&v->name, name);
	if (state.p && !view_ended(v->state))
		v->state = view_state_of(state);
	v->created = mp_get_int(run, "created", v->created);
	v->started = mp_get_int(run, "started", v->started);
	v->ended = mp_get_int(run, "ended", v->ended);
	if (messages.p)
		run_view_messages(v, messages);
	run_view_estimate(v, run);
	if (summary.p)
		v->ops_total = (uint32_t)mp_get_int(summary, "ops", v->ops_total);
	v->ops_total = (uint32_t)mp_get_int(run, "ops_total", v->ops_total);
}

struct op_view *run_view_op(struct run_view *v, int64_t index)
{
	if (index < 1 || index > v->n_ops || v->ops[index - 1].index == 0)
		return NULL;
	return &v->ops[index - 1];
}

/* Room for ops up to `index`; those in between are unknown (index 0). */
static struct op_view *run_view_grow(struct run_view *v, uint32_t index)
{
	if (index > v->n_ops) {
		uint32_t cap = MAX2(index, MIN2(v->ops_total, index * 2));
		v->ops = xrealloc(v->ops, cap, sizeof(*v->ops));
		memset(v->ops + v->n_ops, 0, (cap - v->n_ops) * sizeof(*v->ops));
		v->n_ops = cap;
	}
	return &v->ops[index - 1];
}

static struct message_view *op_view_message(struct run_view *v, const struct op_view *o)
{
	return o->message >= 1 && o->message <= v->n_messages ? &v->messages[o->message - 1] : NULL;
}

/* Adds (by = 1) or takes back (by = -1) what the op counts for in its run and message. */
static void op_view_count(struct run_view *v, const struct op_view *o, int by)
{
	struct message_view *m = op_view_message(v, o);
	v->counts[o->state] += (uint32_t)by;
	if (!m)
		return;
	m->ops += (uint32_t)by;
	m->running += o->state == VIEW_RUNNING ? (uint32_t)by : 0;
	m->failed += o->state == VIEW_FAILED || o->state == VIEW_INTERRUPTED ? (uint32_t)by : 0;
	m->ended += view_ended(o->state) ? (uint32_t)by : 0;
}

static void op_view_take(struct op_view *o, struct slice op)
{
	static const struct {
		const char *key;
		size_t offset;
	} texts[] = {
		{ "id", offsetof(struct op_view, id) },
		{ "text", offsetof(struct op_view, text) },
		{ "cause", offsetof(struct op_view, cause) },
		{ "signal", offsetof(struct op_view, signal) },
		{ "todo", offsetof(struct op_view, todo) },
		{ "error", offsetof(struct op_view, error) },
	};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct slice value = mp_get_str(op, texts[i].key);
		if (value.p)
			view_replace((char **)((char *)o + texts[i].offset), value);
	}
	struct slice state = mp_get_str(op, "state");
	if (state.p)
		o->state = view_state_of(state);
	o->exit = (int)mp_get_int(op, "exit", o->exit);
	o->started = mp_get_int(op, "started", o->started);
	o->ended = mp_get_int(op, "ended", o->ended);
	o->attempts = (uint32_t)mp_get_int(op, "attempts", o->attempts);
	o->printed[0] = mp_get_int(op, "stdout_bytes", o->printed[0]);
	o->printed[1] = mp_get_int(op, "stderr_bytes", o->printed[1]);
}

void run_view_ops(struct run_view *v, struct slice ops)
{
	struct mp m = mp_of(ops);
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice one = mp_skip(&m);
		int64_t index = mp_get_int(one, "index", 0);
		if (index < 1 || index > LIMIT_OPS)
			continue;
		struct op_view *o = run_view_grow(v, (uint32_t)index);
		if (o->index)
			op_view_count(v, o, -1);
		else
			o->exit = -1;
		o->index = (uint32_t)index;
		o->message = (uint32_t)mp_get_int(one, "message", o->message);
		op_view_take(o, one);
		op_view_count(v, o, 1);
	}
}

struct op_view *run_view_op_event(struct run_view *v, struct slice event,
				  enum view_state *ret_before)
{
	struct op_view *o = run_view_op(v, mp_get_int(event, "op", 0));
	struct slice name = mp_get_str(event, "state");
	if (!o || !name.p || view_ended(o->state))
		return NULL;
	enum view_state now = view_state_of(name);
	int64_t time = mp_get_int(event, "time", time_wall_ms());
	*ret_before = o->state;
	op_view_count(v, o, -1);
	op_view_take(o, event);
	op_view_count(v, o, 1);
	if (now == VIEW_RUNNING && *ret_before != VIEW_RUNNING && !mp_get_int(event, "started", 0))
		o->started = time;
	if (view_ended(now) && !o->ended)
		o->ended = time;
	return now == *ret_before ? NULL : o;
}

const char *op_view_label(const struct op_view *o, char number[16])
{
	if (o->id)
		return o->id;
	snprintf(number, 16, "%u", o->index);
	return number;
}

int64_t op_view_ms(const struct op_view *o)
{
	bool known = o->started && o->ended && o->state != VIEW_INTERRUPTED;
	return known ? o->ended - o->started : -1;
}
