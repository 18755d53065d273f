#include "client/top.h"

#include <stdlib.h>

#include "common/xalloc.h"
#include "proto/mp.h"
#include "proto/pack.h"

static int top_call(struct top *t, const char *method, const struct buf *params, struct buf *reply)
{
	struct err e = ERR_INIT;
	buf_clear(reply);
	int r = ctx_try(t->c, method, params, reply, &e);
	if (r > 0)
		buf_clear(reply); /* forgotten meanwhile: there is nothing to show */
	return r < 0 ? -1 : 0;
}

/* --- runs --- */

static struct top_run *top_find(struct top *t, int64_t run)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->runs[i].v.run == run)
			return &t->runs[i];
	return NULL;
}

static struct top_run *top_add(struct top *t, int64_t run)
{
	size_t at = 0;
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->runs = xrealloc(t->runs, t->cap, sizeof(*t->runs));
	}
	while (at < t->n && t->runs[at].v.run > run)
		at++;
	memmove(t->runs + at + 1, t->runs + at, (t->n - at) * sizeof(*t->runs));
	t->runs[at] = (struct top_run){ .v = { .run = run } };
	t->n++;
	return &t->runs[at];
}

static void top_counts(struct top_run *r, struct slice summary)
{
	static const char *const ended[] = { "succeeded", "failed", "skipped", "cancelled",
					     "interrupted" };
	if (!summary.p)
		return;
	r->total = mp_get_int(summary, "ops", 0);
	r->failed = mp_get_int(summary, "failed", 0) + mp_get_int(summary, "interrupted", 0);
	r->done = 0;
	for (size_t i = 0; i < ARRAY_SIZE(ended); i++)
		r->done += mp_get_int(summary, ended[i], 0);
}

static void top_counts_of_ops(struct top_run *r)
{
	const struct run_view *v = &r->v;
	if (!r->loaded)
		return;
	r->done = 0;
	for (int s = VIEW_SUCCEEDED; s < VIEW_MAX; s++)
		r->done += v->counts[s];
	r->failed = v->counts[VIEW_FAILED] + v->counts[VIEW_INTERRUPTED];
	r->running = v->counts[VIEW_RUNNING];
}

/* Takes a run's shape, or an event of its state. */
static struct top_run *top_take(struct top *t, struct slice run)
{
	int64_t id = mp_get_int(run, "run", 0);
	struct top_run *r = top_find(t, id);
	struct slice project = mp_get_str(run, "project");
	if (!r)
		r = top_add(t, id);
	run_view_head(&r->v, run);
	top_counts(r, mp_find(run, "summary"));
	top_counts_of_ops(r);
	if (view_ended(r->v.state))
		r->running = 0;
	if (t->project && project.p)
		r->hidden = !slice_is(project, t->project);
	return r;
}

static void top_take_all(struct top *t, struct slice runs)
{
	struct mp m = mp_of(runs);
	struct mp_value list = mp_next(&m);
	for (uint32_t n = list.type == MP_ARRAY ? list.count : 0; n > 0; n--)
		top_take(t, mp_skip(&m));
}

static int top_load_ops(struct top *t, struct top_run *r)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	for (int64_t next = 1; next > 0;) {
		struct pk pk = PK_INIT(&params);
		buf_clear(&params);
		pk_map(&pk);
		pk_kint(&pk, "run", r->v.run);
		pk_kint(&pk, "offset", next);
		pk_end(&pk);
		if (top_call(t, "run.get", &params, &reply))
			return -1;
		run_view_head(&r->v, buf_slice(&reply));
		run_view_ops(&r->v, mp_find(buf_slice(&reply), "ops"));
		next = reply.len ? mp_get_int(buf_slice(&reply), "next", 0) : 0;
	}
	r->loaded = true;
	top_counts_of_ops(r);
	return 0;
}

static int top_load_counts(struct top *t, struct top_run *r)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", r->v.run);
	pk_kstr(&pk, "ops", slice_str("none"));
	pk_end(&pk);
	r->stale = false;
	if (top_call(t, "run.get", &params, &reply))
		return -1;
	top_counts(r, mp_find(buf_slice(&reply), "summary"));
	return 0;
}

/* What a run without a name is known by, as in `batchctl status`. */
static int top_load_first(struct top *t, struct top_run *r)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", r->v.run);
	pk_kint(&pk, "limit", 1);
	pk_end(&pk);
	if (top_call(t, "run.get", &params, &reply))
		return -1;
	struct slice ops = mp_find(buf_slice(&reply), "ops");
	struct mp m = mp_of(ops);
	struct mp_value list = mp_next(&m);
	bool any = list.type == MP_ARRAY && list.count;
	r->first = xslicedup(any ? mp_get_str(mp_skip(&m), "text") : slice_str(""));
	return 0;
}

int top_refresh(struct top *t)
{
	struct top_run *selected = top_selected(t);
	for (size_t i = 0; i < t->n; i++) {
		struct top_run *r = &t->runs[i];
		bool small = r->total <= TOP_OPS_MAX;
		bool wanted = r == selected || !view_ended(r->v.state);
		if (r->hidden)
			continue;
		if (!r->v.name && !r->first && top_load_first(t, r))
			return -1;
		if (small && wanted && !r->loaded && top_load_ops(t, r))
			return -1;
		if (!small && r->stale && top_load_counts(t, r))
			return -1;
	}
	return 0;
}

/* --- what there is, and what happens --- */

static int top_list(struct top *t)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "limit", TOP_RECENT);
	if (t->project)
		pk_ktext(&pk, "project", slice_str(t->project));
	pk_end(&pk);
	if (top_call(t, "run.list", &params, &reply))
		return -1;
	top_take_all(t, mp_find(buf_slice(&reply), "runs"));
	return 0;
}

static void top_forget(struct top *t)
{
	for (size_t i = 0; i < t->n; i++) {
		run_view_done(&t->runs[i].v);
		free(t->runs[i].first);
	}
	t->n = 0;
}

/* The subscription comes first, so that nothing happens unseen in between. */
int top_load(struct top *t)
{
	_cleanup_buf_ struct buf reply = BUF_INIT;
	top_forget(t);
	if (top_call(t, "run.subscribe", NULL, &reply))
		return -1;
	t->sub = mp_get_int(buf_slice(&reply), "sub", 0);
	top_take_all(t, mp_find(buf_slice(&reply), "runs"));
	if (top_list(t))
		return -1;
	return top_refresh(t);
}

static int top_resync(struct top *t)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "sub", t->sub);
	pk_end(&pk);
	if (top_call(t, "rpc.unsubscribe", &params, &reply))
		return -1;
	return top_load(t);
}

static void top_op_event(struct top *t, struct slice event)
{
	struct top_run *r = top_find(t, mp_get_int(event, "run", 0));
	enum view_state before;
	if (!r || r->hidden)
		return;
	if (r->loaded && run_view_op_event(&r->v, event, &before))
		top_counts_of_ops(r);
	r->stale = !r->loaded;
}

int top_event(struct top *t, struct slice event)
{
	/* Calls made below reuse the connection's buffers. */
	_cleanup_buf_ struct buf copy = BUF_INIT;
	buf_addslice(&copy, event);
	event = buf_slice(&copy);
	struct slice type = mp_get_str(event, "type");
	if (mp_get_int(event, "sub", -1) != t->sub)
		return 0;
	if (slice_is(type, "resync"))
		return top_resync(t);
	if (slice_is(type, "run.state"))
		top_take(t, event);
	else if (slice_is(type, "op.state"))
		top_op_event(t, event);
	return 0;
}

void top_done(struct top *t)
{
	top_forget(t);
	free(t->runs);
	free(t->project);
	free(t->message);
}

/* --- what is selected --- */

bool top_is_shown(const struct top *t, const struct top_run *r)
{
	(void)t;
	return !r->hidden;
}

size_t top_shown(const struct top *t, size_t *ret_active)
{
	size_t n = 0;
	*ret_active = 0;
	for (size_t i = 0; i < t->n; i++) {
		if (!top_is_shown(t, &t->runs[i]))
			continue;
		n++;
		*ret_active += !view_ended(t->runs[i].v.state);
	}
	return n;
}

struct top_run *top_selected(struct top *t)
{
	struct top_run *first = NULL;
	for (size_t i = 0; i < t->n; i++) {
		if (!top_is_shown(t, &t->runs[i]))
			continue;
		if (t->runs[i].v.run == t->selected)
			return &t->runs[i];
		if (!first)
			first = &t->runs[i];
	}
	return first;
}

void top_move(struct top *t, int by)
{
	const struct top_run *at = top_selected(t);
	int step = by < 0 ? -1 : 1;
	for (; at && by != 0; by -= step) {
		const struct top_run *to = at;
		do
			to += step;
		while (to >= t->runs && to < t->runs + t->n && !top_is_shown(t, to));
		if (to < t->runs || to >= t->runs + t->n)
			break;
		at = to;
	}
	if (at)
		t->selected = at->v.run;
}
