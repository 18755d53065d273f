#include "daemon/on_end.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xalloc.h"
#include "proto/notify_batch.h"
#include "proto/pack.h"

void on_end_run(struct on_end *o, uint64_t run, const char *group)
{
	if (strcmp(group, NOTIFY_GROUP) != 0)
		buf_add(&o->runs, &run, sizeof(run));
}

/* Takes it out of `of` if it is there. */
static bool on_end_take(struct buf *of, uint64_t run)
{
	uint64_t *runs = (uint64_t *)of->p;
	size_t n = of->len / sizeof(*runs);
	for (size_t i = 0; i < n; i++) {
		if (runs[i] != run)
			continue;
		runs[i] = runs[n - 1];
		of->len -= sizeof(*runs);
		return true;
	}
	return false;
}

void on_end_event(struct on_end *o, const struct event *e)
{
	if (o->failed.len && e->type == EVENT_RUN_STATE && run_state_ended(e->row->state) &&
	    on_end_take(&o->failed, e->run))
		buf_add(&o->runs, &e->run, sizeof(e->run));
}

struct on_end_asked {
	struct on_end *o;
	uint64_t run;
};

static void submitted(void *arg, uint64_t by, bool existing, const struct err *err)
{
	struct on_end_asked *a = arg;
	(void)by;
	(void)existing;
	if (err) {
		log_warn("run.on_end of run %" PRIu64 ": %s", a->run, err->text);
		buf_add(&a->o->failed, &a->run, sizeof(a->run));
	}
	free(a);
}

static void on_end_ask(struct on_end *o, struct engine *engine, uint64_t run, const char *batchctl,
		       const char *command)
{
	_cleanup_buf_ struct buf batch = BUF_INIT;
	struct pk pk = PK_INIT(&batch);
	struct on_end_asked *a = xmalloc(sizeof(*a));
	_cleanup_free_ char *key = xasprintf("run.on_end %" PRIu64, run);
	notify_batch_pack(&pk, &(struct notify_batch){ .run = (int64_t)run,
						       .command = slice_str(command),
						       .batchctl = batchctl,
						       .key = key });
	*a = (struct on_end_asked){ o, run };
	struct engine_submit s = { .batch = engine_batch_new(buf_slice(&batch), environ),
				   .done = submitted,
				   .arg = a };
	engine_submit(engine, &s, NULL);
}

void on_end_submit(struct on_end *o, struct engine *engine, const char *batchctl,
		   const char *command)
{
	const uint64_t *runs = (const uint64_t *)o->runs.p;
	for (size_t i = 0; command && i < o->runs.len / sizeof(*runs); i++)
		on_end_ask(o, engine, runs[i], batchctl, command);
	buf_clear(&o->runs);
}

void on_end_done(struct on_end *o)
{
	buf_done(&o->runs);
	buf_done(&o->failed);
}
