/*
 * The answer of run.explain in words: what an op waits for, down to what is at work, or why it
 * ended so, and the command that helps. Asks batchd about the ops it names.
 */
#ifndef CLIENT_EXPLAIN_H
#define CLIENT_EXPLAIN_H

#include "client/ctx.h"

/* Appends lines. What cannot be asked any more is left out. */
void explain_text(struct ctx *c, struct slice reply, struct buf *b);
/* "12.build" or "12.3": an op (its shape) as it is named on a command line. */
void explain_name(struct buf *b, int64_t run, struct slice op);

#endif
