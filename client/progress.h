/*
 * A run as it is shown on stderr while somebody waits for it: a block that is redrawn in place on a
 * terminal, else one line for each thing that ended. A sink of follow.h.
 */
#ifndef CLIENT_PROGRESS_H
#define CLIENT_PROGRESS_H

#include "client/follow.h"
#include "client/lines.h"

struct progress {
	struct ctx *c;
	struct follow *f;
	struct lines lines; /* the ops' output, where it is shown */
	bool live;	    /* redraw in place */
	bool plain;	    /* a line for each end */
	bool output;	    /* what the ops print is shown as it comes */
	bool dirty;
	bool fresh;	    /* the runs were just submitted: their first ends are news as well */
	int64_t painted_ms; /* when, time_mono_ms; 0: nothing is on the screen */
	int n_failures;	    /* shown above the block as they came */
	int *widths;	    /* of the lines on the screen */
	int n_lines, cap_lines;
};

/* Which of live, plain and nothing is decided by -q and what stderr is. `output`: show what ops
 * print as prefixed lines. */
void progress_init(struct progress *p, struct ctx *c, struct follow *f, bool output);
void progress_done(struct progress *p);
extern const struct follow_sink progress_sink;	      /* arg: struct progress */
extern const struct follow_sink progress_output_sink; /* the same with output */
/* Takes the block off the screen. */
void progress_clear(struct progress *p);

/*
 * What submit -w and follow do: follow the runs, show progress, then the reports (or under --json
 * the ended runs on stdout). `fresh`: they were just submitted. The exit status.
 */
int progress_follow(struct ctx *c, const int64_t *runs, int n, bool fresh, bool output);

#endif
