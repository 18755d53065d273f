/*
 * What the engine holds of a run that has not ended, and the engine itself. Private to engine/. A
 * live run is freed when its end is durable; its history then is the store's.
 *
 * Words: an op is *settled* when its outcome is known, *stored* when that is durable. Dependants
 * start at the first, clients hear at the second: what they are shown in between (live_show_...) is
 * what they have been told, so that no answer takes back after a crash what an earlier one said,
 * and events go on from where a snapshot stands. (That something runs is told at once: the spawner
 * remembers it.)
 */
#ifndef ENGINE_LIVE_H
#define ENGINE_LIVE_H

#include "common/table.h"

#include "common/list.h"
#include "daemon/engine/engine.h"
#include "daemon/engine/opfsm.h"
#include "daemon/engine/timers.h"

#define NO_OP UINT32_MAX
#define CLOCK_LOOK_MS 10000 /* how late a time of day may be noticed when the clock was set */
#define SWEEP_PER_TURN 4000
#define STORE_RETRY_MS 1000 /* what could not be stored is offered again */

/* One try at an op that is under way (or waits for its retry delay). */
struct attempt {
	struct live_run *run;
	uint32_t op;		  /* from 0 */
	struct timer timer;	  /* its timeout, or the retry delay */
	struct timer ready_timer; /* a service's: it is to be ready by then */
	int64_t begun_mono_ms;
};

enum claim_state { CLAIM_NONE, CLAIM_ASKED, CLAIM_DURABLE };

/* What is known of the last try of an op, also while it is tried again: live_show_op. */
struct live_try {
	char *error; /* NULL: none */
	int64_t started, ended, duration_ms;
	int64_t stdout_bytes, stderr_bytes, dropped_bytes;
	int64_t spent_ms; /* by all its tries that have ended */
	int32_t pid;
	uint16_t lingering; /* or more */
	int16_t exit;	    /* -1: none */
};

/*
 * All zero until something becomes of it: of a million ops that are held no page of these is in
 * memory, and of those that never start only this is.
 */
struct live_op {
	struct attempt *attempt; /* NULL unless starting, running, stopping or in back-off */
	struct live_try *try;	 /* live_try(), live_try_make(); NULL: never tried */
	uint32_t waits;		 /* dependencies not ended */
	uint32_t next, before;	 /* in the ready queue; NO_OP: last, first */
	uint32_t claim_pos;	 /* place in run->claimed */
	uint32_t drive;		 /* 1-based into run->drives, 0: drives no todo */
	uint16_t attempts;
	uint16_t lent;	/* how many waits for runs it has under way, those whose end it has yet to
			   be told of included: its slots are others' meanwhile */
	uint16_t taken; /* slots it holds: what its weight came to when it started */
	uint8_t signal, phase, cause, stop_cause;
	uint8_t shown : 4;     /* enum op_state, as clients know it */
	uint8_t opened : 1;    /* its message and stage have begun */
	uint8_t recovered : 1; /* claimed before this batchd: it may have been done already */
	uint8_t reused : 1;
	uint8_t served : 1; /* a service that is, or was, ready: what waited for it goes on */
	uint8_t aside : 1;  /* a service that has given its slots back */
	uint8_t noted : 1;  /* that it was told to end is known by the executor's note alone */
	uint8_t kept : 1;   /* its row says that this try runs, as which process, since when */
	uint8_t claim : 2;
};

/* What the executor keeps with an attempt that is told to end, so that the next batchd knows what
 * this one may not come to store. stored, never renumber */
enum stop_note {
	STOP_CAUSE = 0x3f, /* enum op_cause */
	STOP_RUN = 0x40,   /* its run is cancelled */
	STOP_NOW = 0x80,   /* and does not clean up */
};

enum { STAGE_TODOS, STAGE_FILES, STAGE_REST, STAGE_MAX };

struct live_message {
	uint32_t left;	   /* ops not settled */
	uint32_t unstored; /* settled, and not stored */
	uint32_t services; /* served and not settled: these are not in `left` */
	uint32_t stage_left[STAGE_MAX];
	uint8_t stage; /* opened up to this one */
	uint8_t state; /* enum op_state as shown; OP_WAITING, OP_RUNNING, ... */
	uint8_t failed : 1, interrupted : 1, cancelled : 1, timed_out : 1, begun : 1, killed : 1;
	uint8_t going : 1;			  /* an op of it ran when batchd was restarted */
	uint8_t tried : 1, skipped : 1, late : 1; /* an op of it was; late: not begun in time */
	uint32_t n_failed, n_succeeded;		  /* as `halt` counts them */
	bool halted;
	uint32_t serial_next; /* serial: the op whose turn it is, from the message's first */
	uint32_t serial_end;  /* serial: no op from here on is done, one before has failed; 0: none
				 has */
};

/* Moves of todos that are not stored yet; drive.c. */
struct moves {
	struct list open;    /* struct move, in the order in which they were made */
	struct list waiting; /* of these, the ones that could not be stored and are tried again */
	uint64_t made;
};

/* Writes of todo lists: handed to the store, answered by it, and of these failed; todo_commit.c. */
struct todo_writes {
	uint64_t begun, ended, lost;
	struct list waiters; /* struct todo_waiter */
};

struct op_queue {
	uint32_t *ops, n, cap;
	uint32_t next; /* the first that has not been taken */
};

/* What is known of the commands of a run before they are run; by op. */
struct history {
	uint32_t *ms;	/* 0: nothing */
	int64_t *chain; /* and of the longest chain that waits for it */
	uint8_t *rank;	/* higher ones start first */
};
#define RANKS 32

/* A todo that ops of this run drive. */
struct drive {
	char *id;
	uint32_t first; /* of these ops */
	uint32_t left;
	bool set; /* the batch itself sets it, no later than its first op's message */
	bool failed;
};

struct pool {
	char *name;
	uint32_t slots, used;
	uint32_t by_hand;	 /* slots as set by group.set; 0: not */
	uint32_t stored_by_hand; /* as people are told: what of it is stored, and of `paused` */
	bool stored_paused;
	uint32_t n_setting; /* group.set on their way to the store */
	uint32_t holders;   /* live runs that go by it, accepted or not, and whoever changes it */
	uint32_t runs;	    /* of these, accepted ones */
	uint32_t n_claimed_idle; /* by all these; claims.c */
	bool named;		 /* by an accepted batch, since batchd's start */
	bool paused;
	struct live_run **heap; /* runs with ready ops, best first; from index 1 */
	size_t len, cap;
	uint64_t turn;
	struct list back; /* those that lent slots and want them back, first come first (lend.c) */
	UT_hash_handle hh;
};

/* Ops of the run that the executor has, each to be begun after another; successor.c. */
#define SUCCESSORS_MAX 2
struct successor {
	uint32_t op; /* from 0 */
	bool recalled;
	uint8_t input, cause; /* what has come for it meanwhile; INPUT_MAX: nothing */
};
struct successors {
	struct successor list[SUCCESSORS_MAX]; /* each after the one before it */
	uint32_t n;
	uint32_t begun; /* the last one whose turn has come, from 1 */
};

struct live_run {
	uint64_t id;
	UT_hash_handle hh;
	struct engine *e;
	char *batch; /* the stored bytes; the plan borrows from them */
	struct plan *plan;
	char *name, *key, *cwd, *project, *group, *list;
	uint64_t origin, parent;
	uint32_t parent_op;
	uint8_t digest[32];
	uint64_t env_sum; /* of exec_spec; 0: it was not there before this batchd */
	enum run_state state;
	enum run_state told; /* as clients know it */
	uint32_t n_telling;  /* states that wait for their commit */
	int64_t created, started, ended, begun_mono_ms;
	int64_t jumped_ms; /* the wall clock was set by so much since its ops began; recover.c */

	struct live_op *ops;
	struct live_message *messages;
	uint32_t *rdep_first,
		*rdeps;	  /* who waits for an op: rdeps[rdep_first[op] .. rdep_first[op + 1]] */
	uint32_t message; /* the current one; n_messages: none left */
	struct drive *drives;
	uint32_t n_drives;

	/* scheduling */
	struct pool *pool;
	size_t pool_pos; /* in pool->heap; 0: not in it */
	uint64_t turn;
	int64_t priority;
	uint32_t ready_head, n_ready;
	uint32_t ready_ranks;	    /* bits 1 << rank: of which there are some, highest first */
	uint32_t ready_tail[RANKS]; /* the last one of each of these */
	struct history *history;    /* NULL: all are of rank 0 */
	struct took_row *asked;	    /* until it is accepted */
	uint32_t n_asked;
	uint32_t running, running_weight, jobs;
	uint32_t services;    /* served and not settled */
	bool services_told;   /* to end, as all else has */
	uint32_t running_own; /* of these, by batchd itself: file and todo ops */
	uint32_t returning;   /* ops in pool->back */
	bool spaced;	      /* its next op starts when spacing_timer is due */
	uint32_t held_slots;  /* taken for the first ready op while its claim becomes durable */
	bool holds;
	bool exclusive_running;

	/* claims */
	uint32_t *claimed, n_claimed, cap_claimed;
	uint32_t n_claimed_idle; /* claimed and not started */
	uint32_t window;
	uint32_t ahead; /* waiting ops before this one are claimed, or need no claim */
	int64_t last_start_ms;
	uint32_t n_files_unstored; /* file ops that have ended and whose result is not durable */
	bool claims_dirty, in_dirty;
	struct list dirty;
	struct successors successors;

	/* Ops that have ended, and that has yet to be stored and told to their dependants: at once
	 * of those that were started or are reused; of the others, which may be a million, some in
	 * a turn. */
	struct op_queue settled, swept;
	bool settling;
	struct list sweep; /* engine->sweeping */

	struct timer run_timer, message_timer, begin_timer, claims_timer, spacing_timer;
	struct run_summary summary;
	struct run_summary unstored; /* of it, what settled ops count that are not stored */
	bool reused;		     /* some of its ops are */
	bool accepted;		     /* its row is durable */
	bool begun;		     /* nothing stands before its first message any more */
	uint32_t run_waits;	     /* runs it needs that have not ended */
	char *unmet;		     /* "run 7 failed": one it needed, NULL: none */
	bool cancelled, now, timed_out, failed, interrupted, stopping;
	bool paused, held, frozen;
	bool thawed;   /* was frozen once, and is not */
	bool noted;    /* that it was cancelled is known by an executor's note alone */
	bool end_sent; /* its end is on its way to the store */

	engine_submit_fn done;
	void *done_arg;
};

/* A batch on its way in: its run, which is of no engine yet, and the records of that. */
struct engine_batch {
	struct live_run *run; /* NULL: it is refused */
	struct txn *txn;
	struct buf warnings; /* packed array of str */
	struct err err;
};

/* What waits for a commit. */
enum post_kind { POST_ACK, POST_OP, POST_RUN, POST_CLAIM, POST_GONE, POST_CALL, POST_ANSWER };
struct post {
	enum post_kind kind;
	uint64_t id; /* run, or token */
	uint32_t op;
	enum run_state state; /* POST_RUN */
	union {
		void (*fn)(void *arg); /* POST_CALL */
		engine_todo_fn answer; /* POST_ANSWER; NULL: it has been told that it failed */
	};
	void *arg;
};

/* One loop turn's records and what follows their commit. */
struct turn {
	struct engine *e;
	struct txn *txn;
	struct post *posts;
	size_t n_posts, cap_posts;
	uint64_t moves; /* made before it was handed over: it is stored after these */
	int64_t due_ms; /* to be handed over then, */
	bool hurry;	/* or at once: somebody waits for it */
};

struct engine {
	struct engine_config config;
	struct engine_ports ports;
	struct live_run *runs; /* by id */
	struct pool *pools;    /* by name */
	struct todos *todos;
	struct timers timers;
	struct timer retry_timer, lease_timer, linger_timer;
	int64_t wall_ahead_ms,
		wall_set_by_ms; /* at the start; and since, see todos_clock_was_set */
	int64_t lease_at;    /* what lease_timer is for, wall clock; INT64_MAX: it is not armed */
	int64_t lease_after; /* monotonic: no sooner, the last try was not stored */
	struct moves moves;
	struct todo_writes writes;
	struct turn *turn;    /* being gathered; NULL: nothing yet */
	struct turn *failed;  /* to be committed again */
	struct turn *held;    /* to be committed when moves before it are stored */
	struct list dirty;    /* runs whose claims changed */
	struct list sweeping; /* runs whose `swept` is not empty */
	uint32_t sweep_left;  /* ops that may still be taken from there into `turn` */
	struct list back;     /* lenders that have their slots again and are to be told (lend.c) */
	uint64_t next_run;
	int64_t rev, rev_stored;
	int64_t now_ms; /* monotonic, at the last look */
	uint32_t running;
	bool committing, in_trouble;
	bool todos_lost; /* todos_reload is to be called before `todos` is used: engine_todos */
	bool no_starts, scheduling;
	bool busy; /* the executor is full: no starts until something has ended, or the timer */
	struct timer busy_timer;
};

/* --- live.c: making, freeing, rows --- */
/* Takes batch and plan; NULL, with nothing taken: there is no memory for so many ops. On any
 * thread: it is of no engine yet. */
struct live_run *live_new(char *batch, struct plan *plan);
void live_join(struct live_run *r, struct engine *e, uint64_t id);
struct live_run *live_free(struct live_run *r);
/* Its row is durable, and its pool has a run more. */
void live_accept(struct live_run *r);
struct live_run *live_find(struct engine *e, uint64_t id);
/* As they are, for the store. */
void live_fill_row(struct live_run *r, struct run_row *ret);
void live_fill_op(struct live_run *r, uint32_t op, struct buf *text, struct op_row *ret);
extern const struct live_try live_no_try;
static inline const struct live_try *live_try(const struct live_op *o)
{
	return o->try ? o->
	try:
		&live_no_try;
}
/* For writing. */
struct live_try *live_try_make(struct live_op *o);
/* Nothing is known of how its last try went. */
void live_forget_try(struct live_op *o);
/* It came to no exit status: a timeout, or told to end between two tries. */
void live_no_exit(struct live_op *o);
/* Sizes as the run's log has them: where nobody else knows what the attempt printed. */
void live_take_printed(struct engine *e, struct live_op *o, uint64_t token);
void live_pack_messages(struct live_run *r, struct buf *b);
/* As far as they are stored, for everyone else. */
void live_show_row(struct live_run *r, struct run_row *ret);
void live_show_op(struct live_run *r, uint32_t op, struct buf *text, struct op_row *ret);
void live_show_messages(struct live_run *r, struct buf *b);
void live_pack_plan(const struct live_run *r, struct pk *pk, struct buf *text);
uint8_t live_stage(const struct plan_op *op);
bool live_is_file(const struct plan_op *op); /* write, edit, read */
bool live_in_serial(const struct live_run *r, uint32_t op);
struct plan_message *live_message_of(struct live_run *r, uint32_t op);

/* --- turn.c: the transaction of a loop turn and what follows it --- */
struct txn *turn_txn(struct engine *e);
/* For what nobody waits for. */
struct txn *turn_txn_later(struct engine *e);
/* What has gathered is stored at once. */
void turn_hurry(struct engine *e);
void turn_post(struct engine *e, enum post_kind kind, uint64_t id, uint32_t op);
void turn_emit_op(struct live_run *r, uint32_t op);
void turn_emit_run(struct live_run *r);
void turn_emit_todo(struct engine *e, const struct todo_change *c);
/* The state that the run has now is shown and told when it is stored. */
void turn_tell_run(struct live_run *r);
void turn_store_op(struct live_run *r, uint32_t op);
/* Of an op that has yet to end, for the batchd after this one: its process, its start, and why it
 * was told to end (CAUSE_NONE: it was not). */
void turn_store_going(struct live_run *r, uint32_t op, enum op_cause stop);
void turn_store_run(struct live_run *r);
void turn_store_run_later(struct live_run *r);
void turn_retry(struct engine *e);
/* A commit failed: who waits for an answer to what is behind it (engine_answer_after) has it. */
void turn_fail_answers(struct engine *e, const struct err *err);
/* What was never stored: the spawner, or the next batchd, knows. */
void turn_drop(struct engine *e);
/* A move is stored, or has come to nothing. */
void turn_unhold(struct engine *e);
/* Something cannot be stored now, for daemon.status and once for the log; or something was. */
void turn_in_trouble(struct engine *e, const struct err *err);
void turn_out_of_trouble(struct engine *e);
/* Has turn_retry called in a while. */
void turn_retry_later(struct engine *e);

/* --- pool.c: which pools there are --- */
/* Makes it where there is none. Who holds one gives it back, and then it may be gone. */
struct pool *pool_hold(struct engine *e, const char *name);
void pool_release(struct engine *e, struct pool *p);
void pools_free(struct engine *e);

/* --- todo_commit.c: writes of todo lists on their way --- */
void todo_writes_drop(struct engine *e);

/* --- history.c --- */
/* What the store is to be asked about its commands, in `asked`; on any thread. */
void history_ask(struct live_run *r);
/* It has answered: ranks, before anything of the run is ready. */
void history_take(struct live_run *r);
void history_free(struct live_run *r);
/* op_row.cmd of an op that has ended. */
uint64_t history_cmd(const struct live_run *r, uint32_t op, const struct batch_op *spec);
/* Fills in eta_ms and eta_partial. */
void history_estimate(const struct live_run *r, struct run_row *row);

/* --- sched.c: slots, ready queues --- */
/* To the end of those of its rank in the run's ready queue, or before these. */
void sched_push(struct live_run *r, uint32_t op);
void sched_push_front(struct live_run *r, uint32_t op);
void sched_remove(struct live_run *r, uint32_t op);
void sched_update(struct live_run *r); /* something about its eligibility changed */
/* Would an op of it that is ready be the next to start, given slots for it? */
bool sched_is_next(const struct live_run *r);
void sched_spaced(struct live_run *r);		     /* its spacing_timer is due */
void sched_release(struct live_run *r, uint32_t op); /* its slots are free */
void sched_aside(struct live_run *r, uint32_t op);   /* a service: it runs on without slots */
void sched_adopt(struct live_run *r,
		 uint32_t op);	  /* it runs already: takes its slots, also beyond the pool's */
void sched_run(struct engine *e); /* starts what can start */
/* Slots the op takes. File and todo ops take none: they are done by batchd itself. One heavier than
 * its pool takes the pool whole. */
uint32_t sched_weight(const struct live_run *r, uint32_t op);

/* --- lend.c: slots of ops that wait for runs --- */
/* The op has ended: it takes nothing back, and whoever waits for that is told. */
void lend_op_ended(struct live_run *r, uint32_t op);
/* Gives back what was lent, as far as there are slots; false: somebody still waits for them, and
 * nothing may start. */
bool lend_give_back(struct pool *p);
void lend_list_free(struct list *back);

/* --- start.c: from ready to the executor --- */
int start_op(struct live_run *r, uint32_t op);
/* A command that is to begin when that attempt has ended well. 0 or -EAGAIN; nothing is noted yet, */
int start_after(struct live_run *r, uint32_t op, uint64_t after);
/* and this notes that it has begun. */
void start_noted(struct live_run *r, uint32_t op);
/* What a command op executes: its shell, or the first of argv. */
struct slice start_program(const struct live_run *r, const struct batch_op *spec);

/* --- successor.c --- */
/* The op is the executor's: so may be those that wait for it. */
void successor_offer(struct live_run *r, uint32_t op);
bool successor_is(const struct live_run *r, uint32_t op);
/* None is to begin now. The answer may be that one has. */
void successor_recall(struct live_run *r);
/* Is the input one for a successor? Then it has effect when the executor has answered. */
bool successor_takes(struct live_run *r, uint32_t op, enum op_input input, enum op_cause cause);
/* What the executor says of an attempt: it has begun (and perhaps ended); and false unless it was
 * one that is given back. */
void successor_begun(struct engine *e, uint64_t token);
bool successor_back(struct engine *e, uint64_t token);

/* --- claims.c --- */
/* Whether doing the op twice would differ from doing it once. */
bool claims_needed(const struct live_run *r, uint32_t op);
void claims_ask(struct live_run *r, uint32_t op);
void claims_drop(struct live_run *r, uint32_t op);
/* One of its ops is being started. */
void claims_started(struct live_run *r);
/* Sets op->attempts. */
void claims_set_tries(struct live_run *r, uint32_t op, uint16_t n);
/* What is claimed and has not started by then goes back; of what runs then the facts are stored. */
void claims_watch(struct live_run *r);
/* Slots that nothing runs in and nothing is claimed for. */
uint32_t claims_room(const struct pool *p);
void claims_durable(struct live_run *r, uint32_t op);
/* May it start, as far as what must be durable before it goes? */
bool claims_clear(const struct live_run *r, uint32_t op);
void claims_stalled(struct live_run *r);
void claims_flush(struct engine *e);
void claims_withdraw(struct live_run *r);
/* All that has not started goes back; nothing of the run may start after it. */
void claims_give_back(struct live_run *r);
/* They are stored again with the next commit. */
void claims_mark_dirty(struct live_run *r);

/* --- flow.c: messages, dependencies, outcomes --- */
void flow_begin(struct live_run *r);
/* Whether the message is to be done, as things stand. */
bool flow_message_wanted(const struct live_run *r, uint32_t message);
/* The op counts as succeeded: its outcome is another run's. */
void flow_reuse(struct live_run *r, uint32_t op);
/* It may be that all it waits for is there. */
void flow_consider(struct live_run *r, uint32_t op);
/* Feeds the op's table; `cause` is noted where the input ends or stops it. */
void flow_input(struct live_run *r, uint32_t op, enum op_input input, enum op_cause cause);
/* The executor did not take it; told to end meanwhile, it has. */
void flow_busy(struct live_run *r, uint32_t op);
/* `input` to all ops of the current message that have not ended. */
void flow_stop_message(struct live_run *r, enum op_input input, enum op_cause cause);
void flow_cancel_run(struct live_run *r, bool now);
/* The first half of that: what is known of it, and stored. */
void flow_note_cancel(struct live_run *r, bool now);
/* What an op waited for beside its dependencies is over (recovery, between two tries). */
void flow_delay_over(struct live_run *r, uint32_t op);
/* Has the executor end an op that is in PHASE_STOPPING. */
void flow_tell_stop(struct live_run *r, uint32_t op);
/* To all ops that run. */
void flow_signal_run(struct live_run *r, int signal);
/* What was frozen goes on. */
void flow_thaw(struct live_run *r);
void flow_message_timeout(struct live_run *r);
void flow_run_timeout(struct live_run *r);
/* The service is ready: for what needs it, and for its message, it is as if it had succeeded. */
void flow_serve(struct live_run *r, uint32_t op);
/* What the op's end means for the counts of its message and run. */
void flow_count_end(struct live_run *r, uint32_t op);
/* The op has ended, or serves: what waits for it goes on, or never will. Once. */
void flow_tell_dependants(struct live_run *r, uint32_t op);
/* Goes on with what was left for this turn. */
void flow_sweep(struct engine *e);
/* --- restore.c: what earlier batchds stored --- */
/* Takes the outcome of an op. */
void flow_restore(struct live_run *r, const struct op_row *row);
/* What that means for the ops that wait for it; once the stored outcomes of all are taken. Of a
 * service that failed services_recover tells, when it is known what had begun while it was ready.
 */
void flow_restore_dependants(struct live_run *r, const struct op_row *row);
/* Takes what an earlier try of an op said (first to last): it stands where there is no other. */
void flow_restore_try(struct live_run *r, const struct op_row *row);

/* --- service.c: ops with `background` --- */
/* That it is ready: it is counted out of its message. */
void service_count(struct live_run *r, uint32_t op);
/* It runs: it is ready, or is watched until it is. */
void service_started(struct live_run *r, uint32_t op);
/* Its try is over, or it is told to end: nobody watches it any more. */
void service_unwatch(struct live_run *r, uint32_t op);
/* It came to its end, and was to be ready first. */
bool service_unready(const struct live_run *r, uint32_t op, const struct batch_op *spec);
/* `input` to those of the run that are ready; of `always` messages only past `now`. */
void services_stop(struct live_run *r, enum op_input input, enum op_cause cause);
/* All else has ended: those that still run are told to end. False: there are none. */
bool services_end(struct live_run *r);
/* Those that were adopted go on as services (recovery). */
void services_recover(struct live_run *r);

/* --- drive.c: todos moved by ops --- */
/* Which ops drive which todos; on any thread. */
void drive_prepare(struct live_run *r);
/* Every one of these must be in the list, or be set by the batch in time. */
int drive_check(struct live_run *r, struct err *err);
void drive_started(struct live_run *r, uint32_t op);
void drive_settled(struct live_run *r, uint32_t op);
void drive_todos_op(struct live_run *r, uint32_t op, const struct batch_op *spec);
/* Makes the moves that wait. */
void drive_retry(struct engine *e);
/* Is one of the first `made` moves not stored yet? */
bool drive_is_open(const struct engine *e, uint64_t made);
void drive_free(struct engine *e);
/* lease_timer to the next lease that ends; and what it does. */
void drive_arm_leases(struct engine *e);
void drive_end_leases(struct engine *e);

/* --- accept.c --- */
void accept_done(void *arg, enum txn_status status, uint64_t existing, const struct err *err);
/* Begins unless something stands before it: held, paused, runs it waits for, a time. What ends that
 * calls again; for a run that has begun it only looks what is next. */
void accept_begin(struct live_run *r);
/* The time before which it is not started, 0: none. A delay counts from its acceptance, also over
 * a restart. */
int64_t accept_not_before(const struct live_run *r);
/* Counts the runs it has to wait for; 1 with err for one that does not exist. */
int accept_needs(struct live_run *r, struct err *err);
/* What it refers to, runs and todos, is there; else 1 with err. */
int accept_refers(struct live_run *r, struct err *err);
/* A packed array of str. of_batch: such an array of what the batch alone is warned of. */
void accept_warn(const struct live_run *r, struct slice of_batch, struct buf *warnings);
/* The refusal of a key that was used with another batch. */
void accept_other_batch(const char *key, uint64_t run, struct err *err);
/* A run's end is durable: those that waited for it may begin. */
void accept_run_ended(struct engine *e, uint64_t run, enum run_state state);

/* --- outcome.c --- */
void outcome_finish_run(struct live_run *r);
/* Adds the op that has ended to the counts, or (by -1) takes it out again. */
void outcome_count(struct run_summary *s, const struct live_run *r, uint32_t op, int by);
/* Handed to the executor, and its end not heard. */
static inline bool op_busy(const struct live_op *o)
{
	return o->phase == PHASE_STARTING || o->phase == PHASE_RUNNING ||
	       o->phase == PHASE_STOPPING;
}

enum op_state live_op_state(const struct live_op *o);
/* Its end is not shown by that, but when it is stored. */
void live_op_enter(struct live_op *o, enum op_phase phase);

#endif
