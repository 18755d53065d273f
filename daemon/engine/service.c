/*
 * Services: ops with `background`. One runs like any other op until it is ready; then, for what
 * needs it and for its message, it is as if it had succeeded (flow_serve), and it runs on without
 * slots. When all else of the run has ended it is told to end, which is its success. Its own table
 * (opfsm) knows nothing of this: it is running, then stopping.
 */
#include "common/timeutil.h"
#include "daemon/engine/live.h"

static uint64_t service_token(const struct live_run *r, uint32_t op)
{
	return token_make(r->id, op + 1, r->ops[op].attempts);
}

void service_count(struct live_run *r, uint32_t op)
{
	struct live_message *m = &r->messages[r->plan->ops[op].message];
	r->ops[op].served = 1;
	m->left--;
	m->stage_left[live_stage(&r->plan->ops[op])]--;
	m->services++;
	m->tried = 1;
	r->services++;
}

static void service_watch(struct live_run *r, uint32_t op, const struct batch_ready *ready)
{
	struct attempt *a = r->ops[op].attempt;
	a->ready_timer.kind = TIMER_READY;
	a->ready_timer.owner = a;
	if (ready->timeout_ms > 0)
		timer_arm(&r->e->timers, &a->ready_timer, a->begun_mono_ms + ready->timeout_ms);
	r->e->ports.ready_watch(r->e->ports.arg, service_token(r, op), ready);
}

void service_started(struct live_run *r, uint32_t op)
{
	struct batch_op spec;
	if (!r->plan->ops[op].background)
		return;
	if (r->ops[op].served) { /* tried again */
		sched_aside(r, op);
		return;
	}
	plan_op_decode(r->plan, op, &spec);
	if (spec.has_ready)
		service_watch(r, op, &spec.ready);
	else
		flow_serve(r, op);
}

void service_unwatch(struct live_run *r, uint32_t op)
{
	if (!r->plan->ops[op].background)
		return;
	if (r->ops[op].attempt)
		timer_disarm(&r->e->timers, &r->ops[op].attempt->ready_timer);
	r->e->ports.ready_watch(r->e->ports.arg, service_token(r, op), NULL);
}

bool service_unready(const struct live_run *r, uint32_t op, const struct batch_op *spec)
{
	return spec->background && spec->has_ready && !r->ops[op].served;
}

/* What waits, for a slot or for its next try, has failed before: it is not tried again. */
static void service_end(struct live_run *r, uint32_t op)
{
	const struct live_op *o = &r->ops[op];
	if (o->phase == PHASE_STARTING || o->phase == PHASE_RUNNING)
		flow_input(r, op, INPUT_KILL, CAUSE_OVER);
	else
		flow_input(r, op, INPUT_SKIP, (enum op_cause)o->cause);
}

static bool service_is_up(const struct live_run *r, uint32_t op)
{
	return r->ops[op].served && !op_phase_ended(r->ops[op].phase);
}

void services_stop(struct live_run *r, enum op_input input, enum op_cause cause)
{
	for (uint32_t op = 0; r->services > 0 && op < r->plan->n_ops; op++) {
		bool always = r->plan->messages[r->plan->ops[op].message].m.always;
		if (service_is_up(r, op) && (!always || r->now))
			flow_input(r, op, input, cause);
	}
}

bool services_end(struct live_run *r)
{
	if (r->services == 0 || r->services_told)
		return r->services > 0;
	r->services_told = true;
	for (uint32_t op = 0; op < r->plan->n_ops; op++)
		if (service_is_up(r, op))
			service_end(r, op);
	return true;
}

/* One that was ready and is between two tries: its message, which opens its ops, may be past. */
static void service_recover_wait(struct live_run *r, uint32_t op)
{
	struct live_op *o = &r->ops[op];
	o->opened = 1;
	if (o->waits == 0)
		flow_input(r, op, INPUT_MET, CAUSE_NONE);
}

void services_recover(struct live_run *r)
{
	for (uint32_t op = 0; op < r->plan->n_ops; op++) {
		struct live_op *o = &r->ops[op];
		if (!r->plan->ops[op].background)
			continue;
		if (op_state_ended((enum op_state)o->shown) && o->phase != PHASE_SUCCEEDED)
			flow_tell_dependants(r, op);
		else if (o->phase == PHASE_RUNNING)
			service_started(r, op);
		else if (o->phase == PHASE_STOPPING && o->served)
			sched_aside(r, op);
		else if (o->phase == PHASE_STOPPING && o->stop_cause == CAUSE_OVER)
			flow_serve(r, op); /* all that is known of it is the note */
		else if (o->phase == PHASE_WAITING && o->served)
			service_recover_wait(r, op);
	}
}
