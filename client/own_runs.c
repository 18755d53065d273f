#include "client/own_runs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

/* The run whose op we are, by its environment; 0: none that this daemon has. */
static int64_t own_run(const struct ctx *c)
{
	const char *owner = getenv("BATCHD_OWNER"), *run = getenv("BATCHD_RUN");
	int64_t id;
	bool here = owner && run && strcmp(owner, c->socket) == 0;
	return here && parse_int(slice_str(run), 1, LIMIT_INT, &id) ? id : 0;
}

/* The run that submitted it, 0: none. *ret_ended: it has ended, as have all that wait for it. */
static int own_parent(struct ctx *c, int64_t run, int64_t *ret_parent, bool *ret_ended)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	pk_kstr(&pk, "ops", slice_str("none"));
	pk_end(&pk);
	int r = ctx_try(c, "run.get", &params, &reply, &e);
	if (r < 0)
		return fail(c, EXIT_NO_DAEMON, "%s", e.text);
	*ret_parent = mp_get_int(buf_slice(&reply), "parent", 0);
	*ret_ended = r || mp_get_int(buf_slice(&reply), "ended", 0) != 0;
	return EXIT_OK;
}

static bool own_take_out(struct selection *sel, int64_t run)
{
	size_t n = 0, had = sel->n;
	for (size_t i = 0; i < had; i++)
		if (sel->v[i].run != run)
			sel->v[n++] = sel->v[i];
	sel->n = n;
	return n < had;
}

int own_runs_leave_out(struct ctx *c, struct selection *sel, bool named)
{
	for (int64_t run = own_run(c), parent; run > 0 && sel->n > 0; run = parent) {
		bool ended;
		int status = own_parent(c, run, &parent, &ended);
		if (status || ended)
			return status;
		if (own_take_out(sel, run) && named)
			return fail(c, EXIT_USAGE,
				    "run %" PRId64 " is the one this runs in: it cannot end while "
				    "that is waited for here",
				    run);
	}
	return EXIT_OK;
}

bool own_runs_named(const struct selector *how)
{
	for (int i = 0; i < how->n; i++)
		if (strcmp(how->words[i], "all") != 0)
			return true;
	return false;
}
