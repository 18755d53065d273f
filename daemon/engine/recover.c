/*
 * After a start: runs as the store has them, attempts as the executor has them, and the two brought
 * together. What was claimed and is unknown to the executor never started when the machine has not
 * been restarted since (the spawner's table outlives batchd and spawner alike), unless it is stored
 * that it runs; after a reboot it may have, and is interrupted.
 */
#include <signal.h>
#include <stdlib.h>

#include "common/paths.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"
#include "proto/errors.h"

#define CLOCK_SLACK_MS 2000 /* between two clocks that nobody has set */

static void no_answer(void *arg, uint64_t run, bool existing, const struct err *err)
{
	(void)arg;
	(void)run;
	(void)existing;
	(void)err;
}

static void recover_row(struct live_run *r, const struct run_row *row)
{
	free(r->project);
	free(r->list);
	r->project = row->project ? xstrdup(row->project) : NULL;
	r->list = xstrdup(row->list ? row->list : "default");
	r->origin = row->origin;
	r->parent = row->parent;
	r->parent_op = row->parent_op;
	r->created = row->created;
	r->started = row->started;
	r->cancelled = row->stopping & RUN_STOPPING_CANCEL;
	r->now = row->stopping & RUN_STOPPING_NOW;
	r->frozen = row->stopping & RUN_STOPPING_FROZEN;
	r->thawed = row->stopping & RUN_STOPPING_THAWED;
	r->paused = row->state == RUN_PAUSED && row->started;
	r->held = row->state == RUN_PAUSED && !row->started;
	r->state = row->state;
	memcpy(r->digest, row->digest, sizeof(r->digest));
	if (r->started)
		r->begun_mono_ms = time_mono_ms() - MAX2(time_wall_ms() - r->started, 0);
	r->done = no_answer;
}

static void recover_claims(struct live_run *r, struct slice claims)
{
	for (size_t i = 0; i + sizeof(uint32_t) <= claims.len; i += sizeof(uint32_t)) {
		uint32_t op;
		memcpy(&op, claims.p + i, sizeof(op));
		if (op == 0 || op > r->plan->n_ops || op_phase_ended(r->ops[op - 1].phase))
			continue;
		claims_ask(r, op - 1);
		r->ops[op - 1].claim = CLAIM_DURABLE;
		r->ops[op - 1].recovered = 1;
	}
}

int engine_recover_run(struct engine *e, const struct engine_stored_run *s, struct err *err)
{
	struct plan *plan;
	char *bytes = xmalloc(s->batch.len + 1);
	memcpy(bytes, s->batch.p, s->batch.len);
	if (plan_make(slice_of(bytes, s->batch.len), &plan, err)) {
		free(bytes);
		return 1;
	}
	struct live_run *r = live_new(bytes, plan);
	if (!r) {
		plan_free(plan);
		free(bytes);
		return err_set(err, E_MEMORY, "no memory for its ops");
	}
	live_join(r, e, s->row.run);
	recover_row(r, &s->row);
	r->env_sum = s->env_sum;
	drive_prepare(r); /* without drive_check: items that are gone by now are no fault */
	r->settling = true;
	for (uint32_t i = 0; i < s->n_attempts; i++)
		flow_restore_try(r, &s->attempts[i]);
	for (uint32_t i = 0; i < s->n_ops; i++)
		flow_restore(r, &s->ops[i]);
	/* What follows from an end is done for those only whose own is not stored. */
	for (uint32_t i = 0; i < s->n_ops; i++)
		flow_restore_dependants(r, &s->ops[i]);
	for (uint32_t i = 0; i < plan->n_messages; i++)
		r->messages[i].begun = r->messages[i].left == 0 && r->messages[i].tried;
	recover_claims(r, s->claims);
	live_accept(r); /* for the runs that need it */
	r->settling = false;
	return 0;
}

/*
 * It was told to end: that, and what was asked of its run, may not be stored. Nobody was answered,
 * but what was begun is done.
 */
static void recover_note(struct live_run *r, uint32_t op, uint32_t note)
{
	struct live_op *o = &r->ops[op];
	enum op_cause cause = (enum op_cause)(note & STOP_CAUSE);
	if (cause != CAUSE_CANCEL && cause != CAUSE_TIMEOUT && cause != CAUSE_DEPENDENCY &&
	    cause != CAUSE_OVER)
		return;
	o->noted = !o->stop_cause;
	if (!o->stop_cause)
		o->stop_cause = (uint8_t)cause;
	r->noted = r->noted || (note & STOP_RUN && !r->cancelled);
	r->now = r->now || note & STOP_NOW;
}

/*
 * Was the wall clock set since that attempt began? What of its run is told by it (its own start,
 * that of its message) is so many milliseconds off. (Ones that began after that see no difference.)
 */
static void recover_jump(struct live_run *r, int64_t started_ms, int64_t age_ms)
{
	int64_t wall = time_wall_ms(), jump = wall - started_ms - age_ms;
	if (age_ms < 0 || llabs(jump) < CLOCK_SLACK_MS)
		return;
	r->jumped_ms = jump;
	if (r->started)
		r->begun_mono_ms = time_mono_ms() - MAX2(wall - jump - r->started, age_ms);
}

/* That it had begun may not be stored: it is told at once and written a moment later. */
static void recover_begun(struct live_run *r, int64_t started_ms, int64_t age_ms)
{
	if (r->state != RUN_QUEUED)
		return;
	r->state = r->told = RUN_RUNNING;
	r->started = started_ms ? started_ms : r->created;
	if (age_ms < 0)
		age_ms = MAX2(time_wall_ms() - r->started, 0);
	r->begun_mono_ms = time_mono_ms() - age_ms;
	turn_store_run_later(r);
}

static void recover_try(struct live_run *r, uint32_t op, int64_t started_ms, int64_t age_ms)
{
	struct attempt *a = r->ops[op].attempt = xcalloc(1, sizeof(*a));
	if (age_ms < 0)
		age_ms = started_ms ? MAX2(time_wall_ms() - started_ms, 0) : 0;
	*a = (struct attempt){ .run = r, .op = op, .begun_mono_ms = r->e->now_ms - age_ms };
	a->timer = (struct timer){ .kind = TIMER_OP, .owner = a };
}

bool engine_recover_attempt(struct engine *e, uint64_t token, int32_t pid, int64_t started_ms,
			    int64_t age_ms, uint32_t note)
{
	struct live_run *r = live_find(e, token_run(token));
	uint32_t op = token_op(token) - 1;
	if (!r || op >= r->plan->n_ops || op_phase_ended(r->ops[op].phase))
		return false;
	struct live_op *o = &r->ops[op];
	if (token_attempt(token) <= o->attempts && o->attempts > 0)
		return false; /* an earlier try whose end is stored */
	if (o->attempt) {     /* the try after it has begun: its end is only to be stored */
		sched_release(r, op);
		free(o->attempt);
		o->stop_cause = CAUSE_NONE; /* was that one's */
	}
	recover_note(r, op, note);
	claims_set_tries(r, op, (uint16_t)token_attempt(token));
	live_op_enter(o, PHASE_RUNNING);
	if (o->stop_cause)
		live_op_enter(o, PHASE_STOPPING);
	recover_begun(r, started_ms, age_ms);
	recover_jump(r, started_ms, age_ms);
	live_try_make(o)->pid = pid;
	o->try->started = started_ms;
	o->recovered = 0;
	o->opened = 1;
	r->messages[r->plan->ops[op].message].going = 1;
	recover_try(r, op, started_ms, age_ms);
	sched_adopt(r, op);
	/* Stored, and perhaps not done. */
	if (r->thawed)
		e->ports.signal(e->ports.arg, token, SIGCONT);
	else if (r->frozen && o->phase == PHASE_RUNNING)
		e->ports.signal(e->ports.arg, token, SIGSTOP);
	return true;
}

void engine_recover_stranger(struct engine *e, uint64_t run)
{
	e->next_run = MAX2(e->next_run, run + 1);
}

/* An adopted attempt's timeout counts on from its start. */
static void recover_timeouts(struct live_run *r)
{
	struct timers *t = &r->e->timers;
	struct batch_op spec;
	for (uint32_t op = 0; op < r->plan->n_ops; op++) {
		if (!r->ops[op].attempt)
			continue;
		plan_op_decode(r->plan, op, &spec);
		struct attempt *a = r->ops[op].attempt;
		if (spec.has_timeout && spec.timeout_ms > 0)
			timer_arm(t, &a->timer, a->begun_mono_ms + spec.timeout_ms);
	}
	const struct batch_head *h = &r->plan->head;
	if (r->started && h->has_timeout && h->timeout_ms > 0)
		timer_arm(t, &r->run_timer, r->begun_mono_ms + h->timeout_ms);
}

/*
 * A claimed op that the executor does not know never started (a command, where nothing else is
 * stored of it), or may have been done: edits and appends, which would not be the same done again,
 * and writes that know their own content.
 */
static bool op_lost(const struct live_run *r, uint32_t op, bool rebooted)
{
	struct batch_op spec;
	switch ((enum op_kind)r->plan->ops[op].kind) {
	case KIND_BASH:
	case KIND_EXEC:
		return rebooted || r->ops[op].kept;
	case KIND_WRITE:
		plan_op_decode(r->plan, op, &spec);
		return spec.append;
	case KIND_EDIT:
	case KIND_READ:
	case KIND_TODOS:
	case KIND_MAX:
		break;
	}
	return true;
}

/* Nobody else remembers file ops: what can be said of one. */
static void recover_lost_file(struct live_run *r, uint32_t op)
{
	_cleanup_buf_ struct buf path = BUF_INIT, b = BUF_INIT;
	struct batch_op spec;
	plan_op_decode(r->plan, op, &spec);
	if (spec.kind != KIND_WRITE && spec.kind != KIND_EDIT)
		return;
	path_normal(&path, slice_str(r->cwd), spec.cwd.p ? spec.cwd : slice_str("."));
	_cleanup_free_ char *cwd = buf_steal(&path);
	path_normal(&path, slice_str(cwd), spec.path);
	buf_adds(&b, "batchd ended while it may have been under way: look whether '");
	text_one_line(&b, buf_slice(&path), 200);
	buf_addf(&b, "' has its %s", spec.kind == KIND_EDIT ? "change" : "content");
	live_try_make(&r->ops[op])->error = buf_steal(&b);
}

static void recover_lose(struct live_run *r, uint32_t op)
{
	struct live_op *o = &r->ops[op];
	claims_set_tries(r, op, (uint16_t)(o->attempts + 1)); /* those before it are known */
	if (!o->kept)
		live_forget_try(o);
	recover_lost_file(r, op);
	live_op_enter(o, PHASE_RUNNING);
	sched_adopt(r, op);
	flow_input(r, op, INPUT_LOST, CAUSE_LOST);
}

static void recover_lost(struct live_run *r, bool rebooted)
{
	for (uint32_t op = 0; op < r->plan->n_ops; op++) {
		struct live_op *o = &r->ops[op];
		if (op_phase_ended(o->phase) || o->attempt || !o->recovered)
			continue;
		o->recovered = r->plan->ops[op].kind == KIND_WRITE; /* of commands all is known */
		if (op_lost(r, op, rebooted))
			recover_lose(r, op);
	}
}

/* Between two tries: what is left of the delay is waited for, as far as the wall clock tells. */
static void recover_delays(struct live_run *r)
{
	int64_t wall = time_wall_ms();
	struct batch_op spec;
	for (uint32_t op = 0; op < r->plan->n_ops; op++) {
		struct live_op *o = &r->ops[op];
		if (o->phase != PHASE_WAITING || o->attempts == 0 || o->stop_cause)
			continue;
		plan_op_decode(r->plan, op, &spec);
		int64_t left =
			MIN2(live_try(o)->ended + spec.retry_delay_ms - wall, spec.retry_delay_ms);
		if (left <= 0)
			continue;
		o->waits++; /* for that too: what ends it meanwhile finds it waiting */
		recover_try(r, op, 0, 0);
		timer_arm(&r->e->timers, &o->attempt->timer, time_mono_ms() + left);
	}
}

/* Ops that were told to end: those that run are told again, those that never began do not begin. */
static void recover_stops(struct live_run *r)
{
	for (uint32_t op = 0; op < r->plan->n_ops; op++) {
		struct live_op *o = &r->ops[op];
		if (!o->stop_cause || op_phase_ended(o->phase))
			continue;
		if (o->attempt)
			flow_tell_stop(r, op);
		else
			flow_input(r, op,
				   o->stop_cause == CAUSE_CANCEL ? INPUT_CANCEL : INPUT_TIMEOUT,
				   o->stop_cause);
	}
}

/* Runs that are cancelled by a note, or were submitted by what is: these come after it. */
static void recover_cancels(struct engine *e)
{
	struct live_run *r, *next;
	HASH_ITER(hh, e->runs, r, next)
	{
		const struct live_run *p = r->parent ? live_find(e, r->parent) : NULL;
		bool with_op = p && r->parent_op > 0 && r->parent_op <= p->plan->n_ops &&
			       p->ops[r->parent_op - 1].noted;
		r->noted = r->noted || with_op || (p && p->noted);
		if (r->noted)
			flow_note_cancel(r, r->now || (p && p->now));
	}
}

/* The move of its todo may have been lost with the batchd that started the op; done again it
 * changes nothing. */
static void recover_drives(struct live_run *r)
{
	for (uint32_t op = 0; op < r->plan->n_ops; op++)
		if (r->ops[op].attempt && r->ops[op].drive)
			drive_started(r, op);
}

void engine_recover_done(struct engine *e, bool rebooted)
{
	struct live_run *r, *next;
	recover_cancels(e);
	HASH_ITER(hh, e->runs, r, next)
	{
		recover_timeouts(r);
		recover_drives(r);
		r->settling = true;
		recover_lost(r, rebooted);
		recover_delays(r);
		recover_stops(r);
		services_recover(r);
		r->settling = false;
		claims_watch(r); /* which an earlier batchd had made */
		/* What has begun may have had forgotten what it needed once. */
		if (!r->started && accept_needs(r, NULL))
			r->failed = r->stopping = true;
		if (r->started || r->cancelled)
			flow_begin(r);
		else
			accept_begin(r);
	}
	engine_tick(e, time_mono_ms()); /* whose time is over starts nothing more */
}
