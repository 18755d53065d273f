#include "client/explain_end.h"

#include <inttypes.h>

#include "client/explain.h"
#include "client/report.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define CULPRITS 5

struct ending {
	struct ctx *c;
	struct buf *b;
	int64_t run;
	struct slice op, state, cause;
};

static void end_cause(struct buf *b, struct slice op)
{
	report_cause(b, mp_get_str(op, "state"), mp_get_str(op, "cause"),
		     mp_get_int(op, "exit", -1), mp_get_str(op, "signal"), mp_get_str(op, "error"));
}

static void end_command(struct ending *x, const char *before, struct slice op, const char *after)
{
	buf_addf(x->b, "  next: batchctl %s", before);
	explain_name(x->b, x->run, op);
	buf_addf(x->b, "%s\n", after);
}

static bool end_printed(struct slice op)
{
	return mp_get_int(op, "stdout_bytes", 0) + mp_get_int(op, "stderr_bytes", 0) > 0;
}

/* What an exit status or a signal usually means. */
static const struct {
	int exit;
	const char *signal, *text;
} hints[] = {
	{ 127, NULL, "127 is what a shell says when there is no such command" },
	{ 126, NULL, "126 is what a shell says of a file that it may not execute" },
	{ 137, NULL, "137: a child was killed by SIGKILL, which may have been for want of memory" },
	{ 139, NULL, "139: a child was killed by SIGSEGV" },
	{ -1, "SIGKILL", "nobody may have said so: the kernel does it for want of memory" },
	{ -1, "SIGSEGV", "it touched memory that is not its own" },
	{ -1, "SIGPIPE", "what it wrote to was closed" },
};

static void end_hint(struct ending *x)
{
	int64_t exit = mp_get_int(x->op, "exit", -1);
	struct slice signal = mp_get_str(x->op, "signal");
	for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
		if (hints[i].signal ? signal.p && slice_is(signal, hints[i].signal)
				    : slice_is(x->cause, "exit") && hints[i].exit == exit)
			buf_addf(x->b, "  %s\n", hints[i].text);
}

static void end_times(struct ending *x)
{
	int64_t ms = mp_get_int(x->op, "duration_ms", -1), tries = mp_get_int(x->op, "attempts", 0);
	if (ms >= 0) {
		buf_adds(x->b, ", after ");
		duration_human(x->b, ms);
	}
	if (tries > 1)
		buf_addf(x->b, ", in the last of %" PRId64 " tries", tries);
	buf_addc(x->b, '\n');
}

static void end_retry(struct ending *x)
{
	buf_addf(x->b, "  next: batchctl restart --failed %" PRId64 "\n", x->run);
}

static int end_call(struct ending *x, const char *method, int64_t offset, int64_t limit,
		    const char *ops, struct buf *reply)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	pk_map(&pk);
	pk_kint(&pk, "run", x->run);
	pk_kint(&pk, "offset", offset);
	pk_kint(&pk, "limit", limit);
	if (ops)
		pk_kstr(&pk, "ops", slice_str(ops));
	pk_end(&pk);
	return ctx_try(x->c, method, &params, reply, &e);
}

/* One that stood in its way. */
static void end_culprit(struct ending *x, struct slice op)
{
	buf_adds(x->b, "  since ");
	explain_name(x->b, x->run, op);
	buf_adds(x->b, " `");
	text_one_line(x->b, mp_get_str(op, "text"), 100);
	buf_adds(x->b, "` ");
	text_one_line(x->b, mp_get_str(op, "state"), 20);
	buf_adds(x->b, " (");
	end_cause(x->b, op);
	buf_adds(x->b, ")\n");
	if (end_printed(op))
		end_command(x, "log ", op, " -n 20");
}

/* Of what it needs, that which did not succeed; how many there are. */
static uint32_t end_needs(struct ending *x)
{
	_cleanup_buf_ struct buf plan = BUF_INIT;
	uint32_t told = 0;
	if (end_call(x, "run.plan", mp_get_int(x->op, "index", 1), 1, NULL, &plan) != 0)
		return 0;
	struct mp m = mp_of(mp_find(buf_slice(&plan), "ops"));
	mp_next(&m);
	struct mp needs = mp_of(mp_find(mp_skip(&m), "needs"));
	struct mp_value list = mp_next(&needs);
	for (uint32_t n = list.type == MP_ARRAY ? list.count : 0; n > 0 && told < CULPRITS; n--) {
		_cleanup_buf_ struct buf reply = BUF_INIT;
		if (end_call(x, "run.get", mp_next(&needs).i, 1, NULL, &reply) != 0)
			return told;
		struct mp ops = mp_of(mp_find(buf_slice(&reply), "ops"));
		mp_next(&ops);
		struct slice op = mp_skip(&ops);
		if (slice_is(mp_get_str(op, "state"), "succeeded"))
			continue;
		end_culprit(x, op);
		told++;
	}
	return told;
}

/* The failures of the run that came before it: those that ended it there. */
static void end_failures(struct ending *x)
{
	_cleanup_buf_ struct buf reply = BUF_INIT;
	int64_t own = mp_get_int(x->op, "message", 0);
	if (end_call(x, "run.get", 1, CULPRITS, "failed", &reply) != 0)
		return;
	struct mp m = mp_of(mp_find(buf_slice(&reply), "ops"));
	struct mp_value list = mp_next(&m);
	for (uint32_t n = list.type == MP_ARRAY ? list.count : 0; n > 0; n--) {
		struct slice op = mp_skip(&m);
		if (mp_get_int(op, "message", 0) <= own)
			end_culprit(x, op);
	}
}

static void end_because(struct ending *x)
{
	if (!slice_is(x->cause, "dependency"))
		return;
	if (end_needs(x) == 0)
		end_failures(x);
}

static void end_skipped(struct ending *x)
{
	buf_adds(x->b, "  it was not started: ");
	if (slice_is(x->cause, "timeout"))
		buf_adds(x->b, "the time of its message or run was over");
	else if (slice_is(x->cause, "cancel"))
		buf_adds(x->b, "its run was cancelled");
	else if (mp_get_str(x->op, "error").len)
		text_one_line(x->b, mp_get_str(x->op, "error"), 300);
	else
		buf_adds(x->b, "what had to succeed before it did not");
	buf_addc(x->b, '\n');
	end_because(x);
	end_retry(x);
}

static void end_failed(struct ending *x)
{
	buf_adds(x->b, "  ");
	if (slice_is(x->cause, "dependency"))
		buf_adds(x->b, "it was ended because another op of its message failed");
	else
		end_cause(x->b, x->op);
	end_times(x);
	end_hint(x);
	end_because(x);
	if (end_printed(x->op))
		end_command(x, "log ", x->op, " -n 20");
	end_retry(x);
}

static void end_succeeded(struct ending *x)
{
	if (slice_is(x->cause, "reused")) {
		buf_adds(x->b, "  it was done in the run that this one repeats\n");
		return;
	}
	buf_addf(x->b, "  it ended well");
	end_times(x);
	if (end_printed(x->op))
		end_command(x, "log ", x->op, "");
}

void explain_end(struct ctx *c, int64_t run, struct slice op, struct buf *b)
{
	struct ending x = { .c = c,
			    .b = b,
			    .run = run,
			    .op = op,
			    .state = mp_get_str(op, "state"),
			    .cause = mp_get_str(op, "cause") };
	if (slice_is(x.state, "succeeded"))
		end_succeeded(&x);
	else if (slice_is(x.state, "skipped"))
		end_skipped(&x);
	else
		end_failed(&x);
}

void explain_running(struct ctx *c, int64_t run, struct slice op, int margin, struct buf *b)
{
	(void)c;
	buf_addf(b, "%*sbatchctl log -f ", margin, "");
	explain_name(b, run, op);
	buf_adds(b, " shows what it prints, batchctl cancel ");
	explain_name(b, run, op);
	buf_adds(b, " ends it\n");
}
