/*
 * From a proved batch (accept_batch.c) to an accepted run: it is given its number, its records go
 * to the store, and only when these are durable is the submitter answered and anything started.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"
#include "proto/errors.h"
#include "proto/mp.h"

void accept_other_batch(const char *key, uint64_t run, struct err *err)
{
	err_set(err, E_KEY,
		"key '%s' belongs to run %" PRIu64 ", which is another batch: use another key", key,
		run);
}

/* What a key that was used before answers with. */
static void answer_key(engine_submit_fn done, void *arg, const char *key, enum txn_status status,
		       uint64_t existing)
{
	struct err err = ERR_INIT;
	if (status == TXN_KEY_SAME) {
		done(arg, existing, true, NULL);
		return;
	}
	accept_other_batch(key, existing, &err);
	done(arg, 0, false, &err);
}

/* The answer to a submit that failed before anything was stored, given after engine_submit has
 * returned. */
struct refusal {
	engine_submit_fn done;
	void *arg;
	char *key; /* NULL: none to be compared */
	struct err err;
};

static void refusal_done(void *arg, enum txn_status status, uint64_t existing,
			 const struct err *err)
{
	struct refusal *f = arg;
	if (status == TXN_KEY_SAME || status == TXN_KEY_OTHER)
		answer_key(f->done, f->arg, f->key, status, existing);
	else
		f->done(f->arg, 0, false, f->key && status == TXN_FAILED ? err : &f->err);
	free(f->key);
	free(f);
}

/*
 * A transaction keeps the order of answers: a refusal comes after what the same client was accepted
 * before. `r`: the batch is whole and only what it refers to is not there. It was there when the
 * key's first run was accepted, so the key is compared before that counts.
 */
static void refuse(struct engine *e, const struct engine_submit *s, const struct live_run *r,
		   const struct err *err)
{
	struct refusal *f = xmalloc(sizeof(*f));
	struct txn *t = txn_new(refusal_done, f);
	const char *key = r ? r->key : NULL;
	*f = (struct refusal){
		.done = s->done, .arg = s->arg, .key = key ? xstrdup(key) : NULL, .err = *err
	};
	if (key)
		txn_key(t, key, r->digest);
	e->ports.commit(e->ports.arg, t);
}

/* The run it needed did not succeed: nothing of it runs, not even what would clean up. */
static void needs_failed(struct live_run *r, uint64_t run, enum run_state state)
{
	if (!r->unmet)
		r->unmet = xasprintf("run %" PRIu64 " %s", run, run_state_names[state]);
	r->failed = r->stopping = r->now = true;
}

static int need_run(struct live_run *r, int64_t id, bool any, struct err *err)
{
	struct engine *e = r->e;
	struct live_run *other = live_find(e, (uint64_t)id);
	enum run_state state;
	if (other && other != r && other->accepted) {
		r->run_waits++;
		return 0;
	}
	if (other == r || e->ports.run_state(e->ports.arg, (uint64_t)id, &state))
		return err_set(err, E_NOT_FOUND, ": there is no run %" PRId64, id);
	if (!any && state != RUN_SUCCEEDED)
		needs_failed(r, (uint64_t)id, state);
	return 0;
}

static int each_need(struct live_run *r, struct slice ids, const char *field, bool any,
		     struct err *err)
{
	if (!ids.p)
		return 0;
	struct mp m = mp_of(ids);
	struct mp_value array = mp_next(&m);
	for (uint32_t i = 0; i < array.count; i++) {
		struct mp_value v = mp_next(&m);
		if (need_run(r, v.type == MP_FLOAT ? (int64_t)v.f : v.i, any, err))
			return err_prefix(err, "%s[%" PRIu32 "]", field, i);
	}
	return 0;
}

int accept_needs(struct live_run *r, struct err *err)
{
	const struct batch_head *h = &r->plan->head;
	return each_need(r, h->needs_runs, "needs_runs", false, err) ||
	       each_need(r, h->after_any_runs, "after_any_runs", true, err);
}

static void add_needs(struct slice ids, uint64_t by, struct buf *ret)
{
	if (!ids.p)
		return;
	struct mp m = mp_of(ids);
	struct mp_value array = mp_next(&m);
	for (uint32_t i = 0; i < array.count; i++) {
		struct mp_value v = mp_next(&m);
		struct need_row row = { .run = (uint64_t)(v.type == MP_FLOAT ? (int64_t)v.f : v.i),
					.by = by };
		buf_add(ret, &row, sizeof(row));
	}
}

void engine_needed_runs(struct engine *e, struct buf *ret)
{
	struct live_run *r, *next;
	HASH_ITER(hh, e->runs, r, next)
	{
		if (r->started)
			continue;
		add_needs(r->plan->head.needs_runs, r->id, ret);
		add_needs(r->plan->head.after_any_runs, r->id, ret);
	}
}

static uint32_t count_need(struct slice ids, uint64_t run)
{
	uint32_t n = 0;
	if (!ids.p)
		return 0;
	struct mp m = mp_of(ids);
	struct mp_value array = mp_next(&m);
	for (uint32_t i = 0; i < array.count; i++) {
		struct mp_value v = mp_next(&m);
		n += (v.type == MP_FLOAT ? (uint64_t)v.f : (uint64_t)v.i) == run;
	}
	return n;
}

void accept_run_ended(struct engine *e, uint64_t run, enum run_state state)
{
	struct live_run *r, *next;
	HASH_ITER(hh, e->runs, r, next)
	{
		if (r->run_waits == 0)
			continue;
		uint32_t needs = count_need(r->plan->head.needs_runs, run);
		uint32_t n = needs + count_need(r->plan->head.after_any_runs, run);
		if (n == 0)
			continue;
		if (needs && state != RUN_SUCCEEDED)
			needs_failed(r, run, state);
		r->run_waits -= MIN2(n, r->run_waits);
		if (r->run_waits == 0 && r->accepted)
			accept_begin(r);
	}
}

/* Ops taken over from the run this one repeats have succeeded before it begins. */
static void settle_reused(struct live_run *r)
{
	for (uint32_t op = 0; op < r->plan->n_ops; op++)
		if (r->ops[op].reused)
			flow_reuse(r, op);
}

int64_t accept_not_before(const struct live_run *r)
{
	const struct batch_head *h = &r->plan->head;
	return MAX2(h->not_before, h->delay_ms ? r->created + h->delay_ms : 0);
}

void accept_begin(struct live_run *r)
{
	int64_t wait_ms = accept_not_before(r) - time_wall_ms();
	if (r->held || r->paused || r->run_waits > 0)
		return;
	if (wait_ms > 0 && !r->begun) {
		/* The clock may be set meanwhile, or the machine sleep: looked at again. */
		timer_arm(&r->e->timers, &r->begin_timer,
			  r->e->now_ms + MIN2(wait_ms, CLOCK_LOOK_MS));
		return;
	}
	flow_begin(r);
}

static void accept_existing(struct live_run *r, enum txn_status status, uint64_t existing)
{
	struct engine *e = r->e;
	if (e->next_run == r->id + 1)
		e->next_run = r->id; /* nobody has heard of it */
	answer_key(r->done, r->done_arg, r->key, status, existing);
	live_free(r);
}

void accept_done(void *arg, enum txn_status status, uint64_t existing, const struct err *err)
{
	struct live_run *r = arg;
	struct engine *e = r->e;
	e->now_ms = time_mono_ms();
	switch (status) {
	case TXN_DONE:
		live_accept(r);
		history_take(r);
		for (uint32_t i = 0; i < r->n_claimed; i++)
			r->ops[r->claimed[i]].claim = CLAIM_DURABLE;
		claims_watch(r);
		if (e->no_starts) {
			claims_give_back(r);
			claims_mark_dirty(r); /* what was given back before is stored now */
		}
		r->done(r->done_arg, r->id, false, NULL);
		turn_emit_run(r);
		if (r->reused)
			settle_reused(r);
		accept_begin(r);
		sched_run(e);
		break;
	case TXN_KEY_SAME:
	case TXN_KEY_OTHER:
		accept_existing(r, status, existing);
		break;
	case TXN_FAILED:
		r->done(r->done_arg, 0, false, err);
		live_free(r);
		break;
	}
}

/* The ops that will start at once are claimed with the run itself, so that no second commit stands
 * before them. Of a run that has to wait for slots only file ops are, which take none. */
static void accept_first_claims(struct live_run *r)
{
	const struct batch_head *h = &r->plan->head;
	uint32_t want = MIN2(r->pool->slots, r->jobs), room = MIN2(claims_room(r->pool), want);
	if (h->held || accept_not_before(r) > time_wall_ms() || r->run_waits > 0 ||
	    !sched_is_next(r))
		return;
	const struct plan_message *pm = &r->plan->messages[0];
	for (int stage = STAGE_TODOS; stage < STAGE_MAX; stage++) {
		uint32_t n = 0, weight = 0;
		if (r->messages[0].stage_left[stage] == 0)
			continue;
		for (uint32_t op = pm->first; op < pm->first + pm->count && n < want; op++) {
			if (r->ops[op].waits > 0 || live_stage(&r->plan->ops[op]) != stage)
				continue;
			weight += sched_weight(r, op);
			if (weight > room)
				return;
			claims_ask(r, op);
			n++;
			if (pm->m.order != ORDER_PARALLEL)
				return;
		}
	}
}

static void accept_commit(struct live_run *r, struct txn *t)
{
	struct engine *e = r->e;
	struct run_row row;
	live_fill_row(r, &row);
	txn_run_is(t, &row);
	accept_first_claims(r);
	_cleanup_free_ uint32_t *ops = xcalloc(r->n_claimed, sizeof(ops[0]));
	for (uint32_t i = 0; i < r->n_claimed; i++)
		ops[i] = r->claimed[i] + 1;
	struct claim_row claim = { .run = r->id,
				   .ops = slice_of(ops, r->n_claimed * sizeof(ops[0])) };
	if (r->n_claimed)
		txn_claim(t, &claim);
	if (r->n_asked)
		txn_took(t, r->asked, r->n_asked);
	e->ports.commit(e->ports.arg, t);
}

static void accept_reused(struct live_run *r, struct slice reused)
{
	const uint32_t *ops = (const uint32_t *)reused.p;
	r->reused = reused.len > 0;
	for (size_t i = 0; i < reused.len / sizeof(ops[0]); i++)
		r->ops[ops[i] - 1].reused = 1;
}

void accept_warn(const struct live_run *r, struct slice of_batch, struct buf *warnings)
{
	struct pk pk = PK_INIT(warnings);
	_cleanup_buf_ struct buf text = BUF_INIT;
	pk_array(&pk);
	if (r->plan->head.has_jobs && r->jobs > r->pool->slots) {
		buf_addf(
			&text,
			"jobs: %u is more than the %u slot%s of group '%s', which stay%s the limit",
			r->jobs, r->pool->slots, PLURAL(r->pool->slots), r->group,
			r->pool->slots == 1 ? "s" : "");
		pk_str(&pk, buf_slice(&text));
	}
	if (r->plan->head.order == ORDER_AS_IF_SERIAL)
		pk_str(&pk, slice_str("order: as-if-serial runs serially in this version"));
	struct mp m = mp_of(of_batch);
	for (uint32_t n = mp_next(&m).count; n > 0; n--)
		pk_raw(&pk, mp_skip(&m));
	pk_end(&pk);
}

int accept_refers(struct live_run *r, struct err *err)
{
	return accept_needs(r, err) || drive_check(r, err);
}

void engine_submit(struct engine *e, const struct engine_submit *s, struct buf *warnings)
{
	struct err err = ERR_INIT;
	struct engine_batch *b = s->batch;
	struct live_run *r = TAKE_PTR(b->run);
	if (!r) {
		refuse(e, s, NULL, &b->err);
		engine_batch_free(b);
		return;
	}
	live_join(r, e, e->next_run);
	if (warnings)
		accept_warn(r, buf_slice(&b->warnings), warnings);
	if (accept_refers(r, &err)) {
		refuse(e, s, r, &err);
		live_free(r);
		engine_batch_free(b);
		return;
	}
	e->next_run++;
	r->created = time_wall_ms();
	r->parent = s->parent;
	r->parent_op = s->parent_op;
	r->origin = s->origin;
	r->done = s->done;
	r->done_arg = s->arg;
	accept_reused(r, s->reused);
	accept_commit(r, TAKE_PTR(b->txn));
	engine_batch_free(b);
}
