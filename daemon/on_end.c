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

struct on_end_asked {
	struct on_end *o;
	uint64_t run;
	bool again;
};

static void submitted(void *arg, uint64_t by, bool existing, const struct err *err)
{
	struct on_end_asked *a = arg;
	(void)by;
	(void)existing;
	if (err) {
		log_warn("run.on_end of run %" PRIu64 ": %s", a->run, err->text);
		if (!a->again)
			buf_add(&a->o->failed, &a->run, sizeof(a->run));
	}
	free(a);
}

static void on_end_ask(struct on_end *o, struct engine *engine, uint64_t run, bool again,
		       const char *command)
{
	_cleanup_buf_ struct buf batch = BUF_INIT;
	struct pk pk = PK_INIT(&batch);
	struct on_end_asked *a = xmalloc(sizeof(*a));
	_cleanup_free_ char *key = xasprintf("run.on_end %" PRIu64, run);
	notify_batch_pack(&pk, &(struct notify_batch){ .run = (int64_t)run,
						       .command = slice_str(command),
						       .key = key });
	*a = (struct on_end_asked){ o, run, again };
	struct engine_submit s = { .batch = engine_batch_new(buf_slice(&batch), environ),
				   .done = submitted,
				   .arg = a };
	engine_submit(engine, &s, NULL);
}

/* Once more when the end is stored, since then a notification can be as well. */
static void on_end_ask_again(struct on_end *o, struct engine *engine, const char *command)
{
	uint64_t *runs = (uint64_t *)o->failed.p;
	size_t n = o->failed.len / sizeof(*runs), kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (engine_run_ends(engine, runs[i]))
			runs[kept++] = runs[i];
		else if (command)
			on_end_ask(o, engine, runs[i], true, command);
	}
	o->failed.len = kept * sizeof(*runs);
}

void on_end_submit(struct on_end *o, struct engine *engine, const char *command)
{
	const uint64_t *runs = (const uint64_t *)o->runs.p;
	on_end_ask_again(o, engine, command);
	for (size_t i = 0; command && i < o->runs.len / sizeof(*runs); i++)
		on_end_ask(o, engine, runs[i], false, command);
	buf_clear(&o->runs);
}

void on_end_done(struct on_end *o)
{
	buf_done(&o->runs);
	buf_done(&o->failed);
}
