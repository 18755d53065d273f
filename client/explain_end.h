/*
 * Why an op ended as it did, and which command tells more or mends it.
 */
#ifndef CLIENT_EXPLAIN_END_H
#define CLIENT_EXPLAIN_END_H

#include "client/ctx.h"

/* Of an op (its shape) that has ended; appends lines. */
void explain_end(struct ctx *c, int64_t run, struct slice op, struct buf *b);
/* Of one that runs: how to watch and end it. `margin` blanks stand before each line. */
void explain_running(struct ctx *c, int64_t run, struct slice op, int margin, struct buf *b);

#endif
