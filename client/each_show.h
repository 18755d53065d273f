/*
 * What each prints: the output of jobs whole, by lines or as it comes, their tags, and the bar
 * under it. Output that is shown whole is read from batchd when the job has ended, so that nothing
 * of it is held here, however long -k makes it wait.
 */
#ifndef CLIENT_EACH_SHOW_H
#define CLIENT_EACH_SHOW_H

#include "client/each.h"
#include "client/model.h"

struct each_show {
	struct each *e;
	struct buf out[2]; /* gathered for stdout and stderr */
	bool stdout_gone;  /* nobody reads it any more */
	bool lost[2];	   /* that stream cannot be written, which was told */
	/* the bar */
	bool bar, live; /* wanted; a terminal, so drawn in place */
	bool painted, dirty;
	int width; /* of what is painted, in columns */
	int64_t painted_ms, began_ms;
	int told; /* where it is no terminal: the last tenth that was told */
	size_t ended, failed, running, before;
};

void each_show_init(struct each_show *s, struct each *e);
void each_show_done(struct each_show *s);
/* All of an ended job's output, to stdout and stderr or to its files. 0; -ECONNRESET: the
 * connection was lost, what is missing comes at the next call. Positive: an exit status. */
int each_show_whole(struct each_show *s, size_t job, int64_t run, struct op_view *o) _must_check_;
/* Bytes of a job that runs: as they come (-u), or whole lines (--line-buffer). */
void each_show_bytes(struct each_show *s, size_t job, struct op_view *o, int stream,
		     struct slice data);
/* The last line, where it has no end. */
void each_show_rest(struct each_show *s, size_t job, struct op_view *o);
/* Writes what was gathered. An exit status. */
int each_show_flush(struct each_show *s) _must_check_;
/* Draws the bar where it is due; when to be called again (time_mono_ms), -1: no need. */
int64_t each_show_tick(struct each_show *s);
/* Takes it away; `last`: leaves its last state behind. */
void each_show_clear(struct each_show *s, bool last);

#endif
