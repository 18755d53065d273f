/*
 * The pools of slots: which there are, and what people set. A pool comes into being with the first
 * batch that is accepted for it, and stays until batchd's next start, or when it is set by hand or
 * in batchd.conf. What is refused, or only checked, leaves nothing behind.
 */
#include <assert.h>
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

static const struct engine_pool *pool_config(const struct engine *e, const char *name)
{
	const struct engine_config *c = &e->config;
	for (size_t i = 0; i < c->n_pools; i++)
		if (strcmp(name, c->pools[i].name) == 0)
			return &c->pools[i];
	return NULL;
}

static uint32_t pool_slots(const struct engine *e, const struct pool *p, uint32_t by_hand)
{
	if (by_hand)
		return by_hand;
	if (strcmp(p->name, DEFAULT_POOL) == 0)
		return default_slots(e);
	const struct engine_pool *config = pool_config(e, p->name);
	return config ? config->slots : 1;
}

/* Whether there is such a pool, as far as people are told. */
static bool pool_exists(const struct engine *e, const struct pool *p)
{
	return p->named || p->stored_by_hand || p->stored_paused ||
	       strcmp(p->name, DEFAULT_POOL) == 0 || pool_config(e, p->name);
}

struct pool *pool_hold(struct engine *e, const char *name)
{
	struct pool *p;
	HASH_FIND_STR(e->pools, name, p);
	if (!p) {
		p = xcalloc(1, sizeof(*p));
		p->name = xstrdup(name);
		p->slots = pool_slots(e, p, 0);
		list_init(&p->back);
		HASH_ADD_KEYPTR(hh, e->pools, p->name, strlen(p->name), p);
	}
	p->holders++;
	return p;
}

static void pool_free(struct engine *e, struct pool *p)
{
	HASH_DEL(e->pools, p);
	lend_list_free(&p->back);
	free(p->heap);
	free(p->name);
	free(p);
}

void pool_release(struct engine *e, struct pool *p)
{
	assert(p->holders > 0);
	if (--p->holders == 0 && !pool_exists(e, p))
		pool_free(e, p);
}

void pools_free(struct engine *e)
{
	struct pool *p, *next;
	HASH_ITER(hh, e->pools, p, next)
	pool_free(e, p);
}

/* --- what people set --- */

void engine_load_group(struct engine *e, const struct group_row *row)
{
	struct pool *p = pool_hold(e, row->group);
	p->by_hand = p->stored_by_hand = row->slots;
	p->slots = pool_slots(e, p, p->by_hand);
	p->paused = p->stored_paused = row->paused;
	pool_release(e, p);
}

struct group_set {
	struct engine *e;
	struct pool *pool; /* held */
	uint32_t by_hand;  /* as asked for */
	bool paused;
	engine_todo_fn done;
	void *arg;
};

static void group_set_done(void *arg, enum txn_status status, uint64_t existing,
			   const struct err *err)
{
	struct group_set *g = arg;
	struct pool *p = g->pool;
	(void)existing;
	if (status == TXN_DONE) {
		p->stored_by_hand = g->by_hand;
		p->stored_paused = g->paused;
	}
	if (--p->n_setting == 0) { /* the last of them, which may have failed */
		p->by_hand = p->stored_by_hand;
		p->slots = pool_slots(g->e, p, p->by_hand);
		p->paused = p->stored_paused;
	}
	g->done(g->arg, status == TXN_DONE ? NULL : err);
	pool_release(g->e, p);
	sched_run(g->e);
	free(g);
}

/* More slots or none paused may let runs start that fit now: their place in the heap depends on the
 * pool's slots. */
static void pool_changed(struct engine *e, struct pool *p)
{
	struct live_run *r, *next;
	HASH_ITER(hh, e->runs, r, next)
	if (r->pool == p) {
		if (p->paused)
			successor_recall(r);
		sched_update(r);
	}
}

void engine_set_group(struct engine *e, const char *name, uint32_t slots, const bool *paused,
		      engine_todo_fn done, void *arg)
{
	struct pool *p = pool_hold(e, name);
	struct group_set *g = xmalloc(sizeof(*g));
	if (slots)
		p->slots = p->by_hand = slots;
	if (paused)
		p->paused = *paused;
	*g = (struct group_set){ .e = e,
				 .pool = p,
				 .by_hand = p->by_hand,
				 .paused = p->paused,
				 .done = done,
				 .arg = arg };
	p->n_setting++;
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
		pool_release(e, pool_hold(e, config->pools[i].name));
	HASH_ITER(hh, e->pools, p, next)
	{
		p->holders++;
		p->slots = pool_slots(e, p, p->by_hand);
		pool_changed(e, p);
		pool_release(e, p);
	}
	sched_run(e);
}

/* --- looking --- */

static void pool_show(const struct engine *e, const struct pool *p, struct engine_group *ret)
{
	*ret = (struct engine_group){ .group = p->name,
				      .slots = pool_slots(e, p, p->stored_by_hand),
				      .used = p->used,
				      .runs = p->runs,
				      .by_hand = p->stored_by_hand != 0,
				      .paused = p->stored_paused };
}

static int by_name(const struct pool *a, const struct pool *b)
{
	return strcmp(a->name, b->name);
}

void engine_each_group(struct engine *e, const char *after,
		       bool (*fn)(void *arg, const struct engine_group *g), void *arg)
{
	struct pool *p, *next, *held = pool_hold(e, DEFAULT_POOL);
	struct engine_group g;
	bool more = true;
	HASH_SORT(e->pools, by_name);
	HASH_ITER(hh, e->pools, p, next)
	{
		if (!more || !pool_exists(e, p) || (after && strcmp(p->name, after) <= 0))
			continue;
		pool_show(e, p, &g);
		more = fn(arg, &g);
	}
	pool_release(e, held);
}

bool engine_get_group(struct engine *e, const char *name, struct engine_group *ret)
{
	struct pool *p;
	HASH_FIND_STR(e->pools, name, p);
	if (p)
		pool_show(e, p, ret);
	return p;
}
