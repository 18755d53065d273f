/*
 * Claims: before an op starts, the database says durably that it may have started, so that after a
 * power cut no started op is taken for a queued one. What is claimed is interrupted by it, so
 * little more is than can start: the first ops of a run with the run itself while their slots are
 * free (claims_room), later ones when their turn has come. To keep the commit out of the way
 * between a freed slot and the next start, a busy run claims ahead: its window doubles each time an
 * op had to wait for its claim. What was claimed and has not started is given back after a while.
 */
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/live.h"

#define WINDOW_MAX 256
#define WITHDRAW_MS 200

bool claims_needed(const struct live_run *r, uint32_t op)
{
	switch ((enum op_kind)r->plan->ops[op].kind) {
	case KIND_TODOS: /* commits together with its result */
	case KIND_READ:
		return false;
	case KIND_WRITE: /* one that looks at what is there must know whether that is its own */
		return r->plan->ops[op].looks;
	case KIND_BASH:
	case KIND_EXEC:
	case KIND_EDIT:
	case KIND_MAX:
		break;
	}
	return true;
}

/*
 * What a command does may stand on the files that were written before it, and to write one of them
 * again would undo its work: none starts before their results are durable. (The spawner remembers
 * commands over a crash; nobody remembers file ops.)
 */
bool claims_clear(const struct live_run *r, uint32_t op)
{
	if (!claims_needed(r, op))
		return true;
	return r->ops[op].claim == CLAIM_DURABLE && r->n_files_unstored == 0;
}

/* By so many more (or less) ops of the run are claimed and not started. */
static void claims_idle(struct live_run *r, int by)
{
	r->n_claimed_idle += (uint32_t)by;
	r->pool->n_claimed_idle += (uint32_t)by;
}

void claims_watch(struct live_run *r)
{
	if (r->n_claimed > 0 && !r->claims_timer.pos)
		timer_arm(&r->e->timers, &r->claims_timer, r->e->now_ms + WITHDRAW_MS);
}

uint32_t claims_room(const struct pool *p)
{
	return p->slots - MIN2(p->slots, p->used + p->n_claimed_idle);
}

void claims_mark_dirty(struct live_run *r)
{
	r->claims_dirty = true;
	if (list_empty(&r->dirty))
		list_add_tail(&r->e->dirty, &r->dirty);
}

void claims_ask(struct live_run *r, uint32_t op)
{
	struct live_op *o = &r->ops[op];
	if (o->claim != CLAIM_NONE || !claims_needed(r, op))
		return;
	if (r->n_claimed == r->cap_claimed) {
		r->cap_claimed = r->cap_claimed ? r->cap_claimed * 2 : 16;
		r->claimed = xrealloc(r->claimed, r->cap_claimed, sizeof(r->claimed[0]));
	}
	o->claim = CLAIM_ASKED;
	o->claim_pos = r->n_claimed;
	r->claimed[r->n_claimed++] = op;
	if (o->attempts == 0)
		claims_idle(r, 1);
	if (r->accepted) {
		turn_post(r->e, POST_CLAIM, r->id, op);
		claims_watch(r);
	}
	claims_mark_dirty(r);
}

/* The op is settled (its row says so from now on), or its claim is given back. */
void claims_drop(struct live_run *r, uint32_t op)
{
	struct live_op *o = &r->ops[op];
	if (o->claim == CLAIM_NONE)
		return;
	uint32_t last = r->claimed[--r->n_claimed];
	r->claimed[o->claim_pos] = last;
	r->ops[last].claim_pos = o->claim_pos;
	o->claim = CLAIM_NONE;
	if (o->attempts == 0)
		claims_idle(r, -1);
	claims_mark_dirty(r);
}

void claims_started(struct live_run *r)
{
	r->last_start_ms = r->e->now_ms;
	claims_watch(r);
}

void claims_set_tries(struct live_run *r, uint32_t op, uint16_t n)
{
	struct live_op *o = &r->ops[op];
	if (o->claim != CLAIM_NONE && (n == 0) != (o->attempts == 0))
		claims_idle(r, n == 0 ? 1 : -1);
	o->attempts = n;
}

void claims_durable(struct live_run *r, uint32_t op)
{
	struct live_op *o = &r->ops[op];
	if (o->claim != CLAIM_ASKED)
		return;
	o->claim = CLAIM_DURABLE;
	if (r->n_ready && r->ready_head == op)
		sched_update(r);
}

/* The first ops of the ready queue wait for a claim while slots are free: ask for as many as could
 * start, and look further ahead. */
void claims_stalled(struct live_run *r)
{
	uint32_t n = 0, want = MAX2(claims_room(r->pool), 1);
	for (uint32_t op = r->ready_head; op != NO_OP && n < want; op = r->ops[op].next, n++)
		claims_ask(r, op);
	if (r->e->now_ms - r->last_start_ms < WITHDRAW_MS)
		r->window = MIN2(WINDOW_MAX, MAX2(2, r->window * 2));
	claims_mark_dirty(r);
}

/* Ops of the current message that are likely next, in program order, up to the window; of all runs
 * of the pool together little more than one may have. */
static void claims_ahead(struct live_run *r)
{
	uint32_t others = r->pool->n_claimed_idle - r->n_claimed_idle;
	uint32_t all = WINDOW_MAX + r->pool->slots, want = MIN2(r->window, all - MIN2(all, others));
	for (uint32_t op = r->ready_head; op != NO_OP && r->n_claimed_idle < want;
	     op = r->ops[op].next)
		claims_ask(r, op);
	if (r->message >= r->plan->n_messages || r->n_claimed_idle >= want)
		return;
	const struct plan_message *m = &r->plan->messages[r->message];
	r->ahead = MAX2(r->ahead, m->first + r->messages[r->message].serial_next);
	for (; r->ahead < m->first + m->count && r->n_claimed_idle < want; r->ahead++)
		if (r->ops[r->ahead].phase == PHASE_WAITING)
			claims_ask(r, r->ahead);
}

/* No more is claimed ahead until an op has to wait; then from the beginning, since claims of ops
 * that wait are given back. */
static void claims_close_window(struct live_run *r)
{
	r->window = 0;
	r->ahead = 0;
}

void claims_flush(struct engine *e)
{
	if (e->committing)
		return; /* the set is written as it is when its turn comes */
	list_for_safe (&e->dirty, node) {
		struct live_run *r = list_entry(node, struct live_run, dirty);
		list_del(node);
		r->claims_dirty = false;
		if (!r->accepted || r->end_sent)
			continue;
		if (r->window)
			claims_ahead(r);
		struct claim_row row = { .run = r->id };
		_cleanup_free_ uint32_t *ops = xcalloc(r->n_claimed, sizeof(ops[0]));
		for (uint32_t i = 0; i < r->n_claimed; i++)
			ops[i] = r->claimed[i] + 1;
		row.ops = slice_of(ops, r->n_claimed * sizeof(ops[0]));
		txn_claim(turn_txn_later(e), &row);
		list_del(node);
	}
}

void claims_give_back(struct live_run *r)
{
	claims_close_window(r);
	successor_recall(r);
	for (uint32_t i = r->n_claimed; i-- > 0;)
		if (r->ops[r->claimed[i]].attempts == 0 && !r->ops[r->claimed[i]].recovered &&
		    !successor_is(r, r->claimed[i]))
			claims_drop(r, r->claimed[i]);
}

/*
 * What runs for longer than that is worth a commit: should it be lost with the machine, when it
 * began is known, and should the executor not know it, that it did.
 */
static void claims_keep_facts(struct live_run *r)
{
	int64_t before_ms = r->e->now_ms - WITHDRAW_MS;
	for (uint32_t i = 0; i < r->n_claimed; i++) {
		uint32_t op = r->claimed[i];
		const struct live_op *o = &r->ops[op];
		bool ready = o->served || !r->plan->ops[op].background;
		if (o->phase == PHASE_RUNNING && !o->kept && ready &&
		    o->attempt->begun_mono_ms <= before_ms)
			turn_store_going(r, op, CAUSE_NONE);
	}
}

/* What is claimed and has not started goes back unless ops of the run are being started. (A claim
 * that is on its way stays: its commit would be taken for that of a later one.) */
void claims_withdraw(struct live_run *r)
{
	claims_keep_facts(r);
	if (r->e->now_ms - r->last_start_ms < WITHDRAW_MS) {
		timer_arm(&r->e->timers, &r->claims_timer, r->last_start_ms + WITHDRAW_MS);
		return;
	}
	bool on_its_way = false;
	successor_recall(r);
	claims_close_window(r);
	for (uint32_t i = r->n_claimed; i-- > 0;) {
		uint32_t op = r->claimed[i];
		on_its_way = on_its_way || r->ops[op].claim == CLAIM_ASKED;
		if (r->ops[op].attempts == 0 && r->ops[op].claim == CLAIM_DURABLE &&
		    !r->ops[op].recovered && !successor_is(r, op))
			claims_drop(r, op);
	}
	if (on_its_way)
		claims_watch(r);
	sched_update(r);
}
