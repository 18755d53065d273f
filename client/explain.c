#include "client/explain.h"

#include <inttypes.h>

#include "client/explain_end.h"
#include "client/report.h"
#include "client/term.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define EXPLAIN_DEPTH 8 /* how far a chain of waits is followed */
#define EXPLAIN_TEXT 100

struct explaining {
	struct ctx *c;
	struct buf *b;
	int64_t run;
	int depth;
};

static void explain_reply(struct explaining *x, struct slice reply);

void explain_name(struct buf *b, int64_t run, struct slice op)
{
	struct slice id = mp_get_str(op, "id");
	buf_addf(b, "%" PRId64 ".", run);
	if (id.len)
		text_one_line(b, id, 80);
	else
		buf_addf(b, "%" PRId64, mp_get_int(op, "index", 0));
}

static void explain_begin(struct explaining *x)
{
	buf_addf(x->b, "%*s", 2 * x->depth, "");
}

/* "12.build `make` running for 3 s" */
static void explain_head(struct explaining *x, struct slice op)
{
	struct slice state = mp_get_str(op, "state");
	int64_t started = mp_get_int(op, "started", 0);
	explain_begin(x);
	term_color(x->b, x->c->color_out, COLOR_BOLD);
	explain_name(x->b, x->run, op);
	term_color(x->b, x->c->color_out, COLOR_NONE);
	buf_adds(x->b, " `");
	text_one_line(x->b, mp_get_str(op, "text"), EXPLAIN_TEXT);
	buf_adds(x->b, "` ");
	term_color(x->b, x->c->color_out, state_color(state));
	text_one_line(x->b, state, 20);
	term_color(x->b, x->c->color_out, COLOR_NONE);
	if (slice_is(state, "running") && started) {
		buf_adds(x->b, " for ");
		duration_human(x->b, MAX2(time_wall_ms() - started, 0));
	}
	buf_addc(x->b, '\n');
}

/* One level down: what the named op itself is at or waits for. */
static void explain_down(struct explaining *x, int64_t run, int64_t op)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	struct explaining down = { .c = x->c, .b = x->b, .run = run, .depth = x->depth + 1 };
	if (op < 1 || down.depth > EXPLAIN_DEPTH)
		return;
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	pk_kint(&pk, "op", op);
	pk_end(&pk);
	if (ctx_try(x->c, "run.explain", &params, &reply, &e) == 0)
		explain_reply(&down, buf_slice(&reply));
}

/* --- a wait, in words --- */

static void wait_op(struct explaining *x, struct slice w)
{
	struct slice what = mp_get_str(w, "for");
	if (slice_is(what, "order"))
		buf_adds(x->b, "its message runs one after another, and this comes first:\n");
	else if (slice_is(what, "stage"))
		buf_adds(x->b, "todos and files of a message go first, and this is not done:\n");
	else if (slice_is(what, "exclusive"))
		buf_adds(x->b, "an exclusive op runs alone, and this is at work:\n");
	else if (mp_get_bool(w, "service"))
		buf_adds(x->b, "it comes when this service is ready:\n");
	else if (mp_get_bool(w, "success"))
		buf_adds(x->b, "it needs this to succeed:\n");
	else
		buf_adds(x->b, "it comes after the end of this:\n");
	explain_down(x, x->run, mp_get_int(w, "op", 0));
}

static void wait_message(struct explaining *x, struct slice w)
{
	int64_t left = mp_get_int(w, "left", 0);
	buf_addf(x->b, "message %" PRId64 " comes first, %" PRId64 " of its ops %s not ended:\n",
		 mp_get_int(w, "message", 0), left, left == 1 ? "has" : "have");
	explain_down(x, x->run, mp_get_int(w, "op", 0));
}

static void wait_run(struct explaining *x, struct slice w)
{
	int64_t run = mp_get_int(w, "run", 0);
	buf_addf(x->b,
		 "run %" PRId64 " starts when run %" PRId64 " has %s: batchctl follow %" PRId64
		 "\n",
		 x->run, run, mp_get_bool(w, "success") ? "succeeded" : "ended", run);
}

static void wait_resume(struct explaining *x, struct slice w)
{
	(void)w;
	buf_addf(x->b, "run %" PRId64 " is paused or held: batchctl resume %" PRId64 "\n", x->run,
		 x->run);
}

static void wait_time(struct explaining *x, struct slice w)
{
	bool retry = slice_is(mp_get_str(w, "for"), "retry");
	buf_adds(x->b, retry ? "its last try failed, and the next begins in "
			     : "it is not to start before its time, in ");
	duration_human(x->b, MAX2(mp_get_int(w, "until", 0) - time_wall_ms(), 0));
	buf_addc(x->b, '\n');
}

static void wait_holders(struct explaining *x, struct slice w)
{
	struct mp m = mp_of(mp_find(w, "holders"));
	struct mp_value list = mp_next(&m);
	uint32_t n = list.type == MP_ARRAY ? list.count : 0;
	for (uint32_t i = 0; i < n; i++) {
		struct slice h = mp_skip(&m);
		buf_addf(x->b, "%s%" PRId64 ".%" PRId64, i ? " " : ": taken by ",
			 mp_get_int(h, "run", 0), mp_get_int(h, "op", 0));
	}
}

static void wait_slots(struct explaining *x, struct slice w)
{
	struct slice what = mp_get_str(w, "for"), group = mp_get_str(w, "group");
	int64_t slots = mp_get_int(w, "slots", 0), weight = mp_get_int(w, "weight", 1);
	if (slice_is(what, "group")) {
		buf_adds(x->b, "group '");
		text_one_line(x->b, group, 80);
		buf_adds(x->b, "' is paused: batchctl group resume ");
		text_one_line(x->b, group, 80);
	} else if (slice_is(what, "jobs")) {
		int64_t jobs = mp_get_int(w, "jobs", 0);
		buf_addf(x->b, "its run has at most %" PRId64 " slot%s (-j), and %s taken", jobs,
			 PLURAL(jobs), jobs == 1 ? "that is" : "they are");
	} else {
		buf_addf(x->b, "waits for %" PRId64 " slot%s of group '", weight, PLURAL(weight));
		text_one_line(x->b, group, 80);
		buf_addf(x->b, "', which has %" PRId64 " and %" PRId64 " in use", slots,
			 mp_get_int(w, "used", 0));
		wait_holders(x, w);
		buf_adds(x->b, "; more of them: batchctl group set ");
		text_one_line(x->b, group, 80);
		buf_addf(x->b, " -j %" PRId64, slots + weight);
	}
	buf_addc(x->b, '\n');
}

static void wait_queue(struct explaining *x, struct slice w)
{
	int64_t left = mp_get_int(w, "left", 0);
	buf_addf(x->b, "%" PRId64 " op%s of its run %s ready before it\n", left, PLURAL(left),
		 left == 1 ? "was" : "were");
}

/* Of a service: what it is not yet. */
static void wait_ready(struct explaining *x, struct slice w)
{
	int64_t port = mp_get_int(w, "port", 0), until = mp_get_int(w, "until", 0);
	buf_adds(x->b, "it is not ready: ");
	if (port) {
		buf_addf(x->b, "nothing listens on port %" PRId64 " of this machine yet", port);
	} else {
		buf_adds(x->b, "it has not printed '");
		text_one_line(x->b, mp_get_str(w, "match"), 80);
		buf_adds(x->b, "' yet");
	}
	if (until) {
		buf_adds(x->b, "; given up in ");
		duration_human(x->b, MAX2(until - time_wall_ms(), 0));
	}
	buf_addc(x->b, '\n');
}

static void wait_other(struct explaining *x, struct slice w)
{
	struct slice what = mp_get_str(w, "for");
	if (slice_is(what, "daemon"))
		buf_adds(x->b, "batchd is stopping: it starts with the next one\n");
	else if (slice_is(what, "system"))
		buf_adds(x->b, "the system has no room for another process: it is tried again\n");
	else
		buf_adds(x->b, "it starts as soon as that is on the disk\n");
}

static const struct {
	const char *what;
	void (*say)(struct explaining *x, struct slice w);
} waits[] = {
	{ "op", wait_op },	   { "order", wait_op },	{ "stage", wait_op },
	{ "exclusive", wait_op },  { "message", wait_message }, { "run", wait_run },
	{ "resume", wait_resume }, { "time", wait_time },	{ "retry", wait_time },
	{ "jobs", wait_slots },	   { "slot", wait_slots },	{ "group", wait_slots },
	{ "queue", wait_queue },   { "ready", wait_ready },
};

static void explain_wait(struct explaining *x, struct slice w)
{
	struct slice what = mp_get_str(w, "for");
	void (*say)(struct explaining * x, struct slice w) = wait_other;
	for (size_t i = 0; i < ARRAY_SIZE(waits); i++)
		if (slice_is(what, waits[i].what))
			say = waits[i].say;
	explain_begin(x);
	buf_adds(x->b, "  ");
	say(x, w);
}

static void explain_waits(struct explaining *x, struct slice list)
{
	struct mp m = mp_of(list);
	struct mp_value v = mp_next(&m);
	for (uint32_t n = v.type == MP_ARRAY ? v.count : 0; n > 0; n--)
		explain_wait(x, mp_skip(&m));
}

static void explain_reply(struct explaining *x, struct slice reply)
{
	struct slice op = mp_find(reply, "op"), state = mp_get_str(op, "state");
	x->run = mp_get_int(reply, "run", x->run);
	explain_head(x, op);
	if (slice_is(state, "waiting") || slice_is(state, "ready") || slice_is(state, "running"))
		explain_waits(x, mp_find(reply, "waits"));
	if (slice_is(state, "waiting") || slice_is(state, "ready"))
		return;
	if (slice_is(state, "running"))
		explain_running(x->c, x->run, op, 2 * x->depth + 2, x->b);
	else if (x->depth == 0)
		explain_end(x->c, x->run, op, x->b);
}

void explain_text(struct ctx *c, struct slice reply, struct buf *b)
{
	struct explaining x = { .c = c, .b = b };
	explain_reply(&x, reply);
}
