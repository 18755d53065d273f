/*
 * Following runs to their end: one subscription a run, one snapshot, then events; never asking
 * again and again. What to show is the sink's business. Output, where wanted, comes byte-exact and
 * complete for each stream: what events did not carry (printed before the subscription, or lost to
 * a full queue) is fetched by position.
 *
 * When batchd goes away the engine reconnects (30 s) and goes on where it was.
 */
#ifndef CLIENT_FOLLOW_H
#define CLIENT_FOLLOW_H

#include "client/ctx.h"
#include "client/model.h"

/* Any of these may be NULL; without op and output only the end is waited for. `v` and `o` are valid
 * during the call. */
struct follow_sink {
	/* A snapshot was taken: at the start, and again after a reconnection. */
	void (*snapshot)(void *arg, struct run_view *v);
	void (*op)(void *arg, struct run_view *v, struct op_view *o, enum view_state before);
	/* Bytes of stream 0 (stdout) or 1; NULL: output is not asked for. */
	int (*output)(void *arg, struct run_view *v, struct op_view *o, int stream,
		      struct slice data);
	/* That many bytes were dropped at this place by the output cap. */
	void (*dropped)(void *arg, struct run_view *v, struct op_view *o, int stream,
			int64_t bytes);
	/* The op has ended and all its output was delivered. */
	void (*op_end)(void *arg, struct run_view *v, struct op_view *o);
	void (*run)(void *arg, struct run_view *v);
	/* Called before each wait; returns when to be called again at the latest (time_mono_ms),
	 * -1: no need. */
	int64_t (*tick)(void *arg);
	/* The connection is lost; while another is waited for, lines may be said on stderr. */
	void (*lost)(void *arg);
	/* EXIT_OK: go on; anything else ends following with that status. */
	int (*signal)(void *arg, int signal);
};

struct follow {
	struct ctx *c;
	/* .run is set; the rest zero, or loaded: then output goes on where the streams stand.
	 * run_view_done by the owner */
	struct run_view *views;
	int n;
	const char *only_op; /* output of this op only: its number or id; NULL: all */
	bool estimate;	     /* keep the views' eta_ms true */
	int signal_fd;	     /* -1: none */
	const struct follow_sink *sink;
	void *arg;
};

/* EXIT_OK when all runs have ended; each view then holds its `final` run. Else the status that
 * ended the following. */
int follow_runs(struct follow *f) _must_check_;
/* After follow_runs was ended by its sink: nothing more is shown, only the end is waited for.
 * `sink` has neither op nor output. */
int follow_to_end(struct follow *f, const struct follow_sink *sink) _must_check_;
/* The exit status of ended runs: EXIT_OK when all succeeded, else EXIT_RUN. */
int follow_status(const struct follow *f);
/* Delivers what the op printed so far through the sink, from where it stands. An exit status.
 * `goes_on`: follow_runs comes next, and fetches what a lost connection left out. */
int follow_catch_up(struct follow *f, struct run_view *v, struct op_view *o,
		    bool goes_on) _must_check_;
/* Fills the view of an ended run once more, over as many connections as it takes: events need not
 * carry all of an end. An exit status. */
int follow_settle(struct follow *f, struct run_view *v) _must_check_;
/* Fills v (head and ops) from run.get, page by page. An exit status. */
int follow_load(struct ctx *c, struct run_view *v) _must_check_;

#endif
