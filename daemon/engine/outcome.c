/*
 * What came out: counts, the state of the run, and the times of its summary.
 */
#include <stdlib.h>

#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"

#define CLOCK_SET_MS 1000 /* by so much the two clocks differ only when one was set */

/* Time of an op, as far as something waits for its end. */
static int64_t op_spent_ms(const struct live_run *r, uint32_t op)
{
	return r->plan->ops[op].background ? 0 : live_try(&r->ops[op])->spent_ms;
}

void outcome_count(struct run_summary *s, const struct live_run *r, uint32_t op, int by)
{
	uint32_t *const counts[OP_STATE_MAX] = {
		[OP_SUCCEEDED] = &s->succeeded,	    [OP_FAILED] = &s->failed,
		[OP_SKIPPED] = &s->skipped,	    [OP_CANCELLED] = &s->cancelled,
		[OP_INTERRUPTED] = &s->interrupted,
	};
	*counts[live_op_state(&r->ops[op])] += (uint32_t)by;
	s->serial_ms += by * op_spent_ms(r, op);
}

/* When each op of the message could have ended at the earliest, given only its dependencies; the
 * latest of them. */
static int64_t message_critical_ms(const struct live_run *r, const struct plan_message *pm,
				   int64_t *finish)
{
	int64_t stage_ms[STAGE_MAX] = { 0 }, serial = 0;
	for (uint32_t op = pm->first; op < pm->first + pm->count; op++) {
		const struct plan_op *po = &r->plan->ops[op];
		int64_t own = op_spent_ms(r, op), from = 0;
		for (uint32_t d = po->dep; d < po->dep + po->ndeps; d++)
			if (r->plan->deps[d].op >= pm->first)
				from = MAX2(from, finish[r->plan->deps[d].op]);
		finish[op] = from + own;
		serial += own;
		int64_t *stage = &stage_ms[live_stage(po)];
		*stage = MAX2(*stage, finish[op]);
	}
	if (pm->m.order != ORDER_PARALLEL)
		return serial;
	return stage_ms[STAGE_TODOS] + stage_ms[STAGE_FILES] + stage_ms[STAGE_REST];
}

static int64_t run_critical_ms(const struct live_run *r)
{
	_cleanup_free_ int64_t *finish = xcalloc(r->plan->n_ops, sizeof(finish[0]));
	int64_t total = 0;
	for (uint32_t i = 0; i < r->plan->n_messages; i++)
		total += message_critical_ms(r, &r->plan->messages[i], finish);
	return total;
}

static enum run_state run_outcome(const struct live_run *r)
{
	if (r->cancelled)
		return RUN_CANCELLED;
	if (r->interrupted)
		return RUN_INTERRUPTED;
	return r->failed ? RUN_FAILED : RUN_SUCCEEDED;
}

/* As its times say, so that no two durations are shown of it; unless the wall clock was set
 * meanwhile. */
static int64_t run_wall_ms(const struct live_run *r)
{
	if (!r->begun_mono_ms)
		return 0;
	int64_t by_wall = r->ended - r->started, by_mono = time_mono_ms() - r->begun_mono_ms;
	return llabs(by_wall - by_mono) < CLOCK_SET_MS ? MAX2(by_wall, 0) : by_mono;
}

void outcome_finish_run(struct live_run *r)
{
	r->end_sent = true;
	r->ended = time_wall_ms();
	r->state = run_outcome(r);
	r->summary.wall_ms = run_wall_ms(r);
	r->summary.critical_ms = run_critical_ms(r);
	timer_disarm(&r->e->timers, &r->run_timer);
	timer_disarm(&r->e->timers, &r->claims_timer);
	turn_store_run(r);
	txn_claim(turn_txn(r->e), &(struct claim_row){ .run = r->id });
	turn_post(r->e, POST_GONE, r->id, 0);
	if (r->e->ports.run_ends)
		r->e->ports.run_ends(r->e->ports.arg, r->id, r->group);
}
