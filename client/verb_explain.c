/* batchctl explain: why an op does not run, or why it ended so, and what to do next. */
#include <inttypes.h>

#include "client/explain.h"
#include "client/selectors.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define EXPLAIN_OPS 10 /* of a run without .OP */

struct explain_options {
	bool everywhere;
};

static const struct opt explain_opts[] = {
	{ "everywhere", 0, OPT_FLAG, offsetof(struct explain_options, everywhere), NULL,
	  "'last' means the last run of all projects" },
	OPT_END,
};

static int explain_one(struct ctx *c, int64_t run, const char *op)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, text = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	selector_pack_op(&pk, "op", op);
	pk_end(&pk);
	int status = ctx_call(c, "run.explain", &params, &reply);
	if (status)
		return status;
	if (c->json)
		return ctx_print_json(c, buf_slice(&reply));
	explain_text(c, buf_slice(&reply), &text);
	return ctx_print(c, &text);
}

/* Does a person who asks about the run want to hear of this op? */
static bool explain_worth(struct slice op, bool alone)
{
	struct slice state = mp_get_str(op, "state");
	return alone || !(slice_is(state, "succeeded") || slice_is(state, "running"));
}

static int explain_ops(struct ctx *c, int64_t run, struct slice ops, const char *rest)
{
	struct mp m = mp_of(ops);
	struct mp_value list = mp_next(&m);
	uint32_t n = list.type == MP_ARRAY ? list.count : 0, told = 0, more = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct slice op = mp_skip(&m);
		_cleanup_free_ char *index = xasprintf("%" PRId64, mp_get_int(op, "index", 0));
		if (!explain_worth(op, n == 1))
			continue;
		if (told == EXPLAIN_OPS) {
			more++;
			continue;
		}
		int status = explain_one(c, run, index);
		if (status)
			return status;
		told++;
	}
	if (told == 0)
		note(c,
		     "run %" PRId64 ": nothing of it failed or waits; `batchctl status %" PRId64
		     "`",
		     run, run);
	if (more)
		note(c, "%u%s more op%s: `batchctl status %" PRId64 "` lists %s", more, rest,
		     PLURAL(more), run, more == 1 ? "it" : "them");
	return EXIT_OK;
}

/* All of it that is worth a word: failures first would be out of order, so as they are written. */
static int explain_run(struct ctx *c, int64_t run)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	pk_end(&pk);
	int status = ctx_call(c, "run.get", &params, &reply);
	if (status)
		return status;
	struct slice r = buf_slice(&reply);
	return explain_ops(c, run, mp_find(r, "ops"), mp_get_int(r, "next", 0) ? " or" : "");
}

static int verb_explain(struct ctx *c, void *options)
{
	struct explain_options *o = options;
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	int status = selection_of_operands(c, o->everywhere, true, &sel);
	for (size_t i = 0; status == EXIT_OK && i < sel.n; i++)
		status = sel.v[i].op ? explain_one(c, sel.v[i].run, sel.v[i].op)
				     : explain_run(c, sel.v[i].run);
	return status;
}

const struct verb cmd_explain = {
	.name = "explain",
	.run = verb_explain,
	.usage = "[RUN[.OP]...]",
	.help = "why an op does not run, or why it ended so",
	.more = "Names what it waits for (an op, a run, a slot and who has it, a pause, a time) down\n"
		"to what is at work now, and the command to use next. Of a RUN: all its ops that\n"
		"wait or did not succeed; without one: of the last.\n\n"
		"  batchctl explain 12.deploy\n"
		"  batchctl explain last\n",
	.options = explain_opts,
	.options_size = sizeof(struct explain_options),
	.max_args = -1,
};
