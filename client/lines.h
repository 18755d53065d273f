/*
 * Output of ops as prefixed lines, whole ones only, so that lines of several ops never mix. A line
 * that never ends is passed on in pieces of LINES_MAX.
 */
#ifndef CLIENT_LINES_H
#define CLIENT_LINES_H

#include "client/ctx.h"
#include "client/model.h"

#define LINES_MAX (64u << 10)

struct lines {
	struct ctx *c;
	bool with_run;	/* prefix "12.3" instead of "3" */
	bool raw;	/* no prefix, bytes as they are */
	bool to_stderr; /* all of it, whatever the stream */
	struct buf out[2];
};

void lines_done(struct lines *l);
/* Takes bytes of an op's stream (0 stdout, 1 stderr); gathers whole lines in out[stream]. */
void lines_add(struct lines *l, struct run_view *v, struct op_view *o, int stream,
	       struct slice data);
/* Ends a line that the op left open. */
void lines_end(struct lines *l, struct run_view *v, struct op_view *o);
void lines_dropped(struct lines *l, struct run_view *v, struct op_view *o, int stream,
		   int64_t bytes);
/* Writes what was gathered. An exit status; EXIT_SIGNAL + SIGPIPE when the reader has gone away. */
int lines_flush(struct lines *l) _must_check_;

#endif
