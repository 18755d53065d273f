/*
 * How a run went, for who looks at it afterwards (trace, report): its ops with their times, each in
 * a lane as if it had a slot of its own, what each waited for, and the chain of ops that the run's
 * length is made of. Ops that run are taken to last until now.
 */
#ifndef CLIENT_STORY_H
#define CLIENT_STORY_H

#include "client/ctx.h"

struct story_op {
	struct slice op; /* its shape; into story.pages */
	uint32_t index, message;
	int64_t started, ended; /* wall clock, ms; started 0: it never was */
	uint32_t lane;		/* from 0; of those that were started */
	int64_t from_us, to_us; /* since story.from; in a lane none is empty or overlaps another */
	uint32_t dep, ndeps;	/* in story.deps: ops from 0 */
	bool service, critical;
};

struct story {
	struct ctx *c;
	int64_t run, now, from, to; /* from the first start to the last end, wall clock */
	struct slice head;	    /* the run's shape; into story.pages */
	struct story_op *ops;
	uint32_t n, total; /* how many are here, of how many */
	uint32_t n_lanes, n_started;
	uint32_t *deps;
	uint32_t n_deps, cap_deps;
	uint32_t *path; /* the critical path: ops from 0, first to last */
	uint32_t n_path;
	struct buf *pages; /* replies of run.get */
	uint32_t n_pages;
};

/* Loads the first `max` ops, with so many of the first and last bytes of their output (-1: none),
 * and works out the rest. An exit status. */
int story_load(struct ctx *c, int64_t run, uint32_t max, int64_t output,
	       struct story *ret) _must_check_;
void story_done(struct story *s);
/* The one run that was named, or the last. An exit status. */
int story_select(struct ctx *c, bool everywhere, int64_t *ret_run) _must_check_;
/* Writes the text to stdout (NULL, "-"), or, whole or not at all, to the file. An exit status. */
int story_write(struct ctx *c, const char *file, const struct buf *text) _must_check_;

#endif
