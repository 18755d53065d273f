/*
 * run.on_end of batchd.conf: a command for every run that has ended, as `batchctl notify RUN CMD`
 * would have it run: a run of its own, known by its key, so there is one of it however often the
 * end is told. Those of the pool `notify` are such runs, and have none.
 *
 * Loop thread. The notification is handed to the store before the run's end is: one whose end is
 * durable is told of, whenever batchd is killed, and one that ends again after a crash not twice.
 */
#ifndef DAEMON_ON_END_H
#define DAEMON_ON_END_H

#include "daemon/engine/engine.h"

struct on_end {
	struct buf runs;   /* uint64_t each: that end in this turn */
	struct buf failed; /* whose notification could not be stored: asked for once more when the
			      end is */
};
#define ON_END_INIT                                                                                \
	{                                                                                          \
		BUF_INIT, BUF_INIT                                                                 \
	}

/* A run ends. Submits nothing, as that is within the engine's turn. */
void on_end_run(struct on_end *o, uint64_t run, const char *group);
/* Between turns, before engine_flush_due: has `command` (NULL: nothing is) run for each that has
 * ended. */
void on_end_submit(struct on_end *o, struct engine *engine, const char *command);
void on_end_done(struct on_end *o);

#endif
