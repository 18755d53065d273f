/* batch.submit and batch.check. */
#include <assert.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/lend.h"
#include "daemon/rpc/rpc.h"

/* --- both: the batch is proved and made ready before the handler is called --- */

void *rpc_batch_open(const struct rpc_config *config, const void *params)
{
	static_assert(sizeof(struct params_batch_submit) == sizeof(struct params_batch_check),
		      "both are a batch");
	const struct params_batch_submit *p = params;
	return engine_batch_new(p->batch, config->environ_dflt);
}

void *rpc_check_open(const struct rpc_config *config, const void *params)
{
	struct engine_batch *b = rpc_batch_open(config, params);
	engine_batch_advise(b);
	return b;
}

void rpc_batch_drop(void *prepared)
{
	engine_batch_free(prepared);
}

/* --- batch.submit --- */

struct submit_job {
	struct rpc_call *call;
	struct buf warnings;
};

static void submit_done(void *arg, uint64_t run, bool existing, const struct err *err)
{
	struct submit_job *j = arg;
	struct buf b = BUF_INIT;
	if (err) {
		rpc_fail(j->call, err);
	} else {
		struct pk pk = rpc_pk(j->call, &b);
		pk_map(&pk);
		pk_kint(&pk, "run", (int64_t)run);
		pk_kbool(&pk, "existing", existing);
		pk_kraw(&pk, "warnings", j->warnings.len ? buf_slice(&j->warnings) : SLICE_NONE);
		pk_end(&pk);
		rpc_reply(j->call, &b);
	}
	buf_done(&j->warnings);
	free(j);
}

void rpc_batch_submit(struct rpc_call *call, const void *params)
{
	struct rpc_conn *c = rpc_conn_of(call);
	struct submit_job *j = xcalloc(1, sizeof(*j));
	struct engine_submit s = { .batch = call->prepared, .done = submit_done, .arg = j };
	(void)params;
	j->call = call;
	conn_parent(c, &s.parent, &s.parent_op);
	engine_submit(call->s->config.engine, &s, &j->warnings);
}

/* --- batch.check --- */

struct check_job {
	struct rpc_call *call;
	struct buf reply, warnings;
	struct pk pk; /* into the reply */
};

static void batch_checked(void *arg, const struct err *err)
{
	struct check_job *j = arg;
	if (err) {
		rpc_fail(j->call, err);
	} else {
		pk_kraw(&j->pk, "warnings", buf_slice(&j->warnings));
		pk_end(&j->pk);
		rpc_reply(j->call, &j->reply);
	}
	buf_done(&j->reply);
	buf_done(&j->warnings);
	free(j);
}

void rpc_batch_check(struct rpc_call *call, const void *params)
{
	struct check_job *j = xcalloc(1, sizeof(*j));
	struct engine_check k = {
		.batch = call->prepared,
		.plan = &j->pk,
		.warnings = &j->warnings,
		.done = batch_checked,
		.arg = j,
	};
	(void)params;
	j->call = call;
	j->pk = rpc_pk(call, &j->reply);
	pk_map(&j->pk);
	pk_key(&j->pk, "plan");
	engine_check(call->s->config.engine, &k);
}
