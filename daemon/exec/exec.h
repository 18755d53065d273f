/*
 * The two executors and what they share. exec_local runs bash and exec ops through the spawner,
 * with output; exec_file does write, edit and read ops on worker threads.
 */
#ifndef DAEMON_EXEC_EXEC_H
#define DAEMON_EXEC_EXEC_H

#include "common/err.h"
#include "daemon/exec/executor.h"
#include "daemon/exec/output.h"
#include "daemon/exec/work.h"

struct event_base;

/* --- exec_local.c: the spawner's client --- */

struct exec_local;

/* What the spawner knows of an attempt when batchd connects again. */
struct exec_known {
	uint64_t token;
	bool ended; /* else it runs on: `ended` of exec_events comes when it is over */
	int32_t pid;
	int64_t started_ms; /* wall clock */
	int64_t age_ms;	    /* how long it has run, whatever was done to the clock; -1: not known */
	uint32_t note;	    /* of exec_local_stop, 0: none */
};

struct exec_local_config {
	struct event_base *base;
	const char *spawner_program; /* to start one when none answers and can_start */
	const char *socket; /* the spawner's socket, absolute; its table and lock stand beside it */
	uint64_t store_id; /* of the state folder: a spawner that still holds ops of another refuses
			    */
	bool can_start;	   /* false under systemd, which starts batchd-spawner.service */
	const char *home;  /* file that says where the last batchd's spawner is; NULL: none */
	struct output *output;
	struct exec_events events;
	/*
	 * The spawner had died, and a new one has answered: what the old one ran has been taken
	 * over (statuses of its children come to us when we started it) or reported ended{lost}
	 * where nobody can know.
	 */
	void (*respawned)(void *arg);
	/* No spawner has been there for long, and starting one is not ours: nothing can be run. */
	void (*gone)(void *arg);
};

/*
 * Connects to the spawner, starting it if need be. Blocking, at start-up only. Copies what config
 * points to. With can_start this process becomes a subreaper, and all its children are reaped here
 * (SIGCHLD): nobody else may wait for any. 0 or err.
 */
int exec_local_new(const struct exec_local_config *config, struct exec_local **ret,
		   struct err *e) _must_check_;
/* Closes the connection; ops run on. */
struct exec_local *exec_local_free(struct exec_local *x);
/*
 * At start-up, before the first start(): every attempt the spawner knows, one call each. Attempts
 * that run are adopted at once (their pipes go to `output`, output_attach with cap from `cap_of`),
 * and `ended` comes later, from the loop, for those already ended as well. `known` may acknowledge
 * the attempt.
 */
void exec_local_recover(struct exec_local *x, void (*known)(void *arg, const struct exec_known *k),
			int64_t (*cap_of)(void *arg, uint64_t token), void *arg);
/* From `known`: nobody here knows the attempt. It goes on, is named as trouble for as long as it
 * runs, and acknowledged when it has ended. */
void exec_local_stranger(struct exec_local *x, const struct exec_known *k);
/* After recovery: was what the spawner knew swept away, so that ops it does not know may have run?
 */
bool exec_local_is_swept(const struct exec_local *x);
/* What recovery found lost is stored: the next batchd need not know of it again. */
void exec_local_recovered(struct exec_local *x);

/*
 * Starts an attempt: returns at once, `started` or `ended` follow. 0, or -EAGAIN: the spawner's
 * table or its queue is full, try when a running attempt has ended; or the spawner is an older one
 * that does not start one after another.
 */
int exec_local_start(struct exec_local *x, const struct exec_spec *spec) _must_check_;
/* Unless it has begun, one that was to start after another is `busy`. */
void exec_local_recall(struct exec_local *x, uint64_t token);
/* Starts gathered since are sent together at the end of the loop turn; this sends them now. */
void exec_local_flush(struct exec_local *x);
/*
 * Ends the whole tree: TERM, after grace_ms KILL. Calling again shortens the grace. The note (1 to
 * 255, 0: none) is kept by the spawner before the first signal is sent, until the acknowledgement:
 * the next batchd is told it with what is known of the attempt. An older spawner keeps none.
 */
void exec_local_stop(struct exec_local *x, uint64_t token, uint32_t note, int64_t grace_ms);
/* One signal to the op's process group. */
void exec_local_signal(struct exec_local *x, uint64_t token, int signal);
/* The result is durable: the spawner may forget the token, its record and its pipes. Also for a
 * token it does not know. */
void exec_local_ack(struct exec_local *x, uint64_t token);
/* To be called when output's `drained` comes for an attempt of ours; for others it does nothing. */
void exec_local_drained(struct exec_local *x, uint64_t token, const struct output_totals *totals);
/* To be called when output's `staged` comes, for any attempt: the fd is ours. The spawner keeps it
 * with the attempt's pipes, where it can, and output_stage_kept follows. */
void exec_local_staged(struct exec_local *x, uint64_t token, int fd);
/* Has the spawner execute its program anew where that was replaced since; ops notice nothing. */
void exec_local_renew(const struct exec_local *x);
/* The folder of our socket was removed, and is there again: what the spawner had in it was too. */
void exec_local_replaced(const struct exec_local *x);
/* Is a spawner there that has, or is about to be handed, what it needs to keep of the attempts
 * when we end? False in the moments after one was killed. */
bool exec_local_is_kept(const struct exec_local *x);
/* Of the spawner; 0 while there is none. */
int32_t exec_local_pid(const struct exec_local *x);
/* The run's environment file is of no further use (run ended). */
void exec_local_env_done(struct exec_local *x, uint64_t run);

/* --- exec_file.c --- */

struct batch_op;
struct exec_file;

struct exec_file *exec_file_new(struct event_base *base, struct work *work, struct output *output,
				const struct exec_events *events);
/* After work_free: no job is under way then. */
struct exec_file *exec_file_free(struct exec_file *x);
/*
 * write, edit or read as `op` says, path resolved against cwd (absolute, normalised by the caller),
 * mode of new files from umask; `again`: it may have been done before a crash. What op points to
 * (it may be long) must stay until `ended` comes, with is_file_op set: cause 0 (succeeded),
 * CAUSE_CONFLICT, CAUSE_LIMIT or CAUSE_IO with error.
 * One for which there are no descriptors waits for them.
 */
void exec_file_start(struct exec_file *x, uint64_t token, const struct batch_op *op,
		     const char *path, uint32_t umask, int64_t output_cap, bool again);
/* Writes of one run that were started since the last flush are done in groups, whose ops wait for
 * the disk, and end, together; to be called at the end of the loop turn. */
void exec_file_flush(struct exec_file *x);
/* From output's `drained`: true when the attempt is one of ours (the bytes of a read op go through
 * its output). */
bool exec_file_drained(struct exec_file *x, uint64_t token, const struct output_totals *totals);
/* Has ops that have begun, or are about to; not those that wait for descriptors. */
bool exec_file_is_busy(const struct exec_file *x);
/* batchd is to end. Of what waits for descriptors, now and from now on, that ends which the next
 * batchd could only call lost: with what it waited for as its error. */
void exec_file_leave(struct exec_file *x);
/* Not begun yet: it ends as CAUSE_CANCEL. Begun: it goes on to its end. */
void exec_file_cancel(struct exec_file *x, uint64_t token);

#endif
