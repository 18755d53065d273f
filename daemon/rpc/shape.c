#include "daemon/rpc/shape.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/text.h"
#include "proto/batch.h"
#include "proto/mp.h"

static void key_time(struct pk *pk, const char *key, int64_t ms)
{
	pk_kint_or_nil(pk, key, ms, ms != 0);
}

static void key_id(struct pk *pk, const char *key, uint64_t id)
{
	pk_kint_or_nil(pk, key, (int64_t)id, id != 0);
}

static void key_name(struct pk *pk, const char *key, const char *const *names, int value)
{
	pk_kstr(pk, key, slice_str(names[value]));
}

static void run_summary(struct pk *pk, const struct run_summary *s)
{
	pk_key(pk, "summary");
	pk_map(pk);
	pk_kint(pk, "ops", s->ops);
	pk_kint(pk, "succeeded", s->succeeded);
	pk_kint(pk, "failed", s->failed);
	pk_kint(pk, "skipped", s->skipped);
	pk_kint(pk, "cancelled", s->cancelled);
	pk_kint(pk, "interrupted", s->interrupted);
	pk_kint(pk, "wall_ms", s->wall_ms);
	pk_kint(pk, "serial_ms", s->serial_ms);
	pk_kint(pk, "critical_ms", s->critical_ms);
	pk_key(pk, "speedup");
	if (s->wall_ms > 0)
		pk_float(pk, (double)s->serial_ms / (double)s->wall_ms);
	else
		pk_nil(pk);
	pk_end(pk);
}

void shape_item(struct pk *pk, struct slice item)
{
	struct mp m = mp_of(item);
	if (!item.p || !pk->omit_nil) {
		pk_raw(pk, item);
		return;
	}
	pk_map(pk);
	for (uint32_t pairs = mp_next(&m).count; pairs > 0; pairs--) {
		pk_keyslice(pk, mp_next(&m).bytes);
		pk_raw(pk, mp_skip(&m));
	}
	pk_end(pk);
}

/* As many of the items as fit into max bytes. */
static void items_up_to(struct pk *pk, struct slice items, size_t max)
{
	struct mp m = mp_of(items);
	const char *begin = m.p;
	if (!items.p || (items.len <= max && !pk->omit_nil)) {
		pk_raw(pk, items);
		return;
	}
	pk_array(pk);
	for (uint32_t i = mp_next(&m).count; i > 0 && (size_t)(m.p - begin) < max; i--)
		shape_item(pk, mp_skip(&m));
	pk_end(pk);
}

void shape_items(struct pk *pk, struct slice items)
{
	items_up_to(pk, items, SIZE_MAX);
}

static void run_messages(struct pk *pk, struct slice messages, size_t max)
{
	pk_key(pk, "messages");
	items_up_to(pk, messages, max);
}

void shape_run_keys(struct pk *pk, const struct run_row *row, size_t room)
{
	pk_kint(pk, "run", (int64_t)row->run);
	pk_kstr(pk, "name", slice_str(row->name));
	pk_kstr(pk, "key", slice_str(row->key));
	key_name(pk, "state", run_state_names, row->state);
	pk_ktext(pk, "cwd", slice_str(row->cwd));
	pk_ktext(pk, "project", slice_str(row->project));
	pk_kstr(pk, "group", slice_str(row->group));
	pk_ktext(pk, "list", slice_str(row->list));
	key_name(pk, "order", batch_order_names, row->order);
	key_name(pk, "order_used", batch_order_names, row->order_used);
	pk_kint(pk, "priority", row->priority);
	key_id(pk, "origin", row->origin);
	key_id(pk, "parent", row->parent);
	key_id(pk, "parent_op", row->parent ? row->parent_op : 0);
	key_time(pk, "created", row->created);
	key_time(pk, "started", row->started);
	key_time(pk, "ended", row->ended);
	run_messages(pk, row->messages, room / 4);
	run_summary(pk, &row->summary);
	pk_kint_or_nil(pk, "eta_ms", row->eta_ms, row->eta_ms != 0);
	pk_key(pk, "eta_partial");
	pk_bool(pk, row->eta_partial);
	pk_kstr(pk, "output_dropped", slice_str(run_dropped_names[row->dropped]));
	pk_kraw(pk, "meta", row->meta.len <= room / 2 ? row->meta : SLICE_NONE);
}

static void op_out(struct pk *pk, const struct shape_out *out)
{
	pk_key(pk, "out");
	pk_map(pk);
	pk_kbin(pk, "head", out->head);
	pk_kbin(pk, "tail", out->tail);
	pk_kint(pk, "dropped", out->dropped);
	pk_end(pk);
}

/* How it went: what an op's shape and its event have in common. */
static void op_outcome(struct pk *pk, const struct op_row *row)
{
	char text[24];
	key_name(pk, "state", op_state_names, row->state);
	pk_kstr(pk, "cause", slice_str(row->cause ? op_cause_names[row->cause] : NULL));
	pk_kint_or_nil(pk, "exit", row->exit, row->exit >= 0);
	pk_kstr(pk, "signal", slice_str(shape_signal(row->signal, text)));
	pk_kint(pk, "attempts", row->attempts);
	pk_kint_or_nil(pk, "pid", row->pid, row->pid != 0);
	key_time(pk, "started", row->started);
	key_time(pk, "ended", row->ended);
	pk_kint_or_nil(pk, "duration_ms", row->duration_ms, row->duration_ms >= 0);
	pk_kint(pk, "stdout_bytes", row->stdout_bytes);
	pk_kint(pk, "stderr_bytes", row->stderr_bytes);
	pk_kint(pk, "dropped_bytes", row->dropped_bytes);
	pk_kint(pk, "lingering", row->lingering);
	pk_ktext(pk, "error", slice_str(row->error));
}

void shape_op(struct pk *pk, const struct op_row *row, const struct shape_out *out)
{
	pk_map(pk);
	pk_kint(pk, "index", row->op);
	pk_kstr(pk, "id", slice_str(row->id));
	pk_kint(pk, "message", row->message);
	key_name(pk, "kind", op_kind_names, row->kind);
	pk_kstr(pk, "text", slice_str(row->text));
	op_outcome(pk, row);
	pk_kstr(pk, "todo", slice_str(row->todo));
	pk_kstr(pk, "description", slice_str(row->description));
	pk_kraw(pk, "meta", row->meta);
	if (out)
		op_out(pk, out);
	pk_end(pk);
}

void shape_run_event(struct pk *pk, const struct run_row *row)
{
	pk_kint(pk, "run", (int64_t)row->run);
	pk_kstr(pk, "name", slice_str(row->name));
	key_name(pk, "state", run_state_names, row->state);
	pk_ktext(pk, "project", slice_str(row->project));
	key_time(pk, "created", row->created);
	key_time(pk, "started", row->started);
	key_time(pk, "ended", row->ended);
	run_messages(pk, row->messages, 4 << 10);
	run_summary(pk, &row->summary);
}

void shape_op_event(struct pk *pk, const struct op_row *row)
{
	pk_kint(pk, "run", (int64_t)row->run);
	pk_kint(pk, "op", row->op);
	pk_kstr(pk, "id", slice_str(row->id));
	pk_kint(pk, "message", row->message);
	op_outcome(pk, row);
}

/* --- signals --- */

const char *shape_signal(int signal, char text[24])
{
	if (signal == 0)
		return NULL;
	const char *name = sigabbrev_np(signal);
	if (name)
		snprintf(text, 24, "SIG%s", name);
	else if (signal >= SIGRTMIN && signal <= SIGRTMAX)
		snprintf(text, 24, "SIGRTMIN+%d", signal - SIGRTMIN);
	else
		snprintf(text, 24, "SIG%d", signal);
	return text;
}

int shape_signal_parse(struct slice name)
{
	int64_t n;
	char text[24];
	if (parse_int(name, 1, SIGRTMAX, &n))
		return (int)n;
	if (name.len > 3 && strncasecmp(name.p, "SIG", 3) == 0)
		name = slice_of(name.p + 3, name.len - 3);
	for (int i = 1; i <= SIGRTMAX; i++) {
		const char *known = shape_signal(i, text) + 3;
		if (strlen(known) == name.len && strncasecmp(known, name.p, name.len) == 0)
			return i;
	}
	return 0;
}
