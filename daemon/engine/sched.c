/*
 * Who starts next. A pool has slots; runs with ready ops stand in its heap, higher priority first
 * and equal ones in turn, so that a short run never waits behind a long one. Within a run ops start
 * by rank (history.c), and equal ones in the order they became ready. A decision is O(log runs).
 */
#include "common/xalloc.h"
#include "daemon/engine/live.h"

/* File and todo ops of a run that are under way at once: each holds some 2 KiB meanwhile, and more
 * of them would not be done sooner. */
#define OWN_AT_ONCE 4096

/* --- the pool's heap of runs --- */

static bool run_before(const struct live_run *a, const struct live_run *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	return a->turn < b->turn;
}

static void pool_put(struct pool *p, size_t pos, struct live_run *r)
{
	p->heap[pos] = r;
	r->pool_pos = pos;
}

static void pool_sift(struct pool *p, size_t pos)
{
	struct live_run *r = p->heap[pos];
	for (; pos > 1 && run_before(r, p->heap[pos / 2]); pos /= 2)
		pool_put(p, pos, p->heap[pos / 2]);
	for (size_t child; (child = pos * 2) <= p->len; pos = child) {
		if (child < p->len && run_before(p->heap[child + 1], p->heap[child]))
			child++;
		if (!run_before(p->heap[child], r))
			break;
		pool_put(p, pos, p->heap[child]);
	}
	pool_put(p, pos, r);
}

static void pool_insert(struct pool *p, struct live_run *r)
{
	if (p->len + 2 > p->cap) {
		p->cap = p->cap ? p->cap * 2 : 16;
		p->heap = xrealloc(p->heap, p->cap, sizeof(p->heap[0]));
	}
	p->heap[++p->len] = r;
	pool_sift(p, p->len);
}

static void pool_remove(struct pool *p, struct live_run *r)
{
	size_t pos = r->pool_pos;
	struct live_run *last = p->heap[p->len--];
	r->pool_pos = 0;
	if (last == r)
		return;
	pool_put(p, pos, last);
	pool_sift(p, pos);
}

/* --- a run's ready queue --- */

static unsigned ready_rank(const struct live_run *r, uint32_t op)
{
	return r->history ? r->history->rank[op] : 0;
}

/* The last one of the lowest rank from `rank` up; NO_OP: there is none. */
static uint32_t ready_last(const struct live_run *r, unsigned rank)
{
	for (; rank < RANKS; rank++)
		if (r->ready_ranks & 1u << rank)
			return r->ready_tail[rank];
	return NO_OP;
}

static void ready_insert(struct live_run *r, uint32_t before, uint32_t op)
{
	uint32_t *at = before == NO_OP ? &r->ready_head : &r->ops[before].next;
	uint32_t next = r->n_ready++ ? *at : NO_OP;
	if (next != NO_OP)
		r->ops[next].before = op;
	r->ops[op].before = before;
	r->ops[op].next = next;
	*at = op;
	sched_update(r);
}

void sched_push(struct live_run *r, uint32_t op)
{
	unsigned rank = ready_rank(r, op);
	uint32_t before = ready_last(r, rank);
	r->ready_tail[rank] = op;
	r->ready_ranks |= 1u << rank;
	ready_insert(r, before, op);
}

void sched_push_front(struct live_run *r, uint32_t op)
{
	unsigned rank = ready_rank(r, op);
	if (!(r->ready_ranks & 1u << rank))
		r->ready_tail[rank] = op;
	r->ready_ranks |= 1u << rank;
	ready_insert(r, ready_last(r, rank + 1), op);
}

static void ready_unlink(struct live_run *r, uint32_t op)
{
	uint32_t next = r->ops[op].next, before = r->ops[op].before;
	unsigned rank = ready_rank(r, op);
	if (before == NO_OP)
		r->ready_head = next;
	else
		r->ops[before].next = next;
	if (next != NO_OP)
		r->ops[next].before = before;
	if (r->ready_tail[rank] == op && before != NO_OP && ready_rank(r, before) == rank)
		r->ready_tail[rank] = before;
	else if (r->ready_tail[rank] == op)
		r->ready_ranks &= ~(1u << rank);
	r->ops[op].next = NO_OP;
	r->n_ready--;
}

void sched_remove(struct live_run *r, uint32_t op)
{
	ready_unlink(r, op);
	sched_update(r);
}

/* --- what may start --- */

static bool is_command(const struct live_run *r, uint32_t op)
{
	uint8_t kind = r->plan->ops[op].kind;
	return kind == KIND_BASH || kind == KIND_EXEC;
}

uint32_t sched_weight(const struct live_run *r, uint32_t op)
{
	if (!is_command(r, op))
		return 0;
	return MIN2((uint32_t)r->plan->ops[op].weight, MIN2(r->pool->slots, r->jobs));
}

static bool run_may_start(const struct live_run *r)
{
	if (r->n_ready == 0 || r->paused || !r->accepted || r->exclusive_running || r->returning ||
	    r->spaced)
		return false;
	uint32_t op = r->ready_head;
	if (r->plan->ops[op].exclusive && r->running > 0)
		return false;
	if (!is_command(r, op) && r->running_own >= OWN_AT_ONCE)
		return false;
	return r->running_weight + sched_weight(r, op) <= r->jobs;
}

/* Its first op has its turn and its slots, and only what must be durable is not yet: the run stands
 * aside with them, so that nobody of lower rank takes them meanwhile. */
static void sched_hold(struct live_run *r, uint32_t weight)
{
	pool_remove(r->pool, r);
	r->holds = true;
	r->held_slots = weight;
	r->pool->used += weight;
}

static void sched_unhold(struct live_run *r)
{
	r->holds = false;
	r->pool->used -= r->held_slots;
}

void sched_update(struct live_run *r)
{
	bool want = run_may_start(r), held = r->holds;
	if (held && want && r->ops[r->ready_head].claim != CLAIM_NONE &&
	    !claims_clear(r, r->ready_head))
		return;
	if (held)
		sched_unhold(r);
	if (want && !r->pool_pos) {
		r->turn = held ? r->turn : ++r->pool->turn;
		pool_insert(r->pool, r);
	} else if (!want && r->pool_pos) {
		pool_remove(r->pool, r);
	}
}

void sched_adopt(struct live_run *r, uint32_t op)
{
	uint32_t weight = sched_weight(r, op);
	r->ops[op].taken = (uint16_t)weight;
	r->running++;
	r->running_own += !is_command(r, op);
	r->running_weight += weight;
	r->exclusive_running = r->exclusive_running || r->plan->ops[op].exclusive;
	r->pool->used += weight;
	r->e->running++;
}

/* `spacing`: the next one starts that much later. */
static void sched_space(struct live_run *r, uint32_t op)
{
	const struct plan_message *pm = &r->plan->messages[r->plan->ops[op].message];
	if (pm->m.spacing_ms <= 0 || !is_command(r, op))
		return;
	r->spaced = true;
	timer_arm(&r->e->timers, &r->spacing_timer, r->e->now_ms + pm->m.spacing_ms);
}

void sched_spaced(struct live_run *r)
{
	r->spaced = false;
	sched_update(r);
}

static void sched_take(struct live_run *r, uint32_t op)
{
	sched_space(r, op);
	ready_unlink(r, op);
	sched_adopt(r, op);
	r->turn = ++r->pool->turn;
	if (r->pool_pos)
		pool_sift(r->pool, r->pool_pos);
	sched_update(r);
}

static void release_counts(struct live_run *r, uint32_t op)
{
	uint32_t weight = r->ops[op].lent ? 0 : r->ops[op].taken;
	r->ops[op].taken = 0;
	r->running--;
	r->running_own -= !is_command(r, op);
	r->running_weight -= weight;
	r->pool->used -= weight;
	r->e->running--;
}

void sched_aside(struct live_run *r, uint32_t op)
{
	if (r->ops[op].aside)
		return;
	release_counts(r, op);
	r->ops[op].aside = 1;
	sched_update(r);
}

void sched_release(struct live_run *r, uint32_t op)
{
	if (!r->ops[op].aside)
		release_counts(r, op);
	lend_op_ended(r, op);
	r->ops[op].lent = r->ops[op].aside = 0;
	if (r->plan->ops[op].exclusive)
		r->exclusive_running = false;
	sched_update(r);
}

/* Starts one op of the pool's best run, or sees to its claim; false when nothing can start now. */
static bool pool_start_one(struct pool *p)
{
	struct live_run *r = p->heap[1];
	uint32_t op = r->ready_head;
	uint32_t weight = sched_weight(r, op);
	if (p->used + weight > p->slots && p->used > 0)
		return false;
	if (!claims_clear(r, op)) {
		if (r->ops[op].claim != CLAIM_DURABLE)
			claims_stalled(r);
		turn_hurry(r->e);
		sched_hold(r, weight); /* it comes back when all is durable that must be */
		return true;
	}
	sched_take(r, op);
	flow_input(r, op, INPUT_SLOT, CAUSE_NONE);
	return true;
}

bool sched_is_next(const struct live_run *r)
{
	const struct pool *p = r->pool;
	if (p->paused || r->e->no_starts || r->e->busy || !list_empty(&p->back))
		return false;
	return p->len == 0 || p->heap[1]->priority < r->priority;
}

void sched_run(struct engine *e)
{
	struct pool *p, *next;
	if (e->scheduling)
		return;
	e->scheduling = true;
	HASH_ITER(hh, e->pools, p, next)
	{
		bool all_back = lend_give_back(p);
		while (all_back && !p->paused && !e->no_starts && !e->busy && p->len > 0 &&
		       pool_start_one(p))
			;
	}
	e->scheduling = false;
}
