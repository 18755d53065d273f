#include "daemon/on_end.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xalloc.h"
#include "proto/pack.h"

#define POOL "notify"
#define TIMEOUT_S 600 /* one that hangs holds up the others of its pool no longer */

void on_end_event(struct on_end *o, const struct event *e)
{
	if (e->type != EVENT_RUN_STATE || !run_state_ended(e->row->state) ||
	    (e->row->group && strcmp(e->row->group, POOL) == 0))
		return;
	o->runs = xrealloc(o->runs, o->n + 1, sizeof(*o->runs));
	o->runs[o->n++] = e->run;
}

/* As client/notify.c packs it. */
static void pack_batch(struct pk *pk, uint64_t run, const char *batchctl, const char *command)
{
	_cleanup_free_ char *name = xasprintf("notify-%" PRIu64, run);
	_cleanup_free_ char *key = xasprintf("run.on_end %" PRIu64, run);
	_cleanup_free_ char *number = xasprintf("%" PRIu64, run);
	const char *argv[] = { batchctl ? batchctl : "batchctl", "notify", "--exec", number,
			       command };
	pk_map(pk);
	pk_kstr(pk, "name", slice_str(name));
	pk_kstr(pk, "key", slice_str(key));
	pk_kstr(pk, "cwd", slice_str("/"));
	pk_kstr(pk, "group", slice_str(POOL));
	pk_kint(pk, "timeout", TIMEOUT_S);
	pk_key(pk, "messages");
	pk_array(pk);
	pk_map(pk);
	pk_key(pk, "ops");
	pk_array(pk);
	pk_map(pk);
	pk_kstr(pk, "kind", slice_str("exec"));
	pk_key(pk, "argv");
	pk_array(pk);
	for (size_t i = 0; i < ARRAY_SIZE(argv); i++)
		pk_text(pk, slice_str(argv[i]));
	for (int open = 6; open > 0; open--)
		pk_end(pk);
}

static void submitted(void *arg, uint64_t run, bool existing, const struct err *err)
{
	(void)arg;
	(void)run;
	(void)existing;
	if (err)
		log_warn("run.on_end: %s", err->text);
}

void on_end_submit(struct on_end *o, struct engine *engine, const char *batchctl,
		   const char *command)
{
	for (size_t i = 0; command && i < o->n; i++) {
		_cleanup_buf_ struct buf batch = BUF_INIT;
		struct pk pk = PK_INIT(&batch);
		pack_batch(&pk, o->runs[i], batchctl, command);
		struct engine_submit s = { .batch = engine_batch_new(buf_slice(&batch), environ),
					   .done = submitted };
		engine_submit(engine, &s, NULL);
	}
	o->n = 0;
}

void on_end_done(struct on_end *o)
{
	free(o->runs);
	*o = (struct on_end)ON_END_INIT;
}
