/*
 * Being told that a run has ended: a run of its own, with one op, that begins when the other has
 * ended. So it is as durable as any op, happens when the client is long gone, and at most once
 * whatever crashes. It belongs to no project ("/"), so it is in nobody's list nor `last`, and to a
 * pool of its own, so it waits for no slot of the work.
 */
#ifndef CLIENT_NOTIFY_H
#define CLIENT_NOTIFY_H

#include "client/ctx.h"

/* Has `command` (bash) run when `run` has ended; c is connected. The same twice is once. *ret
 * (NULL: not asked) is the run that will do it. An exit status. */
int notify_submit(struct ctx *c, int64_t run, const char *command, int64_t *ret) _must_check_;

#endif
