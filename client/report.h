/*
 * What is said of a run that was waited for: one closing line, where the time went, and for each
 * failure its last lines, its cause, the todo it held up and the command that retries just that.
 */
#ifndef CLIENT_REPORT_H
#define CLIENT_REPORT_H

#include "client/ctx.h"
#include "client/model.h"

/* Prints the report of the ended run (a packed run) on stderr; `v` (may be NULL) knows its ops.
 * Nothing under -q. */
void report_run(struct ctx *c, struct slice run, struct run_view *v);
/* The same of one op that has just failed, on stderr, with its last few lines. */
void report_op(struct ctx *c, int64_t run, const struct op_view *o);
/* Its last few lines alone. */
void report_op_tail(struct ctx *c, int64_t run, uint32_t index);
/* "12 ops in 3.1 s; one after another: 18.4 s (5.9x)" of a packed run. `ops`: how many, where its
 * summary does not say yet. Appends. */
void report_closing(struct buf *b, struct slice run, int64_t ops);
/* "exit 1", "killed by SIGSEGV", "timed out", ...: why an op did not succeed. Appends. */
void report_cause(struct buf *b, struct slice state, struct slice cause, int64_t exit,
		  struct slice signal, struct slice error);

#endif
