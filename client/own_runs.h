/*
 * An op of a run that calls batchctl must not wait for that run, nor for the run whose op waits for
 * that one: neither ends before the waiting does.
 */
#ifndef CLIENT_OWN_RUNS_H
#define CLIENT_OWN_RUNS_H

#include "client/ctx.h"
#include "client/selectors.h"

/*
 * Takes these runs out of a selection. `named`: somebody asked for just them, then EXIT_USAGE,
 * having said why. Outside of an op, and where the runs are another daemon's: nothing.
 */
int own_runs_leave_out(struct ctx *c, struct selection *sel, bool named) _must_check_;
/* Were they selected by name or number, and not as all there are? */
bool own_runs_named(const struct selector *how);

#endif
