#include "client/follow.h"

#include "client/selectors.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

/* What follow_* functions return besides an exit status: the connection is gone, reconnect. */
#define FOLLOW_LOST (-1)
#define PAGE_BYTES (256 << 10)
#define ESTIMATE_MS 1000 /* between two looks at when it ends, at least */

/* conn_call with the two ways to fail told apart; errors have been said. */
static int follow_call(struct ctx *c, const char *method, const struct buf *params, struct buf *ret)
{
	struct err e = ERR_INIT;
	int r = ctx_try(c, method, params, ret, &e);
	if (r < 0)
		return FOLLOW_LOST;
	return r ? fail_err(c, &e) : EXIT_OK;
}

static int follow_page(struct ctx *c, struct run_view *v, int64_t *next)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", v->run);
	pk_kint(&pk, "offset", *next);
	pk_end(&pk);
	int status = follow_call(c, "run.get", &params, &reply);
	if (status)
		return status;
	run_view_head(v, buf_slice(&reply));
	run_view_ops(v, mp_find(buf_slice(&reply), "ops"));
	int64_t following = mp_get_int(buf_slice(&reply), "next", 0);
	*next = following > *next ? following : 0;
	return EXIT_OK;
}

/* All ops from index `next` on; 0: none. */
static int follow_pages(struct ctx *c, struct run_view *v, int64_t next)
{
	while (next) {
		int status = follow_page(c, v, &next);
		if (status)
			return status;
	}
	return EXIT_OK;
}

int follow_load(struct ctx *c, struct run_view *v)
{
	int status = follow_pages(c, v, 1);
	return status == FOLLOW_LOST
		       ? fail(c, EXIT_NO_DAEMON, "batchd went away while run %lld was read",
			      (long long)v->run)
		       : status;
}

/* ---- output by position ---- */

/* Where an op's streams stand, told from a page of run.output. */
struct page {
	struct slice data;
	int64_t offset, size;
	int64_t gap, dropped; /* so many bytes are missing at this position; gap < 0: none */
};

static int follow_read_output(struct follow *f, const struct run_view *v, const struct op_view *o,
			      int stream, int64_t limit, struct buf *reply, struct page *ret)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	int64_t at = o->streams[stream].at;
	pk_map(&pk);
	pk_kint(&pk, "run", v->run);
	pk_kint(&pk, "op", o->index);
	pk_kstr(&pk, "stream", slice_str(stream ? "stderr" : "stdout"));
	if (o->attempt)
		pk_kint(&pk, "attempt", o->attempt);
	pk_kint(&pk, "offset", at);
	pk_kint(&pk, "limit", limit);
	pk_end(&pk);
	int status = follow_call(f->c, "run.output", &params, reply);
	if (status)
		return status;
	struct slice r = buf_slice(reply);
	*ret = (struct page){ .data = mp_get_str(r, "data") };
	ret->offset = mp_get_int(r, "offset", at);
	ret->size = mp_get_int(r, "size", 0);
	ret->dropped = mp_get_int(r, "dropped", 0);
	ret->gap = mp_get_int(r, "gap", -1);
	return EXIT_OK;
}

static int follow_deliver(struct follow *f, struct run_view *v, struct op_view *o, int stream,
			  struct slice data)
{
	o->streams[stream].at += (int64_t)data.len;
	return data.len && f->sink->output ? f->sink->output(f->arg, v, o, stream, data) : EXIT_OK;
}

static void follow_gap(struct follow *f, struct run_view *v, struct op_view *o, int stream,
		       int64_t bytes)
{
	o->streams[stream].at += bytes;
	if (bytes > 0 && f->sink->dropped)
		f->sink->dropped(f->arg, v, o, stream, bytes);
}

/* One step of a stream from where it stands. *ret_end: nothing more is there now. */
static int follow_step(struct follow *f, struct run_view *v, struct op_view *o, int stream,
		       bool *ret_end)
{
	_cleanup_buf_ struct buf reply = BUF_INIT;
	struct page page;
	struct op_stream *s = &o->streams[stream];
	int status = follow_read_output(f, v, o, stream, PAGE_BYTES, &reply, &page);
	if (status)
		return status;
	size_t before = page.gap >= 0 ? (size_t)(page.gap - page.offset) : page.data.len;
	before = MIN2(before, page.data.len);
	int64_t at = s->at;
	status = follow_deliver(f, v, o, stream, slice_of(page.data.p, before));
	if (status)
		return status;
	follow_gap(f, v, o, stream, page.dropped);
	status = follow_deliver(f, v, o, stream,
				slice_of(page.data.p + before, page.data.len - before));
	*ret_end = s->at == at || s->at >= page.size;
	return status;
}

static int follow_stream(struct follow *f, struct run_view *v, struct op_view *o, int stream)
{
	for (bool end = false; !end;) {
		int status = follow_step(f, v, o, stream, &end);
		if (status)
			return status;
	}
	return EXIT_OK;
}

static int follow_streams(struct follow *f, struct run_view *v, struct op_view *o)
{
	int status = follow_stream(f, v, o, 0);
	return status ? status : follow_stream(f, v, o, 1);
}

/* From here on the op's streams are those of another try; what the earlier one left open is ended.
 */
static void follow_attempt(struct follow *f, struct run_view *v, struct op_view *o,
			   uint32_t attempt)
{
	if (attempt <= o->attempt)
		return;
	if (o->attempt) {
		if (f->sink->op_end)
			f->sink->op_end(f->arg, v, o);
		o->streams[0].at = o->streams[1].at = 0;
	}
	o->attempt = attempt;
}

int follow_catch_up(struct follow *f, struct run_view *v, struct op_view *o, bool goes_on)
{
	follow_attempt(f, v, o, o->attempts);
	int status = follow_streams(f, v, o);
	if (status == FOLLOW_LOST && goes_on)
		return EXIT_OK;
	return status == FOLLOW_LOST
		       ? fail(f->c, EXIT_NO_DAEMON, "batchd went away while output was read")
		       : status;
}

static bool follow_wants(const struct follow *f, const struct op_view *o)
{
	int64_t index;
	if (!f->sink->output)
		return false;
	if (!f->only_op)
		return true;
	if (parse_int(slice_str(f->only_op), 0, INT64_MAX, &index))
		return index == o->index;
	return o->id && strcmp(o->id, f->only_op) == 0;
}

/* ---- subscribing ---- */

/*
 * `known`: some output was passed on before, so only what comes is asked for, and what lies between
 * is fetched by position. Else batchd sends it all, in the order it was printed.
 */
static int follow_subscribe(struct follow *f, struct run_view *v, bool known)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", v->run);
	if (f->sink->output)
		pk_kstr(&pk, "output", slice_str("data"));
	if (known)
		pk_kint(&pk, "since", 0);
	pk_end(&pk);
	int status = follow_call(f->c, "run.subscribe", &params, &reply);
	if (status)
		return status;
	struct slice r = buf_slice(&reply), ops = mp_find(r, "ops");
	v->sub = mp_get_int(r, "sub", 0);
	run_view_head(v, r);
	run_view_ops(v, ops);
	return follow_pages(f->c, v, ops.p ? mp_get_int(r, "next", 0) : 1);
}

static int follow_unsubscribe(struct follow *f, const struct run_view *v)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "sub", v->sub);
	pk_end(&pk);
	return follow_call(f->c, "rpc.unsubscribe", &params, NULL);
}

/* Who shows nothing on the way needs no events, only to be told of the end. */
static bool follow_is_blind(const struct follow *f)
{
	return !f->sink->op && !f->sink->output;
}

static void follow_await(struct follow *f, struct run_view *v)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", v->run);
	pk_kint(&pk, "timeout_ms", LIMIT_DURATION_MS);
	pk_end(&pk);
	v->sub = conn_send(f->c->conn, "run.wait", buf_slice(&params));
}

/* The ended run as it will be reported; its subscription is over. */
static int follow_finish(struct follow *f, struct run_view *v)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", v->run);
	pk_kstr(&pk, "ops", slice_str("none"));
	pk_end(&pk);
	int status = follow_call(f->c, "run.get", &params, &v->final);
	if (status)
		return status;
	run_view_head(v, buf_slice(&v->final));
	/* Of an ended run nothing comes; the only one's ends with the connection. */
	if (f->n > 1 && !follow_is_blind(f) && follow_unsubscribe(f, v) == FOLLOW_LOST)
		return FOLLOW_LOST;
	/* Ops that had ended before we came get no event of their own. */
	for (uint32_t i = 1; f->sink->op_end && i <= v->n_ops; i++)
		if (v->ops[i - 1].streams[0].partial.len || v->ops[i - 1].streams[1].partial.len)
			f->sink->op_end(f->arg, v, &v->ops[i - 1]);
	if (f->sink->run)
		f->sink->run(f->arg, v);
	return EXIT_OK;
}

/* What was printed since the connection was lost, or since the caller looked. */
static int follow_past(struct follow *f, struct run_view *v)
{
	for (uint32_t i = 1; i <= v->n_ops; i++) {
		struct op_view *o = run_view_op(v, i);
		if (!o || !follow_wants(f, o))
			continue;
		follow_attempt(f, v, o, o->attempts);
		/* Of one that runs nobody says how much it had printed when we subscribed. */
		bool behind = o->state == VIEW_RUNNING || o->printed[0] > o->streams[0].at ||
			      o->printed[1] > o->streams[1].at;
		int status = behind ? follow_streams(f, v, o) : EXIT_OK;
		if (status)
			return status;
		if (view_ended(o->state) && f->sink->op_end)
			f->sink->op_end(f->arg, v, o);
	}
	return EXIT_OK;
}

static int follow_begin(struct follow *f, struct run_view *v)
{
	bool known = v->n_ops > 0 && f->sink->output;
	if (follow_is_blind(f)) {
		follow_await(f, v);
		return EXIT_OK;
	}
	int status = follow_subscribe(f, v, known);
	if (status)
		return status;
	if (f->sink->snapshot)
		f->sink->snapshot(f->arg, v);
	if (known && (status = follow_past(f, v)) != EXIT_OK)
		return status;
	/* With output, the end comes as an event after all that was printed. */
	bool over = view_ended(v->state) && (known || !f->sink->output);
	return over ? follow_finish(f, v) : EXIT_OK;
}

static int follow_begin_all(struct follow *f)
{
	for (int i = 0; i < f->n; i++) {
		int status = f->views[i].final.len ? EXIT_OK : follow_begin(f, &f->views[i]);
		if (status)
			return status;
	}
	return EXIT_OK;
}

/* ---- events ---- */

static struct run_view *follow_view(struct follow *f, struct slice event)
{
	int64_t sub = mp_get_int(event, "sub", -1);
	for (int i = 0; i < f->n; i++)
		if (f->views[i].sub == sub && !f->views[i].final.len)
			return &f->views[i];
	return NULL;
}

/* When it ends may have changed with an op: looked at once the run is on its way, and where history
 * knows of it again, but not for each of many. */
static int follow_estimate(struct follow *f, struct run_view *v)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	int64_t now = time_mono_ms();
	if (!f->estimate || (v->asked_ms && (!v->eta_ms || now - v->asked_ms < ESTIMATE_MS)))
		return EXIT_OK;
	v->asked_ms = now;
	pk_map(&pk);
	pk_kint(&pk, "run", v->run);
	pk_kstr(&pk, "ops", slice_str("none"));
	pk_end(&pk);
	int status = follow_call(f->c, "run.get", &params, &reply);
	if (status == EXIT_OK)
		run_view_estimate(v, buf_slice(&reply));
	return status;
}

static int follow_op_event(struct follow *f, struct run_view *v, struct slice event)
{
	enum view_state before;
	struct op_view *o = run_view_op_event(v, event, &before);
	if (!o)
		return EXIT_OK;
	if (view_ended(o->state) && follow_wants(f, o)) {
		follow_attempt(f, v, o, o->attempts);
		bool whole = o->streams[0].at >= o->printed[0] && o->streams[1].at >= o->printed[1];
		int status = whole ? EXIT_OK : follow_streams(f, v, o);
		if (status)
			return status;
		if (f->sink->op_end)
			f->sink->op_end(f->arg, v, o);
	}
	if (f->sink->op)
		f->sink->op(f->arg, v, o, before);
	return follow_estimate(f, v);
}

static int follow_event_stream(struct slice event)
{
	struct slice name = mp_get_str(event, "stream");
	if (name.p)
		return slice_is(name, "stderr");
	return mp_get_int(event, "stream", 1) == 2;
}

static int follow_output_event(struct follow *f, struct run_view *v, struct slice event)
{
	struct op_view *o = run_view_op(v, mp_get_int(event, "op", 0));
	struct slice data = mp_get_str(event, "data");
	if (!o || !follow_wants(f, o))
		return EXIT_OK;
	uint32_t attempt = (uint32_t)mp_get_int(event, "attempt", o->attempt);
	if (attempt < o->attempt)
		return EXIT_OK;
	follow_attempt(f, v, o, attempt);
	int stream = follow_event_stream(event);
	int64_t offset = mp_get_int(event, "offset", 0), end = offset + (int64_t)data.len;
	struct op_stream *s = &o->streams[stream];
	if (!data.p || offset > s->at)
		return follow_stream(f, v, o, stream);
	if (end <= s->at)
		return EXIT_OK;
	size_t had = (size_t)(s->at - offset);
	return follow_deliver(f, v, o, stream, slice_of(data.p + had, data.len - had));
}

static int follow_event(struct follow *f, struct slice event)
{
	/* Calls made below reuse the connection's buffers. */
	_cleanup_buf_ struct buf copy = BUF_INIT;
	buf_addslice(&copy, event);
	event = buf_slice(&copy);
	struct run_view *v = follow_view(f, event);
	struct slice type = mp_get_str(event, "type");
	if (!v)
		return EXIT_OK;
	if (slice_is(type, "op.state"))
		return follow_op_event(f, v, event);
	if (slice_is(type, "op.output"))
		return follow_output_event(f, v, event);
	if (slice_is(type, "resync"))
		return follow_unsubscribe(f, v) == FOLLOW_LOST ? FOLLOW_LOST : follow_begin(f, v);
	if (!slice_is(type, "run.state"))
		return EXIT_OK;
	run_view_head(v, event);
	if (view_ended(v->state))
		return follow_finish(f, v);
	if (f->sink->run)
		f->sink->run(f->arg, v);
	return EXIT_OK;
}

/* To what follow_await asked; a wait that has lasted as long as there are numbers for goes on. */
static int follow_reply(struct follow *f, const struct conn_in *in)
{
	for (int i = 0; i < f->n; i++) {
		struct run_view *v = &f->views[i];
		if (v->final.len || v->sub != in->msgid)
			continue;
		if (in->failed)
			return fail_err(f->c, &in->error);
		return mp_get_bool(in->body, "timed_out") ? follow_begin(f, v)
							  : follow_finish(f, v);
	}
	return EXIT_OK;
}

static bool follow_over(const struct follow *f)
{
	for (int i = 0; i < f->n; i++)
		if (!f->views[i].final.len)
			return false;
	return true;
}

static int follow_turn(struct follow *f)
{
	struct conn_in in;
	int64_t deadline = f->sink->tick ? f->sink->tick(f->arg) : -1;
	switch (conn_next(f->c->conn, deadline, &in)) {
	case CONN_EVENT:
		return follow_is_blind(f) ? EXIT_OK : follow_event(f, in.body);
	case CONN_SIGNAL:
		return f->sink->signal ? f->sink->signal(f->arg, in.signal) : EXIT_OK;
	case CONN_CLOSED:
		return FOLLOW_LOST;
	case CONN_REPLY:
		return follow_is_blind(f) ? follow_reply(f, &in) : EXIT_OK;
	case CONN_INPUT:
	case CONN_TIMEOUT:
		break;
	}
	return EXIT_OK;
}

/* A connection again after it was lost; FOLLOW_LOST: try once more. */
static int follow_reconnect(struct follow *f)
{
	if (f->sink->lost)
		f->sink->lost(f->arg);
	int status = ctx_reconnect(f->c, f->signal_fd);
	if (status > EXIT_SIGNAL && f->sink->signal) {
		status = f->sink->signal(f->arg, status - EXIT_SIGNAL);
		return status ? status : FOLLOW_LOST;
	}
	if (status == EXIT_OK)
		conn_watch_signals(f->c->conn, f->signal_fd);
	return status;
}

int follow_runs(struct follow *f)
{
	conn_watch_signals(f->c->conn, f->signal_fd);
	int status = follow_begin_all(f);
	while (status == FOLLOW_LOST || (status == EXIT_OK && !follow_over(f))) {
		if (status == EXIT_OK) {
			status = follow_turn(f);
			continue;
		}
		status = follow_reconnect(f);
		if (status == EXIT_OK)
			status = follow_begin_all(f);
	}
	return status;
}

int follow_to_end(struct follow *f, const struct follow_sink *sink)
{
	int status = EXIT_OK;
	for (int i = 0; i < f->n && status != FOLLOW_LOST; i++)
		if (!f->views[i].final.len)
			status = follow_unsubscribe(f, &f->views[i]);
	f->sink = sink;
	return follow_runs(f);
}

int follow_settle(struct follow *f, struct run_view *v)
{
	int status = follow_pages(f->c, v, 1);
	while (status == FOLLOW_LOST) {
		status = follow_reconnect(f);
		if (status == EXIT_OK)
			status = follow_pages(f->c, v, 1);
	}
	return status;
}

int follow_status(const struct follow *f)
{
	for (int i = 0; i < f->n; i++)
		if (f->views[i].state != VIEW_SUCCEEDED)
			return EXIT_RUN;
	return EXIT_OK;
}
