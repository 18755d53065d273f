/*
 * A thread of its own with a queue in front and completions behind: jobs handed in on the loop
 * thread are worked on by the lane's thread, and their done() runs on the loop thread in the order
 * in which they were finished. The writer and the reader of the store are a lane each.
 *
 * The work function gets everything that is waiting at the time, so that the writer can commit it
 * as one group.
 */
#ifndef DAEMON_STORE_LANE_H
#define DAEMON_STORE_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/list.h"

struct event_base;
struct lane;

struct lane_job {
	struct list node;
	void (*done)(struct lane_job *job); /* on the loop thread; frees the job */
};

/* On the lane's thread: works on all of `jobs` (a list of lane_job.node, in order) and leaves them
 * in the list. */
typedef void (*lane_fn)(void *arg, struct list *jobs);

/*
 * On the lane's thread when jobs have been worked on and their done()s are under way: for what
 * nobody is to wait for. Returns after how many ms it is to be called again, `idle` then, should
 * nothing come before; negative: not again.
 */
typedef int64_t (*lane_rest_fn)(void *arg, bool idle);

/* rest may be NULL. priority: of the done()s on the loop. 0, or -errno when no thread, no fd or no
 * event can be had.
 */
int lane_new(struct event_base *base, int priority, lane_fn work, lane_rest_fn rest, void *arg,
	     struct lane **ret) _must_check_;
/* Works off what is queued, calls every done() and joins the thread. Not from inside a done(). NULL
 * is fine; returns NULL. */
struct lane *lane_free(struct lane *l);
void lane_submit(struct lane *l, struct lane_job *job);
/* Blocks until all that was submitted is worked off, and calls the done()s. For shutdown and tests;
 * not from inside a done(). */
void lane_drain(struct lane *l);
/* Nothing is waiting, under way or to be delivered. */
bool lane_idle(struct lane *l);

#endif
