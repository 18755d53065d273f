/*
 * run.on_end of batchd.conf: a command for every run that has ended, as `batchctl notify RUN CMD`
 * would have it run: a run of its own, known by its key, so there is one of it however often the
 * end is told. Those of the pool `notify` are such runs, and have none.
 *
 * Loop thread. A run whose end is durable when batchd is killed, and whose notification is not yet
 * (they are two commits, one after the other), is not told of: once at most, never twice.
 */
#ifndef DAEMON_ON_END_H
#define DAEMON_ON_END_H

#include "daemon/engine/engine.h"

struct on_end {
	uint64_t *runs; /* that have ended since the last turn */
	size_t n;
};
#define ON_END_INIT                                                                                \
	{                                                                                          \
		NULL, 0                                                                            \
	}

/* Looks at an event of the engine's; submits nothing, as that is within the engine's turn. */
void on_end_event(struct on_end *o, const struct event *e);
/* Between turns: has `command` (NULL: nothing is) run by `batchctl` (NULL: the one in PATH) for
 * each that has ended. */
void on_end_submit(struct on_end *o, struct engine *engine, const char *batchctl,
		   const char *command);
void on_end_done(struct on_end *o);

#endif
