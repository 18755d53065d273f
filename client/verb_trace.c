/*
 * batchctl trace: a run in the trace event format of Chromium, which Perfetto opens too. One lane
 * (thread) a slot, one slice (X) an op, one arrow (s, f) a dependency; times count from the first
 * op, in microseconds.
 *
 * Perfetto takes a thread 0 for the one that is numbered as the process, and slices of a thread
 * that overlap but do not nest for a mistake.
 */
#include <inttypes.h>

#include "client/json.h"
#include "client/story.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define TRACE_OPS 200000

struct trace_options {
	bool everywhere;
	const char *out;
	struct opt_int limit;
};

#define TRACE_OPT(name, letter, type, field, ...)                                                  \
	{                                                                                          \
		name, letter, type, offsetof(struct trace_options, field), __VA_ARGS__             \
	}

static const struct opt trace_opts[] = {
	TRACE_OPT("out", 'o', OPT_STR, out, "FILE", "write it there instead of to stdout"),
	TRACE_OPT("limit", 0, OPT_INT, limit, "N", "at most the first N ops; default 200000", NULL,
		  1, LIMIT_OPS),
	TRACE_OPT("everywhere", 0, OPT_FLAG, everywhere, NULL,
		  "'last' means the last run of all projects"),
	OPT_END,
};

struct trace {
	struct story *s;
	struct buf *b, one; /* one: the event being made */
	struct pk pk;
	int64_t pid; /* also the lane that shows messages; the slots' are 1 and up */
	bool more;
};

static void trace_begin(struct trace *t, const char *phase)
{
	buf_clear(&t->one);
	t->pk = (struct pk)PK_INIT(&t->one);
	pk_map(&t->pk);
	pk_kstr(&t->pk, "ph", slice_str(phase));
	pk_kint(&t->pk, "pid", t->pid);
}

static void trace_end(struct trace *t)
{
	pk_end(&t->pk);
	buf_adds(t->b, t->more ? ",\n" : "\n");
	json_print_mp(buf_slice(&t->one), JSON_LINE, t->b);
	t->more = true;
}

/* Names a lane, or the whole. */
static void trace_name(struct trace *t, const char *what, int64_t tid, struct slice name)
{
	trace_begin(t, "M");
	pk_kint(&t->pk, "tid", tid);
	pk_kstr(&t->pk, "name", slice_str(what));
	pk_key(&t->pk, "args");
	pk_map(&t->pk);
	pk_kstr(&t->pk, "name", name);
	pk_end(&t->pk);
	trace_end(t);
}

static void trace_sort(struct trace *t, int64_t tid, int64_t place)
{
	trace_begin(t, "M");
	pk_kint(&t->pk, "tid", tid);
	pk_kstr(&t->pk, "name", slice_str("thread_sort_index"));
	pk_key(&t->pk, "args");
	pk_map(&t->pk);
	pk_kint(&t->pk, "sort_index", place);
	pk_end(&t->pk);
	trace_end(t);
}

static void trace_lanes(struct trace *t)
{
	_cleanup_buf_ struct buf name = BUF_INIT;
	struct slice called = mp_get_str(t->s->head, "name");
	buf_addf(&name, "run %" PRId64, t->s->run);
	if (called.len)
		buf_addf(&name, " (%.*s)", SLICE_FMT(called));
	trace_name(t, "process_name", t->pid, buf_slice(&name));
	trace_name(t, "thread_name", t->pid, slice_str("messages"));
	trace_sort(t, t->pid, 0);
	for (uint32_t lane = 0; lane < t->s->n_lanes; lane++) {
		buf_clear(&name);
		buf_addf(&name, "slot %" PRIu32, lane + 1);
		trace_name(t, "thread_name", lane + 1, buf_slice(&name));
		trace_sort(t, lane + 1, lane + 1);
	}
}

static void trace_slice(struct trace *t, int64_t tid, int64_t from_us, int64_t to_us)
{
	trace_begin(t, "X");
	pk_kint(&t->pk, "tid", tid);
	pk_kint(&t->pk, "ts", from_us);
	pk_kint(&t->pk, "dur", to_us - from_us);
}

static void trace_args(struct trace *t, const struct story_op *o)
{
	static const char *const keys[] = {
		"index",	 "id",	   "text",     "state",	       "cause",
		"exit",		 "signal", "attempts", "stdout_bytes", "stderr_bytes",
		"dropped_bytes", "todo",   "error",    "description"
	};
	pk_key(&t->pk, "args");
	pk_map(&t->pk);
	pk_kint(&t->pk, "message", o->message);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct slice value = mp_find(o->op, keys[i]);
		struct mp m = mp_of(value);
		if (value.p && mp_peek(&m) != MP_NIL)
			pk_kraw(&t->pk, keys[i], value);
	}
	pk_kbool(&t->pk, "critical", o->critical);
	pk_end(&t->pk);
}

static void trace_op(struct trace *t, const struct story_op *o)
{
	struct slice id = mp_get_str(o->op, "id"), state = mp_get_str(o->op, "state");
	trace_slice(t, o->lane + 1, o->from_us, o->to_us);
	pk_kstr(&t->pk, "name", id.len ? id : mp_get_str(o->op, "text"));
	pk_kstr(&t->pk, "cat", mp_get_str(o->op, "kind"));
	if (slice_is(state, "failed") || slice_is(state, "interrupted"))
		pk_kstr(&t->pk, "cname", slice_str("terrible"));
	else if (slice_is(state, "cancelled"))
		pk_kstr(&t->pk, "cname", slice_str("bad"));
	trace_args(t, o);
	trace_end(t);
}

/* Of each message (from 0) its first start and its last end, both 0 where it has not begun. It ends
 * no later than the next begins: a service of it may go on. */
static void trace_extents(const struct story *s, uint32_t n, int64_t (*ret)[2])
{
	for (uint32_t i = 0; i < s->n; i++) {
		const struct story_op *o = &s->ops[i];
		if (!o->started || o->message < 1 || o->message > n)
			continue;
		int64_t *at = ret[o->message - 1];
		at[0] = at[1] ? MIN2(at[0], o->from_us) : o->from_us;
		at[1] = MAX2(at[1], o->to_us);
	}
	for (uint32_t i = n, next = n; i-- > 0;) {
		if (!ret[i][1])
			continue;
		if (next < n)
			ret[i][1] = MIN2(ret[i][1], MAX2(ret[next][0], ret[i][0] + 1));
		next = i;
	}
}

static void trace_message(struct trace *t, uint32_t i, struct slice one, int64_t from, int64_t to)
{
	_cleanup_buf_ struct buf name = BUF_INIT;
	struct slice called = mp_get_str(one, "name");
	buf_addf(&name, "%" PRIu32, i + 1);
	if (called.len)
		buf_addf(&name, " %.*s", SLICE_FMT(called));
	trace_slice(t, t->pid, from, to);
	pk_kstr(&t->pk, "name", buf_slice(&name));
	pk_kstr(&t->pk, "cat", slice_str("message"));
	pk_key(&t->pk, "args");
	pk_map(&t->pk);
	pk_kstr(&t->pk, "state", mp_get_str(one, "state"));
	pk_end(&t->pk);
	trace_end(t);
}

static void trace_messages(struct trace *t)
{
	struct mp m = mp_of(mp_find(t->s->head, "messages"));
	struct mp_value list = mp_next(&m);
	uint32_t n = list.type == MP_ARRAY ? list.count : 0;
	_cleanup_free_ int64_t(*at)[2] = xcalloc(n + 1, sizeof(*at));
	int64_t used = 0;
	trace_extents(t->s, n, at);
	for (uint32_t i = 0; i < n; i++) {
		struct slice one = mp_skip(&m);
		if (!at[i][1])
			continue;
		int64_t from = MAX2(at[i][0], used), to = MAX2(at[i][1], from + 1);
		trace_message(t, i, one, from, to);
		used = to;
	}
}

/* One end of an arrow. It belongs to the slice around its time, and a slice ends before its end. */
static void trace_arrow(struct trace *t, const char *phase, uint32_t id, const struct story_op *o)
{
	bool begins = *phase == 's';
	trace_begin(t, phase);
	pk_kint(&t->pk, "tid", o->lane + 1);
	pk_kint(&t->pk, "ts", begins ? o->to_us - 1 : o->from_us);
	pk_kint(&t->pk, "id", id);
	pk_kstr(&t->pk, "name", slice_str("needs"));
	pk_kstr(&t->pk, "cat", slice_str("needs"));
	if (!begins)
		pk_kstr(&t->pk, "bp", slice_str("e"));
	trace_end(t);
}

/* No arrow goes back: where the clock was set back, or several ended in one millisecond. */
static void trace_needs(struct trace *t, const struct story_op *o)
{
	const struct story *s = t->s;
	for (uint32_t i = 0; i < o->ndeps; i++) {
		const struct story_op *on = &s->ops[s->deps[o->dep + i]];
		if (!on->started || on->to_us - 1 > o->from_us)
			continue;
		trace_arrow(t, "s", o->dep + i + 1, on);
		trace_arrow(t, "f", o->dep + i + 1, o);
	}
}

static void trace_events(struct trace *t)
{
	const struct story *s = t->s;
	trace_lanes(t);
	trace_messages(t);
	for (uint32_t i = 0; i < s->n; i++)
		if (s->ops[i].started)
			trace_op(t, &s->ops[i]);
	for (uint32_t i = 0; i < s->n; i++)
		if (s->ops[i].started)
			trace_needs(t, &s->ops[i]);
}

/* What of the run is no event. */
static void trace_other(struct trace *t)
{
	const struct story *s = t->s;
	struct slice name = mp_get_str(s->head, "name");
	buf_clear(&t->one);
	t->pk = (struct pk)PK_INIT(&t->one);
	pk_map(&t->pk);
	pk_kint(&t->pk, "run", s->run);
	pk_kstr(&t->pk, "name", name);
	pk_kstr(&t->pk, "state", mp_get_str(s->head, "state"));
	pk_kint(&t->pk, "first_start", s->from);
	pk_kint(&t->pk, "ops", s->total);
	pk_kint(&t->pk, "ops_shown", s->n);
	pk_kint(&t->pk, "not_started", s->n - s->n_started);
	pk_kraw(&t->pk, "summary", mp_find(s->head, "summary"));
	pk_end(&t->pk);
	json_print_mp(buf_slice(&t->one), JSON_LINE, t->b);
}

static void trace_make(struct story *s, struct buf *b)
{
	struct trace t = { .s = s, .b = b, .one = BUF_INIT, .pid = s->n_lanes + 1 };
	buf_adds(b, "{\"displayTimeUnit\": \"ms\", \"otherData\": ");
	trace_other(&t);
	buf_adds(b, ",\n\"traceEvents\": [");
	trace_events(&t);
	buf_adds(b, "\n]}\n");
	buf_done(&t.one);
}

static int verb_trace(struct ctx *c, void *options)
{
	struct trace_options *o = options;
	_cleanup_buf_ struct buf b = BUF_INIT;
	_cleanup_(story_done) struct story s = { 0 };
	int64_t run;
	int status = story_select(c, o->everywhere, &run);
	if (status == EXIT_OK)
		status =
			story_load(c, run, o->limit.set ? (uint32_t)o->limit.v : TRACE_OPS, -1, &s);
	if (status)
		return status;
	trace_make(&s, &b);
	if (s.n < s.total)
		note(c, "the first %" PRIu32 " of %" PRIu32 " ops: --limit N takes more", s.n,
		     s.total);
	status = story_write(c, o->out, &b);
	if (status == EXIT_OK && o->out)
		note(c, "open '%s' in https://ui.perfetto.dev or chrome://tracing", o->out);
	return status;
}

const struct verb cmd_trace = {
	.name = "trace",
	.run = verb_trace,
	.usage = "[RUN]",
	.help = "a run as a Chrome trace, for Perfetto",
	.more = "Lanes are slots, slices ops, arrows what needs what. Without RUN: the last run of\n"
		"this project. Opens in https://ui.perfetto.dev and chrome://tracing.\n\n"
		"  batchctl trace 12 -o trace.json\n"
		"  batchctl trace last | gzip > trace.json.gz\n",
	.options = trace_opts,
	.options_size = sizeof(struct trace_options),
	.max_args = -1,
};
