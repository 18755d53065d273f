/*
 * run.wait: first everyone asked for must exist; then the ends are counted as they are told; then
 * the documents are gathered, the live ones from the engine and the ended ones from the store.
 */
#include "daemon/rpc/wait.h"

#include <inttypes.h>
#include <stdlib.h>

#include <event2/event.h>

#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/lend.h"
#include "daemon/rpc/logcache.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/rundoc.h"
#include "daemon/rpc/shape.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"

#define WAIT_RUNS_MAX 4000

struct wait;

/* One run that one wait is for. */
struct waited {
	struct list list; /* of the run's awaited */
	struct wait *wait;
	bool stored; /* was not live when asked for */
};

/* A run that somebody waits for. */
struct awaited {
	uint64_t run;
	struct list waits;
	UT_hash_handle hh;
};

struct waits {
	struct rpc_server *s;
	struct awaited *runs;
};

struct wait {
	struct waits *all;
	struct rpc_call *call; /* NULL: gone */
	uint64_t *runs;
	struct waited *waited; /* one for each of runs */
	struct rundoc *docs;
	uint32_t n, n_pending; /* not ended yet */
	int64_t output;
	struct event *timer;
	struct lend lend;
	bool any, one, timed_out, checked;
	struct err err;
};

struct waits *waits_new(struct rpc_server *s)
{
	struct waits *w = xcalloc(1, sizeof(*w));
	w->s = s;
	return w;
}

struct waits *waits_free(struct waits *w)
{
	struct awaited *a, *next;
	if (!w)
		return NULL;
	HASH_ITER(hh, w->runs, a, next)
	{
		HASH_DEL(w->runs, a);
		free(a);
	}
	free(w);
	return NULL;
}

static void wait_leave(struct wait *w, uint32_t i)
{
	struct awaited *a;
	struct list *node = &w->waited[i].list;
	if (list_empty(node))
		return;
	list_del(node);
	HASH_FIND(hh, w->all->runs, &w->runs[i], sizeof(w->runs[i]), a);
	if (a && list_empty(&a->waits)) {
		HASH_DEL(w->all->runs, a);
		free(a);
	}
}

static void wait_free(struct wait *w)
{
	lend_end(w->all->s, &w->lend);
	for (uint32_t i = 0; i < w->n; i++)
		rundoc_done(&w->docs[i]);
	if (w->timer)
		event_free(w->timer);
	free(w->runs);
	free(w->waited);
	free(w->docs);
	free(w);
}

/* --- gathering the answer --- */

static void wait_answer_one(struct wait *w)
{
	struct rundoc *d = &w->docs[0];
	pk_kbool(&d->pk, "timed_out", w->timed_out);
	pk_end(&d->pk);
	rpc_reply(w->call, &d->b);
}

static void wait_answer(struct wait *w)
{
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(w->call, &b);
	pk_map(&pk);
	pk_key(&pk, "runs");
	pk_array(&pk);
	for (uint32_t i = 0; i < w->n; i++) {
		pk_end(&w->docs[i].pk);
		pk_raw(&pk, buf_slice(&w->docs[i].b));
	}
	pk_end(&pk);
	pk_kbool(&pk, "timed_out", w->timed_out);
	pk_end(&pk);
	rpc_reply(w->call, &b);
}

static void gather_stored(struct sql_reader *r, void *arg)
{
	struct wait *w = arg;
	for (uint32_t i = 0; i < w->n; i++)
		if (!w->docs[i].b.len && !w->docs[i].failed)
			rundoc_stored(&w->docs[i], r);
}

static void gather_done(void *arg)
{
	struct wait *w = arg;
	struct err *failed = NULL;
	for (uint32_t i = 0; i < w->n; i++)
		if (w->docs[i].failed && !failed)
			failed = &w->docs[i].err;
	if (failed)
		rpc_fail(w->call, failed);
	else if (w->one)
		wait_answer_one(w);
	else
		wait_answer(w);
	wait_free(w);
}

/* An ended run is still the engine's when its end is told; what it shows then is the end. */
static void wait_gather(struct wait *w)
{
	bool stored = false;
	lend_end(w->all->s, &w->lend);
	w->call->gone = NULL;
	if (w->timer)
		event_del(w->timer);
	for (uint32_t i = 0; i < w->n; i++) {
		struct rundoc *d = &w->docs[i];
		wait_leave(w, i);
		rundoc_init(d, w->runs[i], w->call->omit_nil);
		d->max_bytes = d->max_bytes / w->n;
		if (w->n > 1)
			d->room = MIN2((size_t)SHAPE_LISTED_BYTES, d->max_bytes);
		d->output = w->output;
		d->ops = w->output >= 0 ? RUN_OPS_ALL : RUN_OPS_NONE;
		if (rundoc_live(d, w->all->s))
			continue;
		stored = true;
		if (d->output >= 0)
			d->log = logcache_take(w->all->s->logs, d->run);
	}
	if (stored)
		store_read(w->all->s->config.store, gather_stored, gather_done, w);
	else
		gather_done(w);
}

/* --- waiting --- */

/* What was waited for has come. */
static bool wait_met(const struct wait *w)
{
	return w->n_pending == 0 || (w->any && w->n_pending < w->n);
}

static void wait_back(void *arg)
{
	wait_gather(arg);
}

/* Answered when an op that waits has its slots again. */
static void wait_ended(struct wait *w)
{
	if (!w->lend.returning && !lend_return(w->all->s, &w->lend, wait_back, w))
		wait_gather(w);
}

void waits_event(struct waits *all, const struct event *e)
{
	struct awaited *a;
	if (e->type != EVENT_RUN_STATE || !run_state_ended(e->row->state))
		return;
	HASH_FIND(hh, all->runs, &e->run, sizeof(e->run), a);
	if (!a)
		return;
	HASH_DEL(all->runs, a);
	while (!list_empty(&a->waits)) {
		struct waited *one = list_entry(a->waits.next, struct waited, list);
		struct wait *w = one->wait;
		list_del(&one->list);
		w->n_pending--;
		if (w->checked && wait_met(w))
			wait_ended(w);
	}
	free(a);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct wait *w = arg;
	(void)fd;
	(void)what;
	w->timed_out = !w->lend.returning;
	if (w->checked)
		wait_gather(w);
}

/* Its connection is gone. A check under way ends in check_done, which sees that nobody is there. */
static void wait_gone(struct rpc_call *call)
{
	struct wait *w = call->user;
	struct err e = { .sym = E_STATE };
	for (uint32_t i = 0; i < w->n; i++)
		wait_leave(w, i);
	w->call = NULL;
	rpc_fail(call, &e);
	if (w->checked)
		wait_free(w);
	else if (w->timer)
		event_del(w->timer);
}

static void check_stored(struct sql_reader *r, void *arg)
{
	struct wait *w = arg;
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct run_row row;
	for (uint32_t i = 0; i < w->n && !w->err.sym; i++)
		if (w->waited[i].stored && sql_run_get(r, w->runs[i], &row, &strings, &w->err) &&
		    !w->err.sym)
			w->err.sym = E_INTERNAL;
}

static void check_done(void *arg)
{
	struct wait *w = arg;
	w->checked = true;
	if (w->call && w->err.sym) {
		for (uint32_t i = 0; i < w->n; i++)
			wait_leave(w, i);
		rpc_fail(w->call, &w->err);
	}
	if (!w->call || w->err.sym)
		wait_free(w);
	else if (wait_met(w)) {
		/* The time may have run out while those that had long ended were looked up. */
		w->timed_out = false;
		wait_ended(w);
	} else if (w->timed_out)
		wait_gather(w);
}

static void wait_join(struct wait *w, uint32_t i)
{
	struct run_row row;
	struct awaited *a;
	uint64_t run = w->runs[i];
	w->waited[i].wait = w;
	list_init(&w->waited[i].list);
	w->waited[i].stored = !engine_run_row(w->all->s->config.engine, run, &row);
	if (w->waited[i].stored)
		return;
	HASH_FIND(hh, w->all->runs, &run, sizeof(run), a);
	if (!a) {
		a = xcalloc(1, sizeof(*a));
		a->run = run;
		list_init(&a->waits);
		HASH_ADD(hh, w->all->runs, run, sizeof(a->run), a);
	}
	list_add_tail(&a->waits, &w->waited[i].list);
	w->n_pending++;
}

static void wait_runs(struct wait *w, const struct params_run_wait *p)
{
	uint32_t n = 1;
	struct mp m = { NULL, NULL };
	if (p->runs.p)
		m = array_open(p->runs, &n);
	w->one = !p->runs.p;
	w->n = n;
	w->runs = xcalloc(n, sizeof(w->runs[0]));
	w->waited = xcalloc(n, sizeof(w->waited[0]));
	w->docs = xcalloc(n, sizeof(w->docs[0]));
	for (uint32_t i = 0; i < n; i++) {
		struct mp_value v = { .type = MP_INT, .i = p->run };
		if (p->runs.p)
			v = mp_next(&m);
		w->runs[i] = (uint64_t)(v.type == MP_FLOAT ? (int64_t)v.f : v.i);
		wait_join(w, i);
	}
}

static void wait_arm(struct wait *w, int64_t timeout_ms)
{
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	if (timeout_ms < 0)
		return;
	w->timer = evtimer_new(w->all->s->config.base, on_timeout, w);
	event_add(w->timer, &tv);
}

void rpc_run_wait(struct rpc_call *call, const void *params)
{
	const struct params_run_wait *p = params;
	if (p->runs.p && array_count(p->runs) > WAIT_RUNS_MAX) {
		rpc_failf(call, E_LIMIT, "runs: at most %d at a time", WAIT_RUNS_MAX);
		return;
	}
	struct wait *w = xcalloc(1, sizeof(*w));
	w->all = call->s->waits;
	w->call = call;
	w->any = p->any;
	w->output = p->output;
	call->user = w;
	call->gone = wait_gone;
	wait_runs(w, p);
	if (w->n_pending > 0)
		lend_begin(rpc_conn_of(call), &w->lend);
	wait_arm(w, p->timeout_ms);
	if (w->n_pending == w->n) {
		w->checked = true;
		return;
	}
	store_read(w->all->s->config.store, check_stored, check_done, w);
}
