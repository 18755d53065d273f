#include <inttypes.h>
#include <stdlib.h>

#include "proto/limits.h"
#include "proto/plan_impl.h"
#include "proto/suggest.h"
#include "proto/value.h"

/* --- ids: open addressing, at most half full --- */

static uint32_t id_hash(struct slice s)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
	return (uint32_t)((h ^ h >> 29) * 0x9e3779b97f4a7c15u >> 32);
}

/* The slot that holds the id, or the free one where it would go. */
static struct plan_id *plan_id_slot(const struct plan *p, struct slice id, uint32_t hash)
{
	uint32_t i = hash & p->ids_mask;
	while (p->ids[i].op &&
	       (p->ids[i].hash != hash || !slice_eq(plan_op_id(p, p->ids[i].op - 1), id)))
		i = (i + 1) & p->ids_mask;
	return &p->ids[i];
}

int plan_index_ids(struct plan *p, struct err *e)
{
	uint32_t n = 0, slots = 4;
	for (uint32_t i = 0; i < p->n_ops; i++)
		n += p->ops[i].id_len > 0;
	while (slots < 2 * n)
		slots *= 2;
	p->ids = calloc(slots, sizeof(*p->ids));
	if (!p->ids)
		return err_set(e, E_MEMORY, "no memory for %" PRIu32 " ids", n);
	p->ids_mask = slots - 1;
	for (uint32_t i = 0; i < p->n_ops; i++) {
		char place[PLAN_PATH_MAX], other[PLAN_PATH_MAX];
		struct slice id = plan_op_id(p, i);
		if (!id.p)
			continue;
		uint32_t hash = id_hash(id);
		struct plan_id *slot = plan_id_slot(p, id, hash);
		if (slot->op)
			return err_set(e, E_PARAMS, "%s.id: '%.*s' is also the id of %s",
				       plan_op_place(p, i, place), SLICE_FMT(id),
				       plan_op_place(p, slot->op - 1, other));
		*slot = (struct plan_id){ hash, i + 1 };
	}
	return 0;
}

uint32_t plan_find(const struct plan *p, struct slice id)
{
	return id.p ? plan_id_slot(p, id, id_hash(id))->op - 1 : UINT32_MAX;
}

/* --- dependencies --- */

/* With the id that was perhaps meant, of the first few thousand. */
static int plan_no_such_id(const struct plan *p, struct slice id, const char *place, struct err *e)
{
	enum { LOOKED_AT = 4096 };
	char wrong[VALUE_QUOTE_MAX], hint[SUGGEST_TEXT_MAX];
	char name[LIMIT_NAME_BYTES + 1], best[LIMIT_NAME_BYTES + 1];
	struct suggest s = SUGGEST_INIT(id);
	for (uint32_t i = 0; i < MIN2(p->n_ops, LOOKED_AT); i++) {
		struct slice known = plan_op_id(p, i);
		if (!known.p)
			continue;
		snprintf(name, sizeof(name), "%.*s", SLICE_FMT(known));
		suggest_offer(&s, name);
		if (s.best == name) {
			memcpy(best, name, sizeof(best));
			s.best = best;
		}
	}
	return err_set(e, E_PARAMS, "%s: no op has the id '%s'%s", place, value_quote(id, wrong),
		       suggest_text(&s, hint));
}

/* Whether `op` may wait for `on` at all; cycles come later. */
static int plan_dep_check(const struct plan *p, uint32_t op, uint32_t on, const char *place,
			  struct err *e)
{
	const struct plan_message *m = &p->messages[p->ops[op].message];
	struct slice id = plan_op_id(p, on);
	if (on == op)
		return err_set(e, E_PARAMS, "%s: '%.*s' is the op itself", place, SLICE_FMT(id));
	if (p->ops[on].message > p->ops[op].message)
		return err_set(
			e, E_PARAMS,
			"%s: '%.*s' is in a later message, which starts when this one is over",
			place, SLICE_FMT(id));
	if (p->ops[on].message == m->index && on > op && m->m.order != ORDER_PARALLEL)
		return err_set(e, E_PARAMS,
			       "%s: '%.*s' comes later in a message whose order is '%s'", place,
			       SLICE_FMT(id), batch_order_names[m->m.order]);
	return 0;
}

/* The ids of one key (needs or after_any) of an op, appended to deps. */
static int plan_link_key(struct plan *p, uint32_t op, const char *key, bool any, struct err *e)
{
	char op_place[PLAN_PATH_MAX], place[PLAN_PATH_MAX + 32];
	uint32_t n;
	struct mp at = array_open(mp_find(plan_op_raw(p, op), key), &n);
	for (uint32_t i = 0; i < n; i++) {
		struct slice id = mp_next(&at).bytes;
		uint32_t on = plan_find(p, id);
		if (on >= op)
			snprintf(place, sizeof(place), "%s.%s[%" PRIu32 "]",
				 plan_op_place(p, op, op_place), key, i);
		if (on == UINT32_MAX)
			return plan_no_such_id(p, id, place, e);
		if (on >= op && plan_dep_check(p, op, on, place, e))
			return 1;
		p->deps[p->n_deps++] = (struct plan_dep){ .op = on, .any = any };
	}
	return 0;
}

static int plan_dep_order(const void *a, const void *b)
{
	const struct plan_dep *x = a, *y = b;
	if (x->op != y->op)
		return x->op < y->op ? -1 : 1;
	return (int)x->any - (int)y->any;
}

/* Each op once; `needs` includes what `after_any` asks for. */
static void plan_link_distinct(struct plan *p, struct plan_op *o)
{
	struct plan_dep *d = p->deps + o->dep;
	uint32_t n = p->n_deps - o->dep, kept = 0;
	if (n > 1)
		qsort(d, n, sizeof(*d), plan_dep_order);
	for (uint32_t i = 0; i < n; i++)
		if (kept == 0 || d[kept - 1].op != d[i].op)
			d[kept++] = d[i];
	o->ndeps = kept;
	p->n_deps = o->dep + kept;
}

/* --- cycles --- */

#define WALK_NEW 0
#define WALK_OPEN 1
#define WALK_DONE 2

static int plan_cycle(const struct plan *p, const uint32_t *stack, uint32_t depth, uint32_t back,
		      struct err *e)
{
	enum { SHOWN = 8 };
	char place[PLAN_PATH_MAX], text[700], name[LIMIT_NAME_BYTES + 16];
	uint32_t from = 0, len = 0;
	size_t at = 0;
	while (stack[from] != back)
		from++;
	for (uint32_t i = from; i < depth && at < sizeof(text) - LIMIT_NAME_BYTES - 32; i++, len++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s needs ",
				       len < SHOWN ? plan_op_name(p, stack[i], name, sizeof(name))
						   : "...");
	snprintf(text + at, sizeof(text) - at, "%s", plan_op_name(p, back, name, sizeof(name)));
	return err_set(e, E_PARAMS, "%s: a cycle: %s", plan_op_place(p, back, place), text);
}

/*
 * Depth first from `root` along what each op waits for; w->order counts ops as they are finished,
 * so that each comes after all it waits for. w->touched holds the next dependency to look at.
 */
static int plan_walk_from(const struct plan *p, struct plan_walk *w, uint32_t root, uint32_t *count,
			  struct err *e)
{
	uint32_t depth = 0;
	w->stack[depth++] = root;
	w->seen[root] = WALK_OPEN;
	w->touched[root] = 0;
	while (depth > 0) {
		uint32_t op = w->stack[depth - 1];
		const struct plan_op *o = &p->ops[op];
		if (w->touched[op] == o->ndeps) {
			w->seen[op] = WALK_DONE;
			w->order[op] = (*count)++;
			depth--;
			continue;
		}
		uint32_t on = p->deps[o->dep + w->touched[op]++].op;
		if (w->seen[on] == WALK_OPEN)
			return plan_cycle(p, w->stack, depth, on, e);
		if (w->seen[on] == WALK_DONE)
			continue;
		w->seen[on] = WALK_OPEN;
		w->touched[on] = 0;
		w->stack[depth++] = on;
	}
	return 0;
}

int plan_walk_init(struct plan_walk *w, const struct plan *p, struct err *e)
{
	uint32_t count = 0;
	*w = (struct plan_walk){ .budget = INT64_C(64) << 20 };
	w->order = calloc(p->n_ops, sizeof(*w->order));
	w->stack = calloc(p->n_ops, sizeof(*w->stack));
	w->touched = calloc(p->n_ops, sizeof(*w->touched));
	w->seen = calloc(p->n_ops, 1);
	if (!w->order || !w->stack || !w->touched || !w->seen)
		return err_set(e, E_MEMORY, "no memory for the order of %" PRIu32 " ops", p->n_ops);
	for (uint32_t i = 0; i < p->n_ops; i++)
		if (w->seen[i] == WALK_NEW && plan_walk_from(p, w, i, &count, e))
			return 1;
	memset(w->seen, 0, p->n_ops);
	return 0;
}

void plan_walk_done(struct plan_walk *w)
{
	free(w->order);
	free(w->stack);
	free(w->touched);
	free(w->seen);
}

bool plan_waits_for(const struct plan *p, struct plan_walk *w, uint32_t op, uint32_t target)
{
	uint32_t depth = 0, n_touched = 0;
	bool found = false;
	w->stack[depth++] = op;
	while (depth > 0 && !found && w->budget > 0) {
		const struct plan_op *o = &p->ops[w->stack[--depth]];
		for (uint32_t i = 0; i < o->ndeps && !found && w->budget-- > 0; i++) {
			uint32_t on = p->deps[o->dep + i].op;
			found = on == target;
			if (w->seen[on] || w->order[on] < w->order[target])
				continue;
			w->seen[on] = 1;
			w->touched[n_touched++] = on;
			w->stack[depth++] = on;
		}
	}
	while (n_touched > 0)
		w->seen[w->touched[--n_touched]] = 0;
	return found;
}

static int plan_no_cycle(const struct plan *p, struct err *e)
{
	struct plan_walk w;
	int r = plan_walk_init(&w, p, e);
	plan_walk_done(&w);
	return r;
}

int plan_link(struct plan *p, struct err *e)
{
	uint64_t total = 0;
	bool back = true;
	for (uint32_t i = 0; i < p->n_ops; i++)
		total += p->ops[i].ndeps;
	p->deps = calloc(total + 1, sizeof(*p->deps));
	if (!p->deps)
		return err_set(e, E_MEMORY, "no memory for %" PRIu64 " dependencies", total);
	for (uint32_t i = 0; i < p->n_ops; i++) {
		struct plan_op *o = &p->ops[i];
		o->dep = p->n_deps;
		if (o->ndeps == 0)
			continue;
		if (plan_link_key(p, i, "needs", false, e) ||
		    plan_link_key(p, i, "after_any", true, e))
			return 1;
		plan_link_distinct(p, o);
		back = back && p->deps[o->dep + o->ndeps - 1].op < i;
	}
	return back ? 0 : plan_no_cycle(p, e); /* all point backwards: no cycle */
}
