/*
 * What a batch would do, for people: its messages in order, its ops, what waits for what.
 */
#ifndef CLIENT_PLAN_PRINT_H
#define CLIENT_PLAN_PRINT_H

#include "client/ctx.h"

/* Prints the plan of a packed batch that is proved. An exit status. */
int plan_print(struct ctx *c, struct slice batch) _must_check_;
/*
 * batch.check without batchd: 0 and {plan, warnings} in `ret` in its shape, or 1 with e.
 */
int plan_check(struct slice batch, struct buf *ret, struct err *e) _must_check_;

#endif
