#include "client/story_shape.h"

#include <stdlib.h>

#include "common/xalloc.h"
#include "proto/mp.h"

#define NONE UINT32_MAX

/* An op that was started, for sorting. */
struct begun {
	int64_t started;
	uint32_t op;
};

static int begun_order(const void *a, const void *b)
{
	const struct begun *x = a, *y = b;
	if (x->started != y->started)
		return x->started < y->started ? -1 : 1;
	return x->op < y->op ? -1 : x->op > y->op;
}

/* One that runs lasts until now; one that is tried again has no end that counts yet. */
static void shape_times(struct story *s)
{
	s->from = INT64_MAX;
	for (uint32_t i = 0; i < s->n; i++) {
		struct story_op *o = &s->ops[i];
		if (!o->started)
			continue;
		if (!o->ended)
			o->ended = s->now;
		o->ended = MAX2(o->ended, o->started);
		s->from = MIN2(s->from, o->started);
		s->to = MAX2(s->to, o->ended);
		s->n_started++;
	}
	if (s->n_started == 0)
		s->from = s->to = mp_get_int(s->head, "created", 0);
}

/* What began and ended within a millisecond has a microsecond, and what is after it, in its lane or
 * because it needs it, the next: who draws it would draw one inside the other, or refuse that they
 * overlap. */
static void shape_width(const struct story *s, struct story_op *o, int64_t *used_us)
{
	o->from_us = MAX2((o->started - s->from) * 1000, *used_us);
	for (uint32_t i = 0; i < o->ndeps; i++) {
		const struct story_op *on = &s->ops[s->deps[o->dep + i]];
		if (on->started && on->ended <= o->started)
			o->from_us = MAX2(o->from_us, on->to_us);
	}
	o->to_us = MAX2((o->ended - s->from) * 1000, o->from_us + 1);
	*used_us = o->to_us;
}

/* The lowest lane that is free when the op starts. */
static void shape_lanes(struct story *s)
{
	_cleanup_free_ struct begun *v = xcalloc(s->n_started + 1, sizeof(*v));
	_cleanup_free_ int64_t *busy_until = xcalloc(s->n_started + 1, sizeof(*busy_until));
	_cleanup_free_ int64_t *used_us = xcalloc(s->n_started + 1, sizeof(*used_us));
	uint32_t n = 0;
	for (uint32_t i = 0; i < s->n; i++)
		if (s->ops[i].started)
			v[n++] = (struct begun){ s->ops[i].started, i };
	qsort(v, n, sizeof(*v), begun_order);
	for (uint32_t i = 0; i < n; i++) {
		struct story_op *o = &s->ops[v[i].op];
		while (o->lane < s->n_lanes && busy_until[o->lane] > o->started)
			o->lane++;
		s->n_lanes = MAX2(s->n_lanes, o->lane + 1);
		busy_until[o->lane] = o->ended;
		shape_width(s, o, &used_us[o->lane]);
	}
}

/* A service lasts as long as the others do: nobody waits for its end. */
static uint32_t later(const struct story *s, uint32_t a, uint32_t b)
{
	if (b == NONE || !s->ops[b].started || s->ops[b].service)
		return a;
	return a == NONE || s->ops[b].ended > s->ops[a].ended ? b : a;
}

/* For each message the op that ended last in those before it. */
static uint32_t *shape_gates(const struct story *s, uint32_t *ret_n)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < s->n; i++)
		n = MAX2(n, s->ops[i].message);
	uint32_t *gates = xcalloc(n + 2, sizeof(*gates));
	for (uint32_t m = 0; m <= n + 1; m++)
		gates[m] = NONE;
	for (uint32_t i = 0; i < s->n; i++)
		gates[s->ops[i].message + 1] = later(s, gates[s->ops[i].message + 1], i);
	for (uint32_t m = 1; m <= n + 1; m++)
		gates[m] = later(s, gates[m], gates[m - 1]);
	*ret_n = n + 1;
	return gates;
}

/* What the op waited for until last; NONE: for nothing. */
static uint32_t shape_before(const struct story *s, const uint32_t *gates, bool serial, uint32_t op)
{
	const struct story_op *o = &s->ops[op];
	uint32_t before = gates[o->message];
	for (uint32_t i = 0; i < o->ndeps; i++)
		before = later(s, before, s->deps[o->dep + i]);
	if (serial && op > 0)
		before = later(s, before, op - 1);
	return before != NONE && s->ops[before].started <= o->started && before != op ? before
										      : NONE;
}

/* Back from the op that ended last; a run of one op has no path worth telling. */
static void shape_path(struct story *s)
{
	uint32_t n_gates, last = NONE;
	_cleanup_free_ uint32_t *gates = shape_gates(s, &n_gates);
	bool serial = !slice_is(mp_get_str(s->head, "order_used"), "parallel");
	for (uint32_t i = 0; i < s->n; i++)
		last = later(s, last, i);
	s->path = xcalloc(s->n + 1, sizeof(*s->path));
	for (uint32_t op = last; op != NONE && !s->ops[op].critical && s->n_path < s->n;
	     op = shape_before(s, gates, serial, op)) {
		s->ops[op].critical = true;
		s->path[s->n_path++] = op;
	}
	for (uint32_t i = 0; i < s->n_path / 2; i++) {
		uint32_t swap = s->path[i];
		s->path[i] = s->path[s->n_path - 1 - i];
		s->path[s->n_path - 1 - i] = swap;
	}
}

void story_shape(struct story *s)
{
	shape_times(s);
	shape_lanes(s);
	shape_path(s);
}
