/*
 * How a run goes: messages one after another, stages and dependencies inside a message, and what an
 * op's end means for the rest. Settling is a queue, not recursion: a chain of a million skipped ops
 * takes no stack.
 */
#include <signal.h>
#include <stdlib.h>

#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"

static void flow_settle_pending(struct live_run *r);
static void message_next(struct live_run *r);

/* --- an op's input and its effect --- */

static void run_mark_running(struct live_run *r)
{
	if (r->state != RUN_QUEUED)
		return;
	r->state = RUN_RUNNING;
	r->started = time_wall_ms();
	r->begun_mono_ms = time_mono_ms();
	if (r->plan->head.has_timeout && r->plan->head.timeout_ms > 0)
		timer_arm(&r->e->timers, &r->run_timer, r->e->now_ms + r->plan->head.timeout_ms);
	const struct batch_message *m = &r->plan->messages[r->message].m;
	if (m->has_timeout && m->timeout_ms > 0)
		timer_arm(&r->e->timers, &r->message_timer, r->e->now_ms + m->timeout_ms);
	turn_store_run_later(r); /* recovery sees from its ops that it had begun */
	if (r->n_telling) {
		turn_tell_run(r);
		return;
	}
	r->told = r->state;
	turn_emit_run(r);
}

static void settled_push(struct live_run *r, uint32_t op)
{
	const struct live_op *o = &r->ops[op];
	struct op_queue *q = o->attempts > 0 || o->reused ? &r->settled : &r->swept;
	if (q->n == q->cap) {
		q->cap = q->cap ? q->cap * 2 : 16;
		q->ops = xrealloc(q->ops, q->cap, sizeof(q->ops[0]));
	}
	q->ops[q->n++] = op;
}

static void attempt_drop(struct live_run *r, struct live_op *o)
{
	if (!o->attempt)
		return;
	timer_disarm(&r->e->timers, &o->attempt->timer);
	timer_disarm(&r->e->timers, &o->attempt->ready_timer);
	free(o->attempt);
	o->attempt = NULL;
}

static void effect_end(struct live_run *r, uint32_t op, enum op_cause cause)
{
	struct live_op *o = &r->ops[op];
	if (o->phase == PHASE_SKIPPED && o->attempts > 0) {
		o->phase = PHASE_FAILED; /* tried, failed, and not tried again: what the last try
					    said stands */
		cause = (enum op_cause)o->cause;
	}
	if (cause == CAUSE_OVER) /* its next try had not begun */
		cause = CAUSE_DEPENDENCY;
	o->cause = o->phase == PHASE_SUCCEEDED && !o->reused ? CAUSE_NONE : cause;
	bool between = !o->stop_cause; /* no try was under way: what it knows is an earlier one's */
	if (cause == CAUSE_TIMEOUT || (cause == CAUSE_CANCEL && between))
		live_no_exit(o);
	if (o->phase == PHASE_INTERRUPTED)
		live_take_printed(r->e, o, token_make(r->id, op + 1, o->attempts));
	attempt_drop(r, o);
	settled_push(r, op);
}

static void effect_start(struct live_run *r, uint32_t op)
{
	run_mark_running(r);
	if (start_op(r, op) == 0) {
		successor_offer(r, op);
		return;
	}
	r->e->busy = true;
	timer_arm(&r->e->timers, &r->e->busy_timer, r->e->now_ms + 1000);
	flow_input(r, op, INPUT_BUSY, CAUSE_LIMIT);
}

/* Runs that the op has submitted end with it, or those of any of the run's ops (NO_OP). */
static void cancel_children(struct live_run *parent, uint32_t op)
{
	struct live_run *r, *next;
	HASH_ITER(hh, parent->e->runs, r, next)
	if (r->parent == parent->id && (op == NO_OP || r->parent_op == op + 1) && r->accepted &&
	    !r->end_sent && !(r->cancelled && (r->now || !parent->now)))
		flow_cancel_run(r, parent->now);
}

void flow_tell_stop(struct live_run *r, uint32_t op)
{
	const struct live_op *o = &r->ops[op];
	struct engine *e = r->e;
	uint32_t note = o->stop_cause | (r->cancelled ? STOP_RUN : 0) | (r->now ? STOP_NOW : 0);
	e->ports.stop(e->ports.arg, token_make(r->id, op + 1, o->attempts), note,
		      e->config.grace_ms);
}

static void effect_stop(struct live_run *r, uint32_t op, enum op_cause cause)
{
	struct live_op *o = &r->ops[op];
	struct engine *e = r->e;
	if (o->stop_cause == CAUSE_NONE) {
		o->stop_cause = cause;
		/* It may end while batchd is away. */
		turn_store_going(r, op, (enum op_cause)r->ops[op].stop_cause);
		turn_hurry(r->e);
		cancel_children(r, op);
	}
	timer_disarm(&e->timers, &o->attempt->timer);
	service_unwatch(r, op);
	uint8_t kind = r->plan->ops[op].kind;
	if (kind == KIND_BASH || kind == KIND_EXEC)
		flow_tell_stop(r, op);
	else
		e->ports.cancel_file(e->ports.arg, token_make(r->id, op + 1, o->attempts));
}

static void effect_backoff(struct live_run *r, uint32_t op)
{
	struct batch_op spec;
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct op_row row;
	plan_op_decode(r->plan, op, &spec);
	live_fill_op(r, op, &text, &row);
	row.state = OP_FAILED;
	txn_attempt(turn_txn(r->e), &row);
	r->ops[op].stop_cause = CAUSE_NONE;
	timer_arm(&r->e->timers, &r->ops[op].attempt->timer, r->e->now_ms + spec.retry_delay_ms);
}

static void flow_effect(struct live_run *r, uint32_t op, struct op_step step, enum op_input input,
			enum op_cause cause)
{
	struct live_op *o = &r->ops[op];
	switch (step.effect) {
	case DO_NOTHING:
		break;
	case DO_QUEUE:
		if (input == INPUT_BUSY) {
			claims_set_tries(r, op, (uint16_t)(o->attempts - 1));
			timer_disarm(&r->e->timers, &o->attempt->timer);
			sched_push_front(r, op);
		} else {
			sched_push(r, op);
		}
		break;
	case DO_UNQUEUE:
		sched_remove(r, op);
		effect_end(r, op, cause);
		break;
	case DO_START:
		effect_start(r, op);
		break;
	case DO_BACKOFF:
		o->cause = cause;
		effect_backoff(r, op);
		break;
	case DO_STOP:
		effect_stop(r, op, cause);
		break;
	case DO_END:
		effect_end(r, op, cause);
		break;
	}
}

void flow_input(struct live_run *r, uint32_t op, enum op_input input, enum op_cause cause)
{
	struct live_op *o = &r->ops[op];
	struct op_step step = opfsm_step(o->phase, input);
	if (!step.legal || successor_takes(r, op, input, cause))
		return;
	bool was_busy = op_busy(o);
	live_op_enter(o, step.next);
	if (was_busy && !op_busy(o)) {
		service_unwatch(r, op);
		sched_release(r, op);
	}
	flow_effect(r, op, step, input, cause);
	if (step.next == PHASE_RUNNING)
		drive_started(r, op);
	if (step.next == PHASE_RUNNING || step.next == PHASE_BACKOFF)
		turn_emit_op(r, op);
	if (step.next == PHASE_RUNNING)
		service_started(r, op);
	flow_settle_pending(r);
}

void flow_busy(struct live_run *r, uint32_t op)
{
	enum op_cause stop = (enum op_cause)r->ops[op].stop_cause;
	flow_input(r, op, INPUT_BUSY, stop != CAUSE_NONE ? stop : CAUSE_LIMIT);
}

/* --- opening: message, stage, serial turn --- */

void flow_consider(struct live_run *r, uint32_t op)
{
	struct live_op *o = &r->ops[op];
	if (o->opened && o->waits == 0 && o->phase == PHASE_WAITING)
		flow_input(r, op, INPUT_MET, CAUSE_NONE);
}

void flow_delay_over(struct live_run *r, uint32_t op)
{
	r->ops[op].waits--;
	flow_consider(r, op);
}

static void stage_open(struct live_run *r, const struct plan_message *pm, uint8_t stage)
{
	if (r->messages[pm->index].stage_left[stage] == 0)
		return; /* none, or none that has not ended */
	for (uint32_t op = pm->first; op < pm->first + pm->count; op++) {
		if (live_stage(&r->plan->ops[op]) != stage)
			continue;
		r->ops[op].opened = 1;
		flow_consider(r, op);
	}
}

/* todos, then file ops, then all others: a stage opens when those before it have ended. */
static void stages_advance(struct live_run *r, const struct plan_message *pm,
			   struct live_message *m)
{
	while (m->stage < STAGE_REST && m->stage_left[m->stage] == 0)
		stage_open(r, pm, ++m->stage);
}

/* Opens the first op of a serial message that has not ended; what comes after a failed one is
 * skipped instead. */
static void serial_advance(struct live_run *r, const struct plan_message *pm,
			   struct live_message *m)
{
	while (m->serial_next < pm->count) {
		uint32_t op = pm->first + m->serial_next;
		struct live_op *o = &r->ops[op];
		if (op_phase_ended(o->phase) || o->served) {
			m->serial_next++;
			continue;
		}
		if (m->serial_end && m->serial_next >= m->serial_end &&
		    pm->m.on_failure != FAIL_CONTINUE) {
			flow_input(r, op, INPUT_SKIP, CAUSE_DEPENDENCY);
			m->serial_next++;
			continue;
		}
		if (!o->opened) {
			o->opened = 1;
			flow_consider(r, op);
		}
		return;
	}
}

static void message_advance(struct live_run *r)
{
	const struct plan_message *pm = &r->plan->messages[r->message];
	struct live_message *m = &r->messages[r->message];
	if (pm->m.order == ORDER_PARALLEL)
		stages_advance(r, pm, m);
	else
		serial_advance(r, pm, m);
}

/* How long ago it began: after a restart of batchd its first op may have started before. */
static int64_t message_gone_ms(const struct live_run *r, const struct plan_message *pm)
{
	int64_t now = time_wall_ms() - r->jumped_ms, first = now;
	for (uint32_t op = pm->first; op < pm->first + pm->count; op++)
		if (live_try(&r->ops[op])->started)
			first = MIN2(first, live_try(&r->ops[op])->started);
	return now - first;
}

static void message_kill(struct live_run *r, struct live_message *m)
{
	m->killed = 1;
	flow_stop_message(r, INPUT_KILL, CAUSE_DEPENDENCY);
}

static bool message_to_kill(const struct live_run *r, const struct live_message *m)
{
	return m->failed && !m->killed && r->plan->messages[r->message].m.on_failure == FAIL_KILL;
}

/* `halt`: enough of its ops have ended so. What has not started is skipped; `now`: what runs is
 * ended as well. */
static bool message_to_halt(const struct live_run *r, const struct live_message *m)
{
	const struct batch_halt *h = &r->plan->messages[r->message].halt;
	uint32_t n = (h->count != HALT_SUCCESS ? m->n_failed : 0) +
		     (h->count != HALT_FAIL ? m->n_succeeded : 0);
	return h->limit && !m->halted && n >= h->limit;
}

static void message_halt(struct live_run *r, struct live_message *m)
{
	bool now = r->plan->messages[r->message].halt.now;
	m->halted = true;
	flow_stop_message(r, now ? INPUT_KILL : INPUT_SKIP, CAUSE_DEPENDENCY);
}

static void message_open(struct live_run *r)
{
	const struct plan_message *pm = &r->plan->messages[r->message];
	struct live_message *m = &r->messages[r->message];
	m->begun = 1;
	m->state = OP_RUNNING;
	if (message_to_kill(r, m)) { /* it was being killed when an earlier batchd ended */
		message_kill(r, m);
		return;
	}
	if (message_to_halt(r, m)) {
		message_halt(r, m);
		return;
	}
	if (pm->m.has_timeout && pm->m.timeout_ms > 0 && r->started)
		timer_arm(&r->e->timers, &r->message_timer,
			  r->e->now_ms + MAX2(pm->m.timeout_ms - message_gone_ms(r, pm), 0));
	if (pm->m.order == ORDER_PARALLEL)
		stage_open(r, pm, STAGE_TODOS);
	message_advance(r);
}

static void message_skip(struct live_run *r)
{
	if (r->cancelled)
		flow_stop_message(r, INPUT_CANCEL, CAUSE_CANCEL);
	else if (r->timed_out)
		flow_stop_message(r, INPUT_TIMEOUT, CAUSE_TIMEOUT);
	else
		flow_stop_message(r, INPUT_SKIP, CAUSE_DEPENDENCY);
}

bool flow_message_wanted(const struct live_run *r, uint32_t message)
{
	if (!r->stopping && !r->cancelled && !r->timed_out)
		return true;
	return r->plan->messages[message].m.always && !r->now;
}

/* How a message has come out that is past; while a service of it runs it goes on, for others. */
static void message_outcome(struct live_run *r, uint32_t message)
{
	struct live_message *m = &r->messages[message];
	bool bad = m->failed || m->interrupted || (m->late && m->begun);
	if (m->services > 0)
		m->state = OP_RUNNING;
	else if (m->cancelled)
		m->state = OP_CANCELLED;
	else if (m->interrupted)
		m->state = OP_INTERRUPTED;
	else if (bad)
		m->state = OP_FAILED;
	else if (m->begun || !m->skipped) /* or all of it was taken over */
		m->state = OP_SUCCEEDED;
	else
		m->state = r->cancelled ? OP_CANCELLED : OP_SKIPPED;
	if (bad && r->plan->messages[message].m.on_failure != FAIL_CONTINUE)
		r->stopping = true;
}

static void message_close(struct live_run *r)
{
	timer_disarm(&r->e->timers, &r->message_timer);
	message_outcome(r, r->message++);
}

/* It ran before a restart, and what ends the run here is a service that has failed since: what has
 * begun goes on to its end. */
static bool message_going(const struct live_run *r, const struct live_message *m)
{
	return (m->going || m->tried) && r->stopping && !r->cancelled && !r->timed_out;
}

/* The current message if it still has something to do, else on to the next; past the last one the
 * run ends. */
static void message_next(struct live_run *r)
{
	while (r->begun && r->message < r->plan->n_messages) {
		struct live_message *m = &r->messages[r->message];
		if (m->left == 0) {
			message_close(r);
			continue;
		}
		if (!m->begun && !message_going(r, m) && !flow_message_wanted(r, r->message)) {
			message_skip(r);
			return; /* comes back here once they are settled */
		}
		if (m->begun)
			message_advance(r);
		else
			message_open(r);
		return;
	}
	if (r->begun && !r->end_sent && !services_end(r))
		outcome_finish_run(r);
}

void flow_begin(struct live_run *r)
{
	r->begun = true;
	r->settling = true;
	message_next(r);
	r->settling = false;
	flow_settle_pending(r);
}

void flow_reuse(struct live_run *r, uint32_t op)
{
	if (op_phase_ended(r->ops[op].phase))
		return;
	live_op_enter(&r->ops[op], PHASE_SUCCEEDED);
	r->ops[op].cause = CAUSE_REUSED;
	settled_push(r, op);
}

/* --- settling --- */

static bool dep_is_any(const struct live_run *r, uint32_t op, uint32_t on)
{
	const struct plan_op *po = &r->plan->ops[op];
	bool any = false;
	for (uint32_t k = po->dep; k < po->dep + po->ndeps; k++)
		if (r->plan->deps[k].op == on)
			any = r->plan->deps[k].any;
	return any;
}

void flow_tell_dependants(struct live_run *r, uint32_t op)
{
	bool good = r->ops[op].phase == PHASE_SUCCEEDED || r->ops[op].served;
	for (uint32_t i = r->rdep_first[op]; i < r->rdep_first[op + 1]; i++) {
		uint32_t d = r->rdeps[i];
		r->ops[d].waits--;
		if (!good && !dep_is_any(r, d, op))
			flow_input(r, d, INPUT_SKIP, CAUSE_DEPENDENCY);
		else
			flow_consider(r, d);
	}
}

/* A service that was ready has ended: what needs it and has not begun never will, if it failed. */
static void tell_served(struct live_run *r, uint32_t op)
{
	if (r->ops[op].phase == PHASE_SUCCEEDED)
		return;
	for (uint32_t i = r->rdep_first[op]; i < r->rdep_first[op + 1]; i++) {
		uint32_t d = r->rdeps[i];
		uint8_t phase = r->ops[d].phase;
		if ((phase == PHASE_WAITING || phase == PHASE_READY) && !dep_is_any(r, d, op))
			flow_input(r, d, INPUT_SKIP, CAUSE_DEPENDENCY);
	}
}

/* Whether the end of this op fails its message: optional ones do not. */
static bool op_spoils(const struct live_run *r, uint32_t op)
{
	const struct live_op *o = &r->ops[op];
	if (r->plan->ops[op].optional)
		return false;
	return o->phase == PHASE_FAILED ||
	       (o->phase == PHASE_CANCELLED && o->cause == CAUSE_CANCEL);
}

/* An op that is cancelled before its turn has come ends what comes after it, not what comes before.
 */
static void serial_ends(struct live_run *r, struct live_message *m, uint32_t op)
{
	uint32_t end = op - r->plan->messages[r->plan->ops[op].message].first + 1;
	m->serial_end = m->serial_end ? MIN2(m->serial_end, end) : end;
}

void flow_count_end(struct live_run *r, uint32_t op)
{
	const struct live_op *o = &r->ops[op];
	const struct plan_op *po = &r->plan->ops[op];
	struct live_message *m = &r->messages[po->message];
	if (!o->served) {
		m->left--;
		m->stage_left[live_stage(po)]--;
	}
	bool spoils = op_spoils(r, op), interrupted = o->phase == PHASE_INTERRUPTED;
	/* Or ended for one that failed; after a crash that one may not fail again. */
	bool late = (o->phase == PHASE_SKIPPED && o->cause == CAUSE_TIMEOUT) ||
		    (o->phase == PHASE_CANCELLED && o->cause == CAUSE_DEPENDENCY);
	m->failed = m->failed || spoils;
	m->n_failed += o->phase == PHASE_FAILED;
	m->n_succeeded += o->phase == PHASE_SUCCEEDED;
	m->interrupted = m->interrupted || interrupted;
	m->cancelled = m->cancelled || (r->cancelled && o->phase == PHASE_CANCELLED);
	m->skipped = m->skipped || o->phase == PHASE_SKIPPED;
	m->tried = m->tried || o->attempts > 0;
	m->late = m->late || late;
	r->failed = r->failed || spoils || late;
	r->interrupted = r->interrupted || interrupted;
	if (spoils || (interrupted && !po->optional))
		serial_ends(r, m, op);
	outcome_count(&r->summary, r, op, 1);
}

/* A service that was ready; its message may be past by now. */
static void served_ended(struct live_run *r, uint32_t op)
{
	uint32_t message = r->plan->ops[op].message;
	r->services--;
	r->messages[message].services--;
	if (message < r->message)
		message_outcome(r, message);
	tell_served(r, op);
}

static void settle_one(struct live_run *r, uint32_t op)
{
	const struct plan_op *po = &r->plan->ops[op];
	struct live_message *m = &r->messages[po->message];
	flow_count_end(r, op);
	drive_settled(r, op);
	turn_store_op(r, op);
	claims_drop(r, op);
	if (r->ops[op].served)
		served_ended(r, op);
	else
		flow_tell_dependants(r, op);
	if (po->message == r->message && message_to_kill(r, m))
		message_kill(r, m);
	else if (po->message == r->message && message_to_halt(r, m))
		message_halt(r, m);
}

/* At most so many; how many they were. */
static uint32_t settle_queue(struct live_run *r, struct op_queue *q, uint32_t most)
{
	uint32_t n = 0;
	for (; n < most && q->next < q->n; n++)
		settle_one(r, q->ops[q->next++]);
	if (q->next == q->n)
		q->n = q->next = 0;
	return n;
}

/*
 * Ops that were started are acknowledged in this turn, so that what they came to must be stored in
 * it as well. Of the others SWEEP_AT_ONCE have their turn, then those of other runs.
 */
static void flow_settle_pending(struct live_run *r)
{
	enum { SWEEP_AT_ONCE = 500 };
	struct engine *e = r->e;
	uint32_t most = MIN2(SWEEP_AT_ONCE, e->sweep_left), n = 0;
	if (r->settling)
		return;
	r->settling = true;
	while (r->settled.n > 0 || (r->swept.n > 0 && n < most)) {
		settle_queue(r, &r->settled, UINT32_MAX);
		n += settle_queue(r, &r->swept, most - n);
		if (r->settled.n == 0 && r->swept.n == 0)
			message_next(r);
	}
	r->settling = false;
	e->sweep_left -= MIN2(n, e->sweep_left);
	if (r->swept.n > 0 && list_empty(&r->sweep))
		list_add_tail(&e->sweeping, &r->sweep);
}

/* While a transaction is on its way the next is filled, so that the store goes from one to the
 * next; none of them is longer than SWEEP_PER_TURN. */
void flow_sweep(struct engine *e)
{
	while (!list_empty(&e->sweeping) && e->sweep_left > 0) {
		struct live_run *r = list_entry(e->sweeping.next, struct live_run, sweep);
		list_del(&r->sweep);
		flow_settle_pending(r);
	}
}

/* --- stopping --- */

void flow_stop_message(struct live_run *r, enum op_input input, enum op_cause cause)
{
	if (r->message >= r->plan->n_messages)
		return;
	const struct plan_message *pm = &r->plan->messages[r->message];
	bool outer = r->settling;
	r->settling = true; /* all of them first: what follows must not become ready in between */
	while (r->n_ready > 0)
		flow_input(r, r->ready_head, input, cause);
	for (uint32_t op = pm->first; op < pm->first + pm->count; op++)
		if (!r->ops[op].served) /* services_stop */
			flow_input(r, op, input, cause);
	r->settling = outer;
	flow_settle_pending(r);
}

void flow_signal_run(struct live_run *r, int signal)
{
	for (uint32_t op = 0; op < r->plan->n_ops; op++)
		if (op_busy(&r->ops[op]))
			r->e->ports.signal(r->e->ports.arg,
					   token_make(r->id, op + 1, r->ops[op].attempts), signal);
}

void flow_thaw(struct live_run *r)
{
	if (!r->frozen)
		return;
	flow_signal_run(r, SIGCONT);
	r->frozen = false;
	r->thawed = true;
}

void flow_note_cancel(struct live_run *r, bool now)
{
	r->cancelled = true;
	r->now = r->now || now;
	r->paused = r->held = false;
	flow_thaw(r); /* what cleans up is to run */
	bool was_paused = r->state == RUN_PAUSED;
	if (was_paused)
		r->state = r->started ? RUN_RUNNING : RUN_QUEUED;
	turn_store_run(r);
	if (was_paused)
		turn_tell_run(r);
	sched_update(r);
	timer_disarm(&r->e->timers, &r->begin_timer);
}

void flow_cancel_run(struct live_run *r, bool now)
{
	bool always = r->message < r->plan->n_messages && r->plan->messages[r->message].m.always;
	bool begun = r->message < r->plan->n_messages && r->messages[r->message].begun;
	flow_note_cancel(r, now);
	cancel_children(r, NO_OP);
	services_stop(r, INPUT_CANCEL, CAUSE_CANCEL);
	if (!begun) {
		flow_begin(r);
		return;
	}
	if (!always || r->now)
		flow_stop_message(r, INPUT_CANCEL, CAUSE_CANCEL);
}

/* Whether it fails what it ends follows from what ops come to, as after a restart. */
void flow_message_timeout(struct live_run *r)
{
	r->messages[r->message].timed_out = 1;
	flow_stop_message(r, INPUT_TIMEOUT, CAUSE_TIMEOUT);
}

void flow_run_timeout(struct live_run *r)
{
	r->timed_out = true;
	if (r->message < r->plan->n_messages && !r->plan->messages[r->message].m.always)
		flow_stop_message(r, INPUT_TIMEOUT, CAUSE_TIMEOUT);
	services_stop(r, INPUT_TIMEOUT, CAUSE_TIMEOUT);
}

/* --- services --- */

void flow_serve(struct live_run *r, uint32_t op)
{
	bool outer = r->settling;
	if (r->ops[op].served)
		return;
	r->settling = true;
	service_count(r, op);
	turn_store_going(r, op, CAUSE_NONE);
	sched_aside(r, op);
	flow_tell_dependants(r, op);
	if (!outer && r->settled.n == 0 && r->swept.n == 0)
		message_next(r);
	r->settling = outer;
	flow_settle_pending(r);
}
