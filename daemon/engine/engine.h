/*
 * The engine: runs, messages, ops and who starts when. Pure logic on the loop thread: no SQL, no
 * sockets, no pids. It acts through the ports below and is told what happened by the engine_*
 * calls; ids cross its border, never pointers.
 *
 * Order of things (valkey's rule: finish a turn, commit once, then answer): what happens in a loop
 * turn is gathered in one transaction, handed to ports.commit by engine_flush(); answers and events
 * that tell of an outcome leave when it is durable. A slot that became free is filled at once,
 * without waiting for that commit.
 */
#ifndef DAEMON_ENGINE_ENGINE_H
#define DAEMON_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "daemon/engine/todo.h"
#include "daemon/exec/executor.h"
#include "daemon/record.h"
#include "daemon/txn.h"
#include "proto/batch.h"
#include "proto/pack.h"

struct engine;

enum event_type { EVENT_RUN_STATE, EVENT_OP_STATE, EVENT_OP_OUTPUT, EVENT_TODO_CHANGED };

/* What subscribers are told; everything borrowed for the call. */
struct event {
	enum event_type type;
	int64_t rev, time;
	uint64_t run; /* all but EVENT_TODO_CHANGED, where it is the run that did it, or 0 */
	const struct run_row *row; /* EVENT_RUN_STATE */
	const struct op_row *op;   /* EVENT_OP_STATE */
	uint32_t output_op,
		output_attempt; /* EVENT_OP_OUTPUT: it grew (sizes are read from the run log) */
	const char *list;	/* EVENT_TODO_CHANGED */
	int64_t todo_rev;
	struct slice before, after; /* packed arrays of items */
};

struct engine_ports {
	void (*commit)(void *arg, struct txn *t);	       /* takes t */
	int (*start)(void *arg, const struct exec_spec *spec); /* 0 or -EAGAIN */
	/* `again`: it may have been done before a crash. */
	void (*start_file)(void *arg, uint64_t token, const struct batch_op *op, const char *path,
			   uint32_t umask, int64_t output_cap, bool again);
	void (*cancel_file)(void *arg, uint64_t token);
	/* `note`, 1 to 255, is kept with the attempt and told to the next engine by
	 * engine_recover_attempt. */
	void (*stop)(void *arg, uint64_t token, uint32_t note, int64_t grace_ms);
	void (*signal)(void *arg, uint64_t token, int signal);
	/* engine_op_ready is to be called once the service is, however long it takes, and not
	 * before this returns; NULL: not any more. */
	void (*ready_watch)(void *arg, uint64_t token, const struct batch_ready *ready);
	void (*ack)(void *arg, uint64_t token); /* the attempt's result is durable */
	void (*run_done)(void *arg,
			 uint64_t run); /* the run's end is durable: its files can be closed */
	/* The run ends; what is submitted before the next flush is stored before that is. NULL:
	 * nobody asks. */
	void (*run_ends)(void *arg, uint64_t run, const char *group);
	void (*event)(void *arg, const struct event *e);
	/* The state of a run that is not live: 0, or 1 when there is no such run. */
	int (*run_state)(void *arg, uint64_t run, enum run_state *ret);
	/* What the attempt has printed as far as is known: stdout, stderr, dropped bytes. */
	void (*printed)(void *arg, uint64_t token, int64_t ret[3]);
	/* A write was not stored: before the lists are looked at again, todos_reload is called,
	 * which is to load this one anew; 1 with err: it cannot, and is asked again. */
	void (*todos_lost)(void *arg, const char *list);
	int (*todos_reload)(void *arg, struct err *err);
	/* Of a start with `after`: unless it has begun, engine_op_busy is to be called; NULL: there
	 * are no such starts. */
	void (*recall)(void *arg, uint64_t token);
	/* False: nobody is told of this run's ops, and `event` need not be called for them. NULL:
	 * somebody may be. */
	bool (*op_heard)(void *arg, uint64_t run);
	void *arg;
};

/* Slots of a pool where none were set by hand. */
struct engine_pool {
	const char *name;
	uint32_t slots;
};

struct engine_config {
	uint32_t slots;			 /* of the default pool; 0: max(8, cores + 2) */
	const struct engine_pool *pools; /* the others; one that is not here has 1 */
	size_t n_pools;
	int64_t output_cap; /* where the batch gives none */
	int64_t grace_ms;
	const char *shell;    /* for bash ops without `shell` */
	const char *batchctl; /* for ops that are its own; NULL: the one in their PATH */
	const char *socket;   /* BATCHD_SOCKET of the ops */
	const char *runs_dir; /* RUN.env files are here */
};

struct engine *engine_new(const struct engine_config *config, const struct engine_ports *ports,
			  uint64_t next_run, int64_t rev);
struct engine *engine_free(struct engine *e);

/* Takes effect for what comes next; a pool with more slots than it had starts at once what waits
 * for one. What the config points to is borrowed until the next one. */
void engine_reconfigure(struct engine *e, const struct engine_config *config);

/* --- submitting --- */

/* On the loop thread, after the commit: run != 0, or err. `existing`: the key's first run. */
typedef void (*engine_submit_fn)(void *arg, uint64_t run, bool existing, const struct err *err);

/*
 * A batch proved and made ready, which for a large one takes long; so this may be done on any
 * thread. `batch` is a whole msgpack map, scanned; it is copied. What is wrong with it is said by
 * who takes it.
 */
struct engine_batch;
/* environ_dflt: the base environment where the batch brings none. */
struct engine_batch *engine_batch_new(struct slice batch, char *const *environ_dflt);
void engine_batch_free(struct engine_batch *b); /* NULL is fine */
/* Adds to its warnings what would be better done otherwise; on any thread. For engine_check. */
void engine_batch_advise(struct engine_batch *b);

struct engine_submit {
	struct engine_batch *batch; /* taken */
	uint64_t parent;	    /* run of the op the caller runs in, 0: none */
	uint32_t parent_op;
	uint64_t origin;       /* restart: the run it repeats, 0: none */
	struct slice reused;   /* restart: array of uint32_t, ops (1-based) taken over as
				  succeeded/reused */
	engine_submit_fn done; /* always called exactly once, never before engine_submit returned */
	void *arg;
};
/* Checks, accepts and (after the commit) starts. Warnings (packed array of str) for the caller are
 * appended where not NULL. */
void engine_submit(struct engine *e, const struct engine_submit *s, struct buf *warnings);

/* err: what submit would be refused with; NULL: it would be accepted, or answered with the run that
 * its key has. */
typedef void (*engine_check_fn)(void *arg, const struct err *err);
struct engine_check {
	struct engine_batch *batch; /* taken */
	struct pk *plan;	    /* a map {messages: [...]} is written to it */
	struct buf *warnings;	    /* a packed array of str is appended; both stay until done */
	engine_check_fn done; /* called exactly once: at once, or for a key when the store has been
				 asked */
	void *arg;
};
/* The same checks without accepting. */
void engine_check(struct engine *e, const struct engine_check *k);

/* --- looking --- */

/* Live runs only (the others are in the store), as far as is stored. The strings are the engine's,
 * valid until the loop turn ends. */
bool engine_run_row(struct engine *e, uint64_t run, struct run_row *ret);
/* It has ended, and that is on its way to the store: engine_after waits for it. */
bool engine_run_ends(struct engine *e, uint64_t run);
/* Its messages as a packed array of {index, name, state}, appended. */
bool engine_run_messages(struct engine *e, uint64_t run, struct buf *b);
/* `op` is 1-based; text is put into `text` (cleared first). */
bool engine_op_row(struct engine *e, uint64_t run, uint32_t op, struct buf *text,
		   struct op_row *ret);
/* Index (1-based) of the op with that id in a live run, 0: none. */
uint32_t engine_op_find(struct engine *e, uint64_t run, struct slice id);
/* Does it run, or may it by now: it was handed to the executor, and has not been heard to have
 * ended? */
bool engine_op_at_work(struct engine *e, uint64_t run, uint32_t op);
/* What an op (1-based) of a live run waits for now, as an array of maps: PROTOCOL.md, "wait".
 * False, with nothing packed: there is no such op. */
bool engine_explain(struct engine *e, uint64_t run, uint32_t op, struct pk *pk);
/* What the ops of a live run wait for as it was submitted; false: it is not live. */
bool engine_plan_page(struct engine *e, uint64_t run, struct plan_page *page);
/* Ids of all live runs, ascending. */
void engine_live_runs(struct engine *e, struct buf *ids /* uint64_t each */);
/* Appends a struct need_row for each run that one which has not begun names in needs_runs or
 * after_any_runs. */
void engine_needed_runs(struct engine *e, struct buf *ret);
uint32_t engine_running_ops(struct engine *e);
int64_t engine_rev(struct engine *e);
/* 1 with err (E_STORAGE): the lists are not what is stored, and that cannot be read now. */
int engine_todos_check(struct engine *e, struct err *err) _must_check_;
struct todos *engine_todos(struct engine *e);

/* --- acting on live runs; 0, or 1 with err (E_NOT_FOUND, E_STATE) --- */

struct engine_cancel {
	uint64_t run;
	uint32_t op;	  /* 1-based; 0: the whole run */
	int signal;	  /* 0: stop; else sends only that */
	int64_t grace_ms; /* -1: the default */
	bool now;	  /* `always` messages do not run either */
};
int engine_cancel(struct engine *e, const struct engine_cancel *c, struct err *err) _must_check_;
int engine_pause(struct engine *e, uint64_t run, bool freeze, struct err *err) _must_check_;
int engine_resume(struct engine *e, uint64_t run, struct err *err) _must_check_;

/* What was asked for is durable (err NULL), or was not stored. */
typedef void (*engine_todo_fn)(void *arg, const struct err *err);

/* Calls fn when all that has been done so far is durable; never before this returns. */
void engine_after(struct engine *e, void (*fn)(void *arg), void *arg);
/* As engine_after, for answers to calls that change runs: who asked is not kept waiting for room on
 * a disk. With an err as soon as a commit that must come first has failed; what was done holds all
 * the same, and is stored when it can be. */
void engine_answer_after(struct engine *e, engine_todo_fn fn, void *arg);

/* --- pools of slots --- */

/* What was set by hand, as the store has it, at start-up. */
void engine_load_group(struct engine *e, const struct group_row *row);
/* Changes a pool (slots 0: as they are) and stores it; done as for engine_todo_commit. */
void engine_set_group(struct engine *e, const char *name, uint32_t slots, const bool *paused,
		      engine_todo_fn done, void *arg);

struct engine_group {
	const char *group;
	uint32_t slots, used, runs; /* runs: that have not ended */
	bool by_hand;		    /* the slots were set by group.set */
	bool paused;
};
/* By name, those after `after` (NULL: all), until fn returns false. */
void engine_each_group(struct engine *e, const char *after,
		       bool (*fn)(void *arg, const struct engine_group *g), void *arg);
/* One by name; false: there is none. */
bool engine_get_group(struct engine *e, const char *name, struct engine_group *ret);

/* --- todos through the engine: it adds the event and commits --- */

/*
 * Takes what todo.c did (its records are in t, made with txn_new(NULL, NULL)): commits it, then
 * sends the event, then calls done, err NULL when it is durable. `change` is malloced and the
 * engine's from here on: valid until done returns, then freed. Not for a change with `nothing` set.
 */
void engine_todo_commit(struct engine *e, struct txn *t, struct todo_change *change,
			engine_todo_fn done, void *arg);

/* Lists show writes at once. False: some of what they show is not stored. */
bool engine_todos_stored(const struct engine *e);
/* The same number means that the lists show the same; 0: some of that is not stored. */
uint64_t engine_todos_rev(const struct engine *e);
/* Some of what the lists showed could not be stored (lost), or all of it is. */
typedef void (*engine_stored_fn)(void *arg, bool lost);
/* Calls fn when all writes that have been made are answered by the store, and before the event of
 * any that is made from now on: at once where none is on its way. */
void engine_after_todos(struct engine *e, engine_stored_fn fn, void *arg);

/* The op (1-based) begins to wait for another run: its slots are free meanwhile. Counts: lend
 * twice, take back twice. */
void engine_lend(struct engine *e, uint64_t run, uint32_t op);
/* What it waited for has come: it wants its slots back. True: they are others', and fn is called
 * once they are free, from a later turn; false: it has them. */
bool engine_lend_return(struct engine *e, uint64_t run, uint32_t op, void (*fn)(void *arg),
			void *arg);
/* It does not wait any more, whatever has become of that, and has its slots at once, also beyond
 * the pool's: it works already. `arg` as in engine_lend_return, whose fn is not called any more. */
void engine_lend_end(struct engine *e, uint64_t run, uint32_t op, const void *arg);

/* --- what happened --- */

void engine_op_started(struct engine *e, uint64_t token, int32_t pid, int64_t wall_ms);
void engine_op_ended(struct engine *e, const struct exec_result *r);
/* The executor could not take it now: it goes back to ready and is tried when something has ended,
 * or after a second. */
void engine_op_busy(struct engine *e, uint64_t token);
void engine_op_output(struct engine *e, uint64_t token);
void engine_op_ready(struct engine *e, uint64_t token);

/* Hands this turn's transaction to the store, if there is one. */
void engine_flush(struct engine *e);
/* The store has not taken the last one, which is offered again in a while; or now. */
bool engine_is_behind(const struct engine *e);
void engine_offer_again(struct engine *e);
/* Likewise, at the end of each turn of the loop; results that nobody waits for gather for a moment,
 * so that more of them share a commit. */
void engine_flush_due(struct engine *e);
/* Monotonic ms of the next thing that is due (timeouts, delays), INT64_MAX: none. */
int64_t engine_deadline(struct engine *e);
/* Does what is due. */
void engine_tick(struct engine *e, int64_t now_mono_ms);
/* No new ops are started from here on (daemon.stop). */
void engine_stop_starting(struct engine *e);
/* About to end by its leave: nor is anything claimed any more that has not started. */
void engine_leave(struct engine *e);

/* --- recovery, before anything else; see recover.c --- */

struct engine_stored_run {
	struct run_row row;
	struct slice batch, claims;
	uint64_t env_sum;	       /* of exec_spec */
	const struct op_row *ops;      /* settled ones */
	const struct op_row *attempts; /* earlier tries of ops */
	uint32_t n_ops, n_attempts;
};
int engine_recover_run(struct engine *e, const struct engine_stored_run *s,
		       struct err *err) _must_check_;
/* The executor has this attempt (running, or ended with the result to come), which began at
 * started_ms of the wall clock, age_ms ago (-1: as that tells), and its last stop's note. Unknown
 * tokens: false. */
bool engine_recover_attempt(struct engine *e, uint64_t token, int32_t pid, int64_t started_ms,
			    int64_t age_ms, uint32_t note);
/* The executor has an attempt of this run, and the database does not know it: no other run gets its
 * id. */
void engine_recover_stranger(struct engine *e, uint64_t run);
int64_t engine_output_cap(struct engine *e, uint64_t token);
/* All is told: claimed ops without an attempt are lost if rebooted, else they never started and go
 * on. */
void engine_recover_done(struct engine *e, bool rebooted);

#endif
