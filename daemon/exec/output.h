/*
 * The pumps: threads that move what ops print from their pipes into run logs by splice(2), never
 * through this process's memory, so that kill -9 loses no byte (the spawner holds each pipe's read
 * end as well). A run belongs to one pump, so its log has one writer. Where splice is refused (a
 * pty) bytes are read and written. What comes in large pieces of full pages goes past the page
 * cache, if disk and file system take that as fast (output_take.c), and by way of a second pipe
 * (output_stage.h).
 *
 * A log that cannot be written (no room, an I/O error) fails no op and loses nothing: the run's
 * pipes are left alone, its ops wait on full pipes, one line is logged, and the pump tries again
 * every second. output_finish waits with it, but for ops that output_hurry was called for.
 *
 * All calls and callbacks are on the loop thread; no callback comes before the call that causes it
 * has returned.
 */
#ifndef DAEMON_EXEC_OUTPUT_H
#define DAEMON_EXEC_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

struct event_base;
struct output;

/* Of the attempt, what an earlier life of this process moved included. stdout and stderr count
 * dropped bytes too. */
struct output_totals {
	int64_t stdout_bytes, stderr_bytes, dropped_bytes;
	bool left; /* more was printed, and given up (output_hurry): not in these */
};

struct output_events {
	/* Both pipes of the attempt are at their end (or given up after output_finish) and all
	 * bytes are in the log. Once an attach. */
	void (*drained)(void *arg, uint64_t token, const struct output_totals *totals);
	/* The attempt prints much: the read end (the callee's) of another pipe that is from now on
	 * to be kept with its own (output_stage_kept). NULL: nobody keeps any. */
	void (*staged)(void *arg, uint64_t token, int fd);
	/* The attempt's output grew; coalesced: at most one such call a token and loop turn. Only
	 * for watched runs. */
	void (*grew)(void *arg, uint64_t token);
	void *arg;
};

/* `pumps` threads, 1 or more. Aborts when none can be made. */
struct output *output_new(struct event_base *base, const char *runs_dir, unsigned pumps,
			  const struct output_events *events);
/* Ends the threads and closes all pipes; what is still in them stays there (the spawner has them
 * too). No callback. NULL is fine. */
struct output *output_free(struct output *o);
const char *output_dir(const struct output *o);

/*
 * Takes the fds: of stdout and stderr (-1: none; both: drained follows), and that of the pipe that
 * `staged` of an earlier life was about (-1: none), whose bytes come before those of stdout. cap 0:
 * none. Also after a restart: goes on where the log ends. A token that is attached already: the fds
 * are closed, nothing else happens.
 */
void output_attach(struct output *o, uint64_t token, const int fds[3], int64_t cap);
/*
 * The same for an attempt whose whole stdout comes from the beginning again after a restart (a read
 * op): as many bytes as the log has already are thrown away.
 */
void output_attach_again(struct output *o, uint64_t token, int stdout_fd, int64_t cap);
/*
 * The op's process tree has ended (or what lives on was let go): take what the pipes hold now, do
 * not wait for their end, and say drained. Calling it for an attempt without pipes also says
 * drained. Not to be called after drained.
 */
void output_finish(struct output *o, uint64_t token);
/*
 * The same for an attempt that began in this life of the process, where nothing has come of it and
 * nothing is in its pipes: true, it is let go without a pump's help, and drained is not said.
 */
bool output_finish_silent(struct output *o, uint64_t token) _must_check_;
/*
 * The op was told to end, and does so also where its log cannot be written: what that has not taken
 * some seconds after output_finish (of a read op: after this) is given up. Not for want of room or
 * memory: then its end could not be stored either.
 */
void output_hurry(struct output *o, uint64_t token);
/* What is said of an op whose totals have `left`: exec_result.unread. */
#define OUTPUT_LEFT "it was told to end while its log could not be written (batchd's log says why)"
/*
 * Duplicates of the pipes it is attached to (as in output_attach), for somebody else to keep: -1
 * where there is none, or it is at its end. Nothing of them is read twice: a pipe gives each byte
 * once. 0 or -errno.
 */
int output_dup(struct output *o, uint64_t token, int ret_fds[3]) _must_check_;
/* Is what `staged` gave kept over our death now? Bytes go that way only while it is. */
void output_stage_kept(struct output *o, uint64_t token, bool kept);
/* From now on (until 0) `grew` is called for this run. Counts: watch twice, unwatch twice. */
void output_watch(struct output *o, uint64_t run, int delta);
/* The run has ended: close its files, as soon as its last attempt is drained. */
void output_run_done(struct output *o, uint64_t run);

#endif
