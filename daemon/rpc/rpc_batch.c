/* batch.submit and batch.check. */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/lend.h"
#include "daemon/rpc/rpc.h"
#include "proto/errors.h"
#include "proto/field.h"
#include "proto/mp.h"
#include "proto/notify_batch.h"

/* --- both: the batch is proved and made ready before the handler is called --- */

void *rpc_batch_open(const struct rpc_config *config, const void *params)
{
	static_assert(offsetof(struct params_batch_submit, batch) ==
			      offsetof(struct params_batch_check, batch),
		      "both begin with a batch");
	const struct params_batch_check *p = params;
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

/* A batch, and after it the notifications of its run; answered when all are durable. */
struct submit_job {
	struct rpc_call *call;
	struct buf warnings;	 /* packed array of str, or nothing */
	struct buf notify, env;	 /* raw array of commands, raw map that is their environment */
	uint32_t n_notify, told; /* so many of them are stored */
	uint64_t run;
	bool existing;
	struct err lost; /* why one is not */
};

static void submit_warnings(const struct submit_job *j, struct pk *pk)
{
	struct mp m = mp_of(buf_slice(&j->warnings));
	pk_key(pk, "warnings");
	pk_array(pk);
	for (uint32_t n = j->warnings.len ? mp_next(&m).count : 0; n > 0; n--)
		pk_raw(pk, mp_skip(&m));
	if (j->lost.text[0]) {
		_cleanup_buf_ struct buf text = BUF_INIT;
		buf_addf(&text, "notify: nothing will tell of the run's end: %s", j->lost.text);
		pk_str(pk, buf_slice(&text));
	}
	pk_end(pk);
}

static void submit_free(struct submit_job *j)
{
	buf_done(&j->warnings);
	buf_done(&j->notify);
	buf_done(&j->env);
	free(j);
}

static void submit_answer(struct submit_job *j)
{
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(j->call, &b);
	pk_map(&pk);
	pk_kint(&pk, "run", (int64_t)j->run);
	pk_kbool(&pk, "existing", j->existing);
	submit_warnings(j, &pk);
	pk_end(&pk);
	rpc_reply(j->call, &b);
	submit_free(j);
}

static void submit_told(void *arg, uint64_t by, bool existing, const struct err *err)
{
	struct submit_job *j = arg;
	(void)by;
	(void)existing;
	if (err)
		j->lost = *err;
	if (++j->told == j->n_notify)
		submit_answer(j);
}

/* They have no parent: what tells that a run was cancelled is not cancelled with it. */
static void submit_notify(struct submit_job *j)
{
	const struct rpc_config *config = &j->call->s->config;
	struct notify_batch n = {
		.run = (int64_t)j->run,
		.env_base = j->env.len ? buf_slice(&j->env) : SLICE_NONE,
	};
	uint32_t count = j->n_notify;
	struct mp m = array_open(buf_slice(&j->notify), &count);
	while (count-- > 0) {
		_cleanup_buf_ struct buf batch = BUF_INIT;
		struct pk pk = PK_INIT(&batch);
		n.command = mp_next(&m).bytes;
		notify_batch_pack(&pk, &n);
		struct engine_submit s = { .batch = engine_batch_new(buf_slice(&batch),
								     config->environ_dflt),
					   .done = submit_told,
					   .arg = j };
		engine_submit(config->engine, &s, NULL);
	}
}

static void submit_done(void *arg, uint64_t run, bool existing, const struct err *err)
{
	struct submit_job *j = arg;
	j->run = run;
	j->existing = existing;
	if (err) {
		rpc_fail(j->call, err);
		submit_free(j);
	} else if (j->n_notify) {
		submit_notify(j);
	} else {
		submit_answer(j);
	}
}

static void submit_take_notify(struct submit_job *j, const struct params_batch_submit *p)
{
	if (!j->n_notify)
		return;
	struct slice env = mp_find(p->batch, "env_base");
	buf_addslice(&j->notify, p->notify);
	if (env.p)
		buf_addslice(&j->env, env);
}

void rpc_batch_submit(struct rpc_call *call, const void *params)
{
	struct rpc_conn *c = rpc_conn_of(call);
	struct submit_job *j = xcalloc(1, sizeof(*j));
	struct engine_submit s = { .batch = call->prepared, .done = submit_done, .arg = j };
	const struct params_batch_submit *p = params;
	j->call = call;
	array_open(p->notify, &j->n_notify);
	if (j->n_notify > NOTIFY_MAX) {
		engine_batch_free(call->prepared);
		rpc_failf(call, E_LIMIT, "notify: at most %d commands", NOTIFY_MAX);
		free(j);
		return;
	}
	submit_take_notify(j, p);
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
