/*
 * Why an op of a live run does not run: the same conditions, in the same order, as flow.c and
 * sched.c go by, told instead of acted on.
 */
#include "common/timeutil.h"
#include "daemon/engine/live.h"
#include "proto/mp.h"

#define EXPLAIN_MAX 20 /* ops, runs or holders named one by one */

struct explain {
	struct engine *e;
	struct live_run *r;
	uint32_t op;
	struct pk *pk;
	uint32_t told;
};

static void explain_open(struct explain *x, const char *what)
{
	pk_map(x->pk);
	pk_kstr(x->pk, "for", slice_str(what));
	x->told++;
}

static void explain_op(struct explain *x, uint32_t op, const char *what, bool success)
{
	explain_open(x, what);
	pk_kint(x->pk, "run", (int64_t)x->r->id);
	pk_kint(x->pk, "op", op + 1);
	pk_kbool(x->pk, "success", success);
	if (x->r->plan->ops[op].background)
		pk_kbool(x->pk, "service", true);
	pk_end(x->pk);
}

/* Has it ended, or is it a service that is ready, which others wait for no more? */
static bool explain_over(const struct live_run *r, uint32_t op)
{
	return r->ops[op].served || op_phase_ended((enum op_phase)r->ops[op].phase);
}

static void explain_until(struct explain *x, const char *what, int64_t wall_ms)
{
	explain_open(x, what);
	pk_kint(x->pk, "until", wall_ms);
	pk_end(x->pk);
}

/* --- the run has not begun --- */

static void explain_runs(struct explain *x, struct slice ids, bool success)
{
	struct mp m = mp_of(ids);
	for (uint32_t n = ids.p ? mp_next(&m).count : 0; n > 0 && x->told < EXPLAIN_MAX; n--) {
		struct mp_value v = mp_next(&m);
		uint64_t id = v.type == MP_FLOAT ? (uint64_t)v.f : (uint64_t)v.i;
		if (!live_find(x->e, id))
			continue;
		explain_open(x, "run");
		pk_kint(x->pk, "run", (int64_t)id);
		pk_kbool(x->pk, "success", success);
		pk_end(x->pk);
	}
}

/* The run as a whole: what stands before its next op, whichever that is. */
static void explain_run(struct explain *x)
{
	struct live_run *r = x->r;
	const struct batch_head *h = &r->plan->head;
	int64_t not_before = accept_not_before(r);
	if (r->held || r->paused) {
		explain_open(x, "resume");
		pk_kint(x->pk, "run", (int64_t)r->id);
		pk_end(x->pk);
	}
	if (r->run_waits > 0) {
		explain_runs(x, h->needs_runs, true);
		explain_runs(x, h->after_any_runs, false);
	}
	if (!r->begun && not_before > time_wall_ms())
		explain_until(x, "time", not_before);
}

/* --- the op waits for others of its run --- */

static void explain_needs(struct explain *x)
{
	const struct plan *p = x->r->plan;
	const struct plan_op *o = &p->ops[x->op];
	for (uint32_t i = 0; i < o->ndeps && x->told < EXPLAIN_MAX; i++) {
		const struct plan_dep *d = &p->deps[o->dep + i];
		if (!explain_over(x->r, d->op))
			explain_op(x, d->op, "op", !d->any);
	}
}

/* The first op of the message, from `from` on, that is waited for. */
static uint32_t explain_open_op(const struct live_run *r, const struct plan_message *pm,
				uint32_t from)
{
	for (uint32_t op = from; op < pm->first + pm->count; op++)
		if (!explain_over(r, op))
			return op;
	return NO_OP;
}

static void explain_message(struct explain *x, uint32_t message)
{
	const struct plan_message *pm = &x->r->plan->messages[message];
	uint32_t op = explain_open_op(x->r, pm, pm->first);
	explain_open(x, "message");
	pk_kint(x->pk, "message", message + 1);
	pk_kint(x->pk, "left", x->r->messages[message].left);
	pk_kint_or_nil(x->pk, "op", op + 1, op != NO_OP);
	pk_end(x->pk);
}

/* What of the message goes before it: all that is written before it, or the todos and files. */
static void explain_turn(struct explain *x, const struct plan_message *pm)
{
	const struct live_message *m = &x->r->messages[pm->index];
	uint32_t stage = live_stage(&x->r->plan->ops[x->op]);
	if (pm->m.order != ORDER_PARALLEL) {
		uint32_t op = explain_open_op(x->r, pm, pm->first);
		if (op < x->op)
			explain_op(x, op, "order", true);
		return;
	}
	for (uint32_t op = pm->first; m->stage < stage && op < pm->first + pm->count; op++)
		if (live_stage(&x->r->plan->ops[op]) < stage && x->told < EXPLAIN_MAX &&
		    !explain_over(x->r, op))
			explain_op(x, op, "stage", false);
}

static void explain_waiting(struct explain *x)
{
	const struct live_run *r = x->r;
	const struct plan_message *pm = &r->plan->messages[r->plan->ops[x->op].message];
	if (r->message < pm->index && r->begun)
		explain_message(x, r->message);
	else if (r->begun)
		explain_turn(x, pm);
	explain_needs(x);
}

/* --- it could run, and there is no room --- */

static void explain_holders(struct explain *x, const struct pool *p)
{
	struct live_run *r, *next;
	uint32_t n = 0;
	pk_key(x->pk, "holders");
	pk_array(x->pk);
	HASH_ITER(hh, x->e->runs, r, next)
	{
		if (r->pool != p || r->running == 0)
			continue;
		for (uint32_t op = 0; op < r->plan->n_ops && n < EXPLAIN_MAX; op++) {
			if (!r->ops[op].taken || r->ops[op].lent)
				continue;
			pk_map(x->pk);
			pk_kint(x->pk, "run", (int64_t)r->id);
			pk_kint(x->pk, "op", op + 1);
			pk_end(x->pk);
			n++;
		}
	}
	pk_end(x->pk);
}

static void explain_slots(struct explain *x, const char *what)
{
	const struct pool *p = x->r->pool;
	explain_open(x, what);
	pk_kstr(x->pk, "group", slice_str(p->name));
	pk_kint(x->pk, "slots", p->slots);
	pk_kint(x->pk, "used", p->used);
	pk_kint(x->pk, "weight", sched_weight(x->r, x->op));
	pk_kint_or_nil(x->pk, "jobs", x->r->jobs, x->r->plan->head.has_jobs);
	explain_holders(x, p);
	pk_end(x->pk);
}

/* Ops of the run that are before it in its queue. */
static uint32_t explain_ahead(const struct live_run *r, uint32_t op)
{
	uint32_t n = 0;
	for (uint32_t at = r->ready_head; at != NO_OP && at != op && n < r->n_ready;
	     at = r->ops[at].next)
		n++;
	return n;
}

/* An op that is exclusive waits for all others of its run, and they for it. */
static void explain_alone(struct explain *x)
{
	const struct plan *p = x->r->plan;
	bool own = p->ops[x->op].exclusive;
	for (uint32_t op = 0; op < p->n_ops && x->told < EXPLAIN_MAX; op++)
		if (op_busy(&x->r->ops[op]) && (own || p->ops[op].exclusive))
			explain_op(x, op, "exclusive", false);
}

static void explain_room(struct explain *x)
{
	const struct live_run *r = x->r;
	const struct pool *p = r->pool;
	uint32_t weight = sched_weight(r, x->op);
	if (r->exclusive_running || (r->plan->ops[x->op].exclusive && r->running > 0))
		explain_alone(x);
	if (r->running_weight + weight > r->jobs)
		explain_slots(x, "jobs");
	if (p->paused)
		explain_slots(x, "group");
	else if ((p->used + weight > p->slots && p->used > 0 && !r->holds) || r->returning)
		explain_slots(x, "slot");
}

static void explain_ready(struct explain *x)
{
	const struct live_run *r = x->r;
	uint32_t ahead = explain_ahead(r, x->op);
	explain_room(x);
	if (x->told == 0 && (x->e->no_starts || x->e->busy)) {
		explain_open(x, x->e->no_starts ? "daemon" : "system");
		pk_end(x->pk);
	}
	if (ahead > 0) {
		explain_open(x, "queue");
		pk_kint(x->pk, "left", ahead);
		pk_kint(x->pk, "op", r->ready_head + 1);
		pk_end(x->pk);
	}
	if (x->told == 0) {
		explain_open(x, "disk"); /* its claim, or nothing but the next turn */
		pk_end(x->pk);
	}
}

/* A service that runs, and is not ready. */
static void explain_unready(struct explain *x)
{
	const struct attempt *a = x->r->ops[x->op].attempt;
	struct batch_op spec;
	plan_op_decode(x->r->plan, x->op, &spec);
	if (!service_unready(x->r, x->op, &spec))
		return;
	explain_open(x, "ready");
	if (spec.ready.has_port)
		pk_kint(x->pk, "port", spec.ready.port);
	else
		pk_kstr(x->pk, "match", spec.ready.match);
	if (a && spec.ready.timeout_ms > 0)
		pk_kint(x->pk, "until",
			time_wall_ms() + a->begun_mono_ms + spec.ready.timeout_ms - time_mono_ms());
	pk_end(x->pk);
}

bool engine_explain(struct engine *e, uint64_t run, uint32_t op, struct pk *pk)
{
	struct live_run *r = live_find(e, run);
	struct explain x = { .e = e, .r = r, .op = op - 1, .pk = pk };
	if (!r || op < 1 || op > r->plan->n_ops)
		return false;
	const struct live_op *o = &r->ops[x.op];
	pk_array(pk);
	if (!op_phase_ended((enum op_phase)o->phase) && !op_busy(o))
		explain_run(&x);
	if (o->phase == PHASE_WAITING)
		explain_waiting(&x);
	if (o->phase == PHASE_RUNNING)
		explain_unready(&x);
	if (o->phase == PHASE_BACKOFF && o->attempt)
		explain_until(&x, "retry",
			      time_wall_ms() + o->attempt->timer.at_ms - time_mono_ms());
	if (o->phase == PHASE_READY && x.told == 0)
		explain_ready(&x);
	pk_end(pk);
	return true;
}

bool engine_plan_page(struct engine *e, uint64_t run, struct plan_page *page)
{
	const struct live_run *r = live_find(e, run);
	if (!r)
		return false;
	plan_pack_page(r->plan, page);
	return true;
}
