/*
 * Being told of the end of a run that is there (proto/notify_batch.h). One that is being submitted
 * is submitted with what tells of its end: batch.submit's `notify`.
 */
#ifndef CLIENT_NOTIFY_H
#define CLIENT_NOTIFY_H

#include "client/ctx.h"

/* Has `command` (bash) run when `run` has ended; c is connected. The same twice is once. *ret
 * (NULL: not asked) is the run that will do it. An exit status. */
int notify_submit(struct ctx *c, int64_t run, const char *command, int64_t *ret) _must_check_;

#endif
