/*
 * What earlier batchds stored of the ops of a run, taken over as if it had happened here.
 */
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/live.h"

void flow_restore_try(struct live_run *r, const struct op_row *row)
{
	if (row->op == 0 || row->op > r->plan->n_ops)
		return;
	struct live_op *o = &r->ops[row->op - 1];
	bool untried = row->attempts == 0 && !row->error && !o->try;
	o->cause = (uint8_t)row->cause;
	if (untried) /* skipped or cancelled */
		return;
	struct live_try *t = live_try_make(o);
	if (row->attempts > o->attempts) /* else it was given up after this try, which is counted */
		t->spent_ms += MAX2(row->duration_ms, 0);
	t->exit = (int16_t)row->exit;
	o->signal = (uint8_t)row->signal;
	o->attempts = (uint16_t)row->attempts;
	t->pid = row->pid;
	t->started = row->started;
	t->ended = row->ended;
	t->duration_ms = row->duration_ms;
	t->stdout_bytes = row->stdout_bytes;
	t->stderr_bytes = row->stderr_bytes;
	t->dropped_bytes = row->dropped_bytes;
	t->lingering = (uint16_t)MIN2(row->lingering, (uint32_t)UINT16_MAX);
	free(t->error);
	t->error = row->error ? xstrdup(row->error) : NULL;
}

/* Of a try that is not known to have ended. */
static void restore_going(struct live_op *o, const struct op_row *row)
{
	o->stop_cause = (uint8_t)row->cause; /* told to end */
	if (!row->started)
		return;
	live_forget_try(o);
	live_try_make(o)->pid = row->pid;
	o->try->started = row->started;
	o->kept = 1;
}

void flow_restore(struct live_run *r, const struct op_row *row)
{
	static const uint8_t phases[OP_STATE_MAX] = {
		[OP_SUCCEEDED] = PHASE_SUCCEEDED,     [OP_FAILED] = PHASE_FAILED,
		[OP_SKIPPED] = PHASE_SKIPPED,	      [OP_CANCELLED] = PHASE_CANCELLED,
		[OP_INTERRUPTED] = PHASE_INTERRUPTED,
	};
	uint32_t op = row->op - 1;
	if (row->op == 0 || row->op > r->plan->n_ops)
		return;
	if (!op_state_ended(row->state)) {
		bool served = row->cause == CAUSE_NONE || row->cause == CAUSE_OVER;
		if (served && r->plan->ops[op].background)
			service_count(r, op);
		if (row->attempts > r->ops[op].attempts)
			restore_going(&r->ops[op], row);
		return;
	}
	r->ops[op].phase = phases[row->state];
	r->ops[op].shown = (uint8_t)row->state;
	flow_restore_try(r, row);
	flow_count_end(r, op);
	if (r->ops[op].drive) {
		struct drive *d = &r->drives[r->ops[op].drive - 1];
		d->left--;
		d->failed = d->failed || r->ops[op].phase != PHASE_SUCCEEDED;
	}
}

void flow_restore_dependants(struct live_run *r, const struct op_row *row)
{
	if (row->op == 0 || row->op > r->plan->n_ops)
		return;
	const struct live_op *o = &r->ops[row->op - 1];
	bool may_have_served = r->plan->ops[row->op - 1].background && o->phase != PHASE_SUCCEEDED;
	if (op_state_ended(row->state) ? !may_have_served : o->served)
		flow_tell_dependants(r, row->op - 1);
}
