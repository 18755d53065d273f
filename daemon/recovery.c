#include "daemon/recovery.h"

#include <inttypes.h>

#include "daemon/engine/engine.h"
#include "daemon/exec/exec.h"
#include "daemon/store/store.h"
#include "daemon/todo_lists.h"

static int recover_run(void *arg, const struct store_run *run, struct err *e)
{
	struct engine_stored_run s = {
		.row = run->row,
		.batch = run->batch,
		.claims = run->claims,
		.env_sum = run->env_sum,
		.ops = run->ops,
		.n_ops = run->n_ops,
		.attempts = run->attempts,
		.n_attempts = run->n_attempts,
	};
	if (engine_recover_run(arg, &s, e))
		return err_prefix(e, "run %" PRIu64 ": ", run->row.run);
	return 0;
}

struct recovery {
	struct engine *engine;
	struct store *store;
	struct exec_local *local;
	bool over; /* the attempt last met, and that is stored */
};

/* What the engine does not take has ended, and that is stored; or the database is a copy from
 * before its run. */
static void recover_attempt(void *arg, const struct exec_known *k)
{
	struct recovery *r = arg;
	uint64_t run = token_run(k->token);
	enum run_state state;
	r->over = false;
	if (engine_recover_attempt(r->engine, k->token, k->pid, k->started_ms, k->age_ms, k->note))
		return;
	r->over = store_run_state(r->store, run, &state) == 0;
	if (r->over)
		return;
	engine_recover_stranger(r->engine, run);
	exec_local_stranger(r->local, k);
}

static int64_t recover_cap(void *arg, uint64_t token)
{
	const struct recovery *r = arg;
	/* All that it printed is in the log as it is to stay, under a cap that may be known no
	 * more. */
	return r->over ? 0 : engine_output_cap(r->engine, token);
}

static void recover_group(void *arg, const struct group_row *row)
{
	engine_load_group(arg, row);
}

static void recovered(void *arg)
{
	exec_local_recovered(arg);
}

int recovery(struct engine *engine, struct store *store, struct exec_local *local,
	     struct todo_lists *lists, struct err *e)
{
	if (store_load_groups(store, recover_group, engine, e) || todo_lists_load(lists, e) ||
	    store_load_runs(store, recover_run, engine, e))
		return 1;
	struct recovery r = { engine, store, local, false };
	exec_local_recover(local, recover_attempt, recover_cap, &r);
	engine_recover_done(engine, store_rebooted(store) || exec_local_is_swept(local));
	engine_after(engine, recovered, local);
	store_mark_boot(store);
	return 0;
}
