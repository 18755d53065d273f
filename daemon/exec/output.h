/*
 * The pumps: threads that move what ops print from their pipes into run logs by splice(2), never through this process's memory, so
 * that kill -9 loses no byte (the spawner holds each pipe's read end as well). A run belongs to one pump.
 *
 * All calls and callbacks are on the loop thread.
 */
#ifndef DAEMON_EXEC_OUTPUT_H
#define DAEMON_EXEC_OUTPUT_H

#include <stdint.h>

struct event_base;
struct output;

struct output_totals {
	int64_t stdout_bytes, stderr_bytes, dropped_bytes;
};

struct output_events {
	/* Both pipes of the attempt are at their end (or given up after output_finish) and all bytes are in the log. */
	void (*drained)(void *arg, uint64_t token, const struct output_totals *totals);
	/* The attempt's output grew; coalesced: at most one such call a token and loop turn. Only for watched runs. */
	void (*grew)(void *arg, uint64_t token);
	void *arg;
};

struct output *output_new(struct event_base *base, const char *runs_dir, unsigned pumps, const struct output_events *events);
struct output *output_free(struct output *o);

/* Takes both fds (-1: none). cap 0: none. Also after a restart: goes on where the log ends. */
void output_attach(struct output *o, uint64_t token, int stdout_fd, int stderr_fd, int64_t cap);
/*
 * The op's process tree has ended (or what lives on was let go): take what the pipes hold now, do not wait for their end, and say
 * drained. Calling it for an attempt without pipes also says drained.
 */
void output_finish(struct output *o, uint64_t token);
/* From now on (until 0) `grew` is called for this run. Counts: watch twice, unwatch twice. */
void output_watch(struct output *o, uint64_t run, int delta);
/* The run has ended: close its files. */
void output_run_done(struct output *o, uint64_t run);
/* The disk has no room (ENOSPC on a log): reads stop, ops wait on full pipes; called again each time it was seen. Optional hook. */

#endif
