/*
 * Lending: an op that waits for a run lends its slots, or nested runs would wait for each other for
 * ever. When it goes on it has to have them back: it stands before all that would start, and is
 * told when there are as many free. So never more is at work than the pool has slots, unless
 * whoever waited has stopped waiting without asking (a lost connection, a wait that timed out):
 * what works already cannot be held.
 */
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/live.h"

/* One that wants its slots back, or has them and is to be told. */
struct comeback {
	struct list list; /* of the pool's or of the engine's */
	struct live_run *run;
	uint32_t op;
	void (*fn)(void *arg); /* NULL: nobody listens any more */
	void *arg;
};

static struct live_op *lend_op(struct engine *e, uint64_t run, uint32_t op, struct live_run **ret)
{
	struct live_run *r = *ret = live_find(e, run);
	if (!r || op == 0 || op > r->plan->n_ops)
		return NULL;
	struct live_op *o = &r->ops[op - 1];
	return op_phase_ended(o->phase) || !o->attempt ? NULL : o;
}

static void lend_take(struct live_run *r, struct live_op *o)
{
	o->lent = 0;
	r->pool->used += o->taken;
	r->running_weight += o->taken;
	sched_update(r);
}

static bool lend_fits(const struct live_run *r, const struct live_op *o)
{
	return r->running_weight == 0 || r->running_weight + o->taken <= r->jobs;
}

static bool lend_fits_pool(const struct pool *p, const struct live_op *o)
{
	return p->used == 0 || p->used + o->taken <= p->slots;
}

/* Out of the pool's list. */
static void comeback_leave(struct comeback *b)
{
	list_del(&b->list);
	b->run->returning--;
}

/* Told after this turn: whoever is told may ask for anything, and this may be the middle of a
 * start. */
static void comeback_tell(void *arg)
{
	struct comeback *b = arg;
	list_del(&b->list);
	if (b->fn)
		b->fn(b->arg);
	free(b);
}

static void comeback_done(struct engine *e, struct comeback *b)
{
	comeback_leave(b);
	b->run = NULL;
	list_add_tail(&e->back, &b->list);
	engine_after(e, comeback_tell, b);
}

/* Of an op that has ended, or waits for another run as well: it needs no slots to be told. */
static void comebacks_drop(struct live_run *r, uint32_t op)
{
	list_for_safe (&r->pool->back, node) {
		struct comeback *b = list_entry(node, struct comeback, list);
		if (b->run != r || b->op != op)
			continue;
		r->ops[op].lent--;
		comeback_done(r->e, b);
	}
}

void lend_op_ended(struct live_run *r, uint32_t op)
{
	if (r->returning)
		comebacks_drop(r, op);
}

bool lend_give_back(struct pool *p)
{
	list_for_safe (&p->back, node) {
		struct comeback *b = list_entry(node, struct comeback, list);
		struct live_run *r = b->run;
		struct live_op *o = &r->ops[b->op];
		if (!lend_fits_pool(p, o))
			return false;
		if (!lend_fits(r, o))
			continue;
		comeback_done(r->e, b);
		lend_take(r, o);
	}
	return true;
}

void lend_list_free(struct list *back)
{
	list_for_safe (back, node)
		free(list_entry(node, struct comeback, list));
}

/* --- what rpc asks for --- */

void engine_lend(struct engine *e, uint64_t run, uint32_t op)
{
	struct live_run *r;
	struct live_op *o = lend_op(e, run, op, &r);
	if (!o)
		return;
	if (o->lent++ == 0) {
		r->pool->used -= o->taken;
		r->running_weight -= o->taken;
		successor_recall(r);
	} else if (r->returning) {
		comebacks_drop(r, op - 1);
	}
	sched_update(r);
	sched_run(e);
}

bool engine_lend_return(struct engine *e, uint64_t run, uint32_t op, void (*fn)(void *arg),
			void *arg)
{
	struct live_run *r;
	struct live_op *o = lend_op(e, run, op, &r);
	if (!o || o->lent == 0)
		return false;
	if (o->lent > 1) {
		o->lent--;
		return false;
	}
	if (list_empty(&r->pool->back) && lend_fits_pool(r->pool, o) && lend_fits(r, o)) {
		lend_take(r, o);
		return false;
	}
	struct comeback *b = xmalloc(sizeof(*b));
	*b = (struct comeback){ .run = r, .op = op - 1, .fn = fn, .arg = arg };
	list_add_tail(&r->pool->back, &b->list);
	r->returning++;
	sched_update(r);
	return true;
}

static struct comeback *comeback_find(struct list *back, const void *arg)
{
	list_for (back, node) {
		struct comeback *b = list_entry(node, struct comeback, list);
		if (b->arg == arg)
			return b;
	}
	return NULL;
}

void engine_lend_end(struct engine *e, uint64_t run, uint32_t op, const void *arg)
{
	struct live_run *r;
	struct live_op *o = lend_op(e, run, op, &r);
	struct comeback *b = comeback_find(&e->back, arg);
	if (b) {
		b->fn = NULL; /* it has them, and need not be told */
		b->arg = NULL;
		return;
	}
	if (!o || o->lent == 0)
		return;
	if ((b = comeback_find(&r->pool->back, arg))) {
		comeback_leave(b);
		free(b);
	}
	if (o->lent > 1)
		o->lent--;
	else
		lend_take(r, o);
	sched_update(r);
	sched_run(e);
}
