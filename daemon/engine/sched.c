/*
 * Who starts next. A pool has slots; runs with ready ops stand in its heap, higher priority first
 * and equal ones in turn, so that a short run never waits behind a long one. Within a run ops start
 * in the order they became ready. A decision is O(log runs).
 */
#include <stdlib.h>
#include <unistd.h>

#include "common/xalloc.h"
#include "daemon/engine/live.h"

#define DEFAULT_POOL "default"

static uint32_t default_slots(const struct engine *e)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	if (e->config.slots)
		return e->config.slots;
	return (uint32_t)MAX2(8, cores + 2);
}

static uint32_t pool_slots(const struct engine *e, const struct pool *p)
{
	const struct engine_config *c = &e->config;
	if (p->by_hand)
		return p->by_hand;
	if (strcmp(p->name, DEFAULT_POOL) == 0)
		return default_slots(e);
	for (size_t i = 0; i < c->n_pools; i++)
		if (strcmp(p->name, c->pools[i].name) == 0)
			return c->pools[i].slots;
	return 1;
}

struct pool *pool_get(struct engine *e, const char *name)
{
	struct pool *p;
	HASH_FIND_STR(e->pools, name, p);
	if (p)
		return p;
	p = xcalloc(1, sizeof(*p));
	p->name = xstrdup(name);
	p->slots = pool_slots(e, p);
	list_init(&p->back);
	HASH_ADD_KEYPTR(hh, e->pools, p->name, strlen(p->name), p);
	return p;
}

void pools_free(struct engine *e)
{
	struct pool *p, *next;
	HASH_ITER(hh, e->pools, p, next)
	{
		HASH_DEL(e->pools, p);
		lend_list_free(&p->back);
		free(p->heap);
		free(p->name);
		free(p);
	}
}

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

void sched_push(struct live_run *r, uint32_t op)
{
	r->ops[op].next = NO_OP;
	if (r->n_ready++ == 0)
		r->ready_head = op;
	else
		r->ops[r->ready_tail].next = op;
	r->ready_tail = op;
	sched_update(r);
}

void sched_push_front(struct live_run *r, uint32_t op)
{
	r->ops[op].next = r->n_ready ? r->ready_head : NO_OP;
	r->ready_head = op;
	if (r->n_ready++ == 0)
		r->ready_tail = op;
	sched_update(r);
}

static void ready_unlink(struct live_run *r, uint32_t before, uint32_t op)
{
	uint32_t next = r->ops[op].next;
	if (before == NO_OP)
		r->ready_head = next;
	else
		r->ops[before].next = next;
	if (r->ready_tail == op)
		r->ready_tail = before;
	r->ops[op].next = NO_OP;
	r->n_ready--;
}

void sched_remove(struct live_run *r, uint32_t op)
{
	uint32_t before = NO_OP;
	for (uint32_t at = r->ready_head; at != NO_OP && at != op; at = r->ops[at].next)
		before = at;
	ready_unlink(r, before, op);
	sched_update(r);
}

/* --- what may start --- */

static bool is_command(const struct live_run *r, uint32_t op)
{
	uint8_t kind = r->plan->ops[op].kind;
	return kind == KIND_BASH || kind == KIND_EXEC;
}

/* File and todo ops take no slots: they are done by batchd itself. An op heavier than its pool
 * takes the pool whole. */
static uint32_t op_weight(const struct live_run *r, uint32_t op)
{
	if (!is_command(r, op))
		return 0;
	return MIN2((uint32_t)r->plan->ops[op].weight, MIN2(r->pool->slots, r->jobs));
}

static bool run_may_start(const struct live_run *r)
{
	if (r->n_ready == 0 || r->paused || !r->accepted || r->exclusive_running || r->returning)
		return false;
	uint32_t op = r->ready_head;
	if (r->plan->ops[op].exclusive && r->running > 0)
		return false;
	return r->running_weight + op_weight(r, op) <= r->jobs;
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
	uint32_t weight = op_weight(r, op);
	r->ops[op].taken = (uint16_t)weight;
	r->running++;
	r->running_weight += weight;
	r->exclusive_running = r->exclusive_running || r->plan->ops[op].exclusive;
	r->pool->used += weight;
	r->e->running++;
}

static void sched_take(struct live_run *r, uint32_t op)
{
	ready_unlink(r, NO_OP, op);
	sched_adopt(r, op);
	r->turn = ++r->pool->turn;
	if (r->pool_pos)
		pool_sift(r->pool, r->pool_pos);
	sched_update(r);
}

void sched_release(struct live_run *r, uint32_t op)
{
	uint32_t weight = r->ops[op].lent ? 0 : r->ops[op].taken;
	lend_op_ended(r, op);
	r->ops[op].taken = r->ops[op].lent = 0;
	r->running--;
	r->running_weight -= weight;
	if (r->plan->ops[op].exclusive)
		r->exclusive_running = false;
	r->pool->used -= weight;
	r->e->running--;
	sched_update(r);
}

/* Starts one op of the pool's best run, or sees to its claim; false when nothing can start now. */
static bool pool_start_one(struct pool *p)
{
	struct live_run *r = p->heap[1];
	uint32_t op = r->ready_head;
	uint32_t weight = op_weight(r, op);
	if (p->used + weight > p->slots && p->used > 0)
		return false;
	if (!claims_clear(r, op)) {
		if (r->ops[op].claim != CLAIM_DURABLE)
			claims_stalled(r, p->slots - MIN2(p->slots, p->used));
		sched_hold(r, weight); /* it comes back when all is durable that must be */
		return true;
	}
	sched_take(r, op);
	flow_input(r, op, INPUT_SLOT, CAUSE_NONE);
	return true;
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

/* --- what people set --- */

void engine_load_group(struct engine *e, const struct group_row *row)
{
	struct pool *p = pool_get(e, row->group);
	p->by_hand = row->slots;
	p->slots = pool_slots(e, p);
	p->paused = row->paused;
}

struct group_set {
	struct engine *e;
	struct pool *pool;
	uint32_t by_hand; /* as it was */
	bool paused;
	engine_todo_fn done;
	void *arg;
};

static void group_set_done(void *arg, enum txn_status status, uint64_t existing,
			   const struct err *err)
{
	struct group_set *g = arg;
	(void)existing;
	if (status != TXN_DONE) {
		g->pool->by_hand = g->by_hand;
		g->pool->slots = pool_slots(g->e, g->pool);
		g->pool->paused = g->paused;
	}
	g->done(g->arg, status == TXN_DONE ? NULL : err);
	sched_run(g->e);
	free(g);
}

/* More slots or none paused may let runs start that fit now: their place in the heap depends on the
 * pool's slots. */
static void pool_changed(struct engine *e, struct pool *p)
{
	struct live_run *r, *next;
	HASH_ITER(hh, e->runs, r, next)
	if (r->pool == p)
		sched_update(r);
}

void engine_set_group(struct engine *e, const char *name, uint32_t slots, const bool *paused,
		      engine_todo_fn done, void *arg)
{
	struct pool *p = pool_get(e, name);
	struct group_set *g = xmalloc(sizeof(*g));
	*g = (struct group_set){ .e = e,
				 .pool = p,
				 .by_hand = p->by_hand,
				 .paused = p->paused,
				 .done = done,
				 .arg = arg };
	if (slots)
		p->slots = p->by_hand = slots;
	if (paused)
		p->paused = *paused;
	struct txn *t = txn_new(group_set_done, g);
	txn_group(t, &(struct group_row){
			     .group = p->name, .slots = p->by_hand, .paused = p->paused });
	e->ports.commit(e->ports.arg, t);
	pool_changed(e, p);
	sched_run(e);
}

void engine_reconfigure(struct engine *e, const struct engine_config *config)
{
	struct pool *p, *next;
	e->config = *config;
	for (size_t i = 0; i < config->n_pools; i++)
		pool_get(e, config->pools[i].name);
	HASH_ITER(hh, e->pools, p, next)
	{
		p->slots = pool_slots(e, p);
		pool_changed(e, p);
	}
	sched_run(e);
}

static void pool_show(const struct pool *p, struct engine_group *ret)
{
	*ret = (struct engine_group){ .group = p->name,
				      .slots = p->slots,
				      .used = p->used,
				      .runs = (uint32_t)p->len,
				      .by_hand = p->by_hand != 0,
				      .paused = p->paused };
}

void engine_each_group(struct engine *e, void (*fn)(void *arg, const struct engine_group *g),
		       void *arg)
{
	struct pool *p, *next;
	struct engine_group g;
	pool_get(e, DEFAULT_POOL);
	HASH_ITER(hh, e->pools, p, next)
	{
		pool_show(p, &g);
		fn(arg, &g);
	}
}

bool engine_get_group(struct engine *e, const char *name, struct engine_group *ret)
{
	struct pool *p;
	HASH_FIND_STR(e->pools, name, p);
	if (p)
		pool_show(p, ret);
	return p;
}
