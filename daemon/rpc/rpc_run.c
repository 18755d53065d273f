/* Methods that show one run or act on it. */
#include "daemon/rpc/rpc.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/text.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/answers.h"
#include "daemon/rpc/logcache.h"
#include "daemon/rpc/rundoc.h"
#include "daemon/rpc/shape.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"

/* --- run.get --- */

/* All that makes a difference to the answer about a run that has ended; no padding. */
struct get_question {
	int64_t method, run, ops, offset, limit, omit_nil;
};

struct get_job {
	struct rpc_call *call;
	struct rundoc doc;
	struct get_question question;
	uint64_t past_rev; /* when it was asked; 0: the answer is not to be kept */
};

static void get_stored(struct sql_reader *r, void *arg)
{
	rundoc_stored(&((struct get_job *)arg)->doc, r);
}

/* What was read while something of the past changed may be either. */
static void get_keep(const struct get_job *j)
{
	const struct rpc_server *s = j->call->s;
	if (j->past_rev && run_state_ended(j->doc.state) && !s->freed &&
	    j->past_rev == store_past_rev(s->config.store))
		answers_keep(s->answers, slice_of(&j->question, sizeof(j->question)), j->past_rev,
			     buf_slice(&j->doc.b));
}

static void get_done(void *arg)
{
	struct get_job *j = arg;
	if (j->doc.failed) {
		rpc_fail(j->call, &j->doc.err);
	} else {
		pk_end(&j->doc.pk);
		get_keep(j);
		rpc_reply(j->call, &j->doc.b);
	}
	rundoc_done(&j->doc);
	free(j);
}

static struct get_job *get_new(struct rpc_call *call, uint64_t run)
{
	struct get_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	rundoc_init(&j->doc, run, call->omit_nil);
	return j;
}

void rpc_run_get(struct rpc_call *call, const void *params)
{
	const struct params_run_get *p = params;
	struct rpc_server *s = call->s;
	struct get_question q = { METHOD_RUN_GET, p->run,   p->ops,
				  p->offset,	  p->limit, call->omit_nil };
	uint64_t past_rev = p->output < 0 ? store_past_rev(s->config.store) : 0;
	if (past_rev && rpc_reply_again(call, slice_of(&q, sizeof(q)), past_rev))
		return;
	struct get_job *j = get_new(call, (uint64_t)p->run);
	j->doc.ops = p->ops;
	j->doc.offset = p->offset;
	j->doc.limit = p->limit;
	j->doc.output = p->output;
	j->doc.env_names = p->offset <= 1;
	if (rundoc_live(&j->doc, s)) {
		get_done(j);
		return;
	}
	if (p->output >= 0)
		j->doc.log = logcache_take(s->logs, j->doc.run);
	j->question = q;
	j->past_rev = past_rev;
	store_read(s->config.store, get_stored, get_done, j);
}

/* --- acting --- */

/* The answer of what acts: the run as it is now, without ops. */
static void reply_run(struct rpc_call *call, uint64_t run)
{
	struct get_job *j = get_new(call, run);
	j->doc.ops = RUN_OPS_NONE;
	if (rundoc_live(&j->doc, call->s))
		get_done(j);
	else
		store_read(call->s->config.store, get_stored, get_done, j);
}

struct acted {
	struct rpc_call *call;
	uint64_t run;
	const char *holds; /* "run 3 %s": what is so already */
};

static void acted_done(void *arg, const struct err *err)
{
	struct acted *a = arg;
	if (err)
		rpc_failf(a->call, E_STORAGE,
			  "run %" PRIu64 " %s; that is not stored yet, and will be when it can: %s",
			  a->run, a->holds, err->text);
	else
		reply_run(a->call, a->run);
	free(a);
}

/* What was asked for is answered when a crash can no longer undo it, or when that cannot be had
 * now. */
static void reply_acted(struct rpc_call *call, uint64_t run, const char *holds)
{
	struct acted *a = xmalloc(sizeof(*a));
	*a = (struct acted){ .call = call, .run = run, .holds = holds };
	engine_answer_after(call->s->config.engine, acted_done, a);
}

struct ended_job {
	struct rpc_call *call;
	uint64_t run;
	struct err err;
};

static void ended_read(struct sql_reader *r, void *arg)
{
	struct ended_job *j = arg;
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct run_row row;
	if (sql_run_get(r, j->run, &row, &strings, &j->err) == 0)
		err_set(&j->err, E_STATE, "run %" PRIu64 " has ended (%s)", j->run,
			run_state_names[row.state]);
}

static void ended_done(void *arg)
{
	struct ended_job *j = arg;
	rpc_fail(j->call, &j->err);
	free(j);
}

static void ended_look(void *arg, const struct err *err)
{
	struct ended_job *j = arg;
	if (!err) {
		store_read(j->call->s->config.store, ended_read, ended_done, j);
		return;
	}
	j->err = *err;
	err_prefix(&j->err, "run %" PRIu64 " ends, and that is not stored yet: ", j->run);
	ended_done(j);
}

/* Answers why a run cannot be acted on and returns false: it has ended, which is told when it is
 * stored, or never was. */
static bool must_be_live(struct rpc_call *call, uint64_t run)
{
	struct engine *e = call->s->config.engine;
	struct run_row row;
	bool ends = engine_run_ends(e, run);
	if (!ends && engine_run_row(e, run, &row))
		return true;
	struct ended_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->run = run;
	if (ends)
		engine_answer_after(e, ended_look, j);
	else
		ended_look(j, NULL);
	return false;
}

/* "there is no signal 'NOPE'": what was given as it may stand in an answer. */
static int cancel_unknown(int sym, const char *what, struct slice given, struct err *err)
{
	_cleanup_buf_ struct buf shown = BUF_INIT;
	text_one_line(&shown, given, LIMIT_NAME_BYTES);
	return err_set(err, sym, "%s '%s'", what, buf_str(&shown));
}

static int cancel_params(struct engine *e, const struct params_run_cancel *p,
			 struct engine_cancel *c, struct err *err)
{
	*c = (struct engine_cancel){
		.run = (uint64_t)p->run,
		.op = (uint32_t)MIN2(p->op.index, UINT32_MAX),
		.grace_ms = p->has_grace ? p->grace_ms : -1,
		.now = p->now,
	};
	if (p->signal.p)
		c->signal = shape_signal_parse(p->signal);
	if (p->signal.p && !c->signal)
		return cancel_unknown(E_PARAMS, "signal: there is no signal", p->signal, err);
	if (p->op.id.p)
		c->op = engine_op_find(e, c->run, p->op.id);
	if (p->op.id.p && !c->op) {
		cancel_unknown(E_NOT_FOUND, "has no op", p->op.id, err);
		return err_prefix(err, "run %" PRIu64 " ", c->run);
	}
	return 0;
}

static const char *cancel_holds(const struct engine_cancel *c)
{
	if (c->signal)
		return c->op ? "has sent the signal to the op" : "has sent the signal to its ops";
	return c->op ? "is ending the op all the same" : "is being ended all the same";
}

void rpc_run_cancel(struct rpc_call *call, const void *params)
{
	const struct params_run_cancel *p = params;
	struct engine *e = call->s->config.engine;
	struct engine_cancel c;
	struct err err = ERR_INIT;
	if (!must_be_live(call, (uint64_t)p->run))
		return;
	if (cancel_params(e, p, &c, &err) || engine_cancel(e, &c, &err))
		rpc_fail(call, &err);
	else
		reply_acted(call, c.run, cancel_holds(&c));
}

void rpc_run_pause(struct rpc_call *call, const void *params)
{
	const struct params_run_pause *p = params;
	struct err err = ERR_INIT;
	if (!must_be_live(call, (uint64_t)p->run))
		return;
	if (engine_pause(call->s->config.engine, (uint64_t)p->run, p->freeze, &err))
		rpc_fail(call, &err);
	else
		reply_acted(call, (uint64_t)p->run, "starts nothing more");
}

void rpc_run_resume(struct rpc_call *call, const void *params)
{
	const struct params_run_resume *p = params;
	struct err err = ERR_INIT;
	if (!must_be_live(call, (uint64_t)p->run))
		return;
	if (engine_resume(call->s->config.engine, (uint64_t)p->run, &err))
		rpc_fail(call, &err);
	else
		reply_acted(call, (uint64_t)p->run, "goes on");
}
