/*
 * Plain rows: what engine and store (and rpc, which shows them) share. No behaviour. Numbers that
 * reach disk are never renumbered. Times are milliseconds since the epoch, 0 where there is none.
 */
#ifndef DAEMON_RECORD_H
#define DAEMON_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/slice.h"

/* stored, never renumber */
enum run_state {
	RUN_QUEUED,
	RUN_RUNNING,
	RUN_PAUSED,
	RUN_SUCCEEDED,
	RUN_FAILED,
	RUN_CANCELLED,
	RUN_INTERRUPTED,
	RUN_STATE_MAX
};
/* stored, never renumber */
enum op_state {
	OP_WAITING,
	OP_READY,
	OP_RUNNING,
	OP_SUCCEEDED,
	OP_FAILED,
	OP_SKIPPED,
	OP_CANCELLED,
	OP_INTERRUPTED,
	OP_STATE_MAX
};
/* stored, never renumber */
enum op_cause {
	CAUSE_NONE,
	CAUSE_EXIT,
	CAUSE_SIGNAL,
	CAUSE_TIMEOUT,
	CAUSE_START,
	CAUSE_CONFLICT,
	CAUSE_IO,
	CAUSE_DEPENDENCY,
	CAUSE_LIMIT,
	CAUSE_CANCEL,
	CAUSE_LOST,
	CAUSE_REUSED,
	CAUSE_OVER, /* why a service is told to end: its run is over. It then succeeds, so nobody is
		       shown this */
	CAUSE_MAX
};
/* stored, never renumber */
enum todo_status {
	TODO_PENDING,
	TODO_IN_PROGRESS,
	TODO_COMPLETED,
	TODO_CANCELLED,
	TODO_STATUS_MAX
};
enum todo_priority { TODO_HIGH, TODO_MEDIUM, TODO_LOW, TODO_PRIORITY_MAX };

extern const char *const run_state_names[]; /* NULL-terminated, as on the wire */
extern const char *const op_state_names[];
extern const char *const op_cause_names[]; /* [CAUSE_NONE] is NULL: read up to CAUSE_MAX */
extern const char *const todo_status_names[];
extern const char *const todo_priority_names[];

static inline bool run_state_ended(enum run_state s)
{
	return s >= RUN_SUCCEEDED;
}

static inline bool op_state_ended(enum op_state s)
{
	return s >= OP_SUCCEEDED;
}

/* The setting for which a run's output was dropped. stored, never renumber */
enum run_dropped { DROPPED_NOT, DROPPED_BY_AGE, DROPPED_BY_SIZE, DROPPED_MAX };
extern const char *const run_dropped_names[]; /* [DROPPED_NOT] is NULL: read up to DROPPED_MAX */

/* What was asked of a run that has not ended. THAWED: to go on, after it was frozen; its ops may
 * not have been told. stored, never renumber */
enum run_stopping {
	RUN_STOPPING_CANCEL = 1,
	RUN_STOPPING_NOW = 2,
	RUN_STOPPING_FROZEN = 4,
	RUN_STOPPING_THAWED = 8
};

struct run_summary {
	uint32_t ops, succeeded, failed, skipped, cancelled, interrupted;
	int64_t wall_ms, serial_ms, critical_ms;
};

/* Strings are borrowed: valid as long as whoever handed the row out says. */
struct run_row {
	uint64_t run;
	enum run_state state;
	const char *name, *key, *cwd, *project, *group, *list; /* NULL: none */
	int order, order_used;				       /* enum batch_order */
	uint64_t origin, parent;			       /* run ids, 0: none */
	uint32_t parent_op;				       /* 1-based op of parent, 0: none */
	int64_t created, started, ended;
	int64_t priority;
	uint32_t n_ops, n_messages;
	struct run_summary summary;
	struct slice messages; /* packed array of {index, name, state}; SLICE_NONE until the run has
				  ended */
	struct slice meta;     /* packed map or SLICE_NONE */
	int stopping;	       /* bits of enum run_stopping */
	int64_t log_bytes;     /* disk its output takes; 0 until it has ended, and when dropped */
	enum run_dropped dropped;
	int64_t dropped_at;
	int64_t eta_ms;	    /* until it ends, as far as history tells; 0: unknown. Not stored */
	bool eta_partial;   /* of some of what is left nothing is known */
	uint8_t digest[32]; /* batch_digest where there is a key, else zeros */
};

struct op_row {
	uint64_t run;
	uint32_t op;	  /* 1-based index over the batch */
	uint32_t message; /* 1-based */
	const char *id;	  /* NULL: none */
	int kind;	  /* enum op_kind */
	const char *text;
	enum op_state state;
	enum op_cause cause;
	int exit;   /* -1: none */
	int signal; /* 0: none */
	uint32_t attempts;
	int32_t pid;			     /* 0: none */
	int64_t started, ended, duration_ms; /* duration_ms -1: none */
	int64_t stdout_bytes, stderr_bytes, dropped_bytes;
	uint32_t lingering;
	const char *todo, *error, *description; /* NULL: none */
	struct slice meta;			/* packed map or SLICE_NONE */
	uint64_t cmd; /* what is executed, by which it is found in history; 0: not to be */
};

/* A command of a new run, and what the store tells of it. */
struct took_row {
	uint64_t cmd;
	uint32_t op; /* from 0 */
	uint32_t ms; /* it took lately; 0: not known */
};

/*
 * The ops of a run that may have started and whose result is not stored: an array of uint32_t
 * (1-based indexes, host order), which replaces what was stored for the run. Empty: none.
 */
struct claim_row {
	uint64_t run;
	struct slice ops;
};

/* A run that is named by another which has not begun: it must not be forgotten yet. */
struct need_row {
	uint64_t run, by;
};

struct todo_row {
	const char *list, *id, *content, *active_form, *description, *owner, *parent, *at, *error,
		*source;
	enum todo_status status;
	enum todo_priority priority;
	struct slice blocked_by, tags,
		meta; /* packed array of str, array of str, map; SLICE_NONE: none */
	int64_t position, rev;
	int64_t created, started, completed;
	int64_t lease_until; /* 0: no lease */
	uint64_t run;	     /* that last touched it, 0: none */
	bool removed;	     /* softly: restorable */
};

/* What was set by hand of a pool of slots. */
struct group_row {
	const char *group;
	uint32_t slots; /* 0: as batchd.conf says */
	bool paused;
};

/* One write to a list: a revision. before and after: packed arrays of the changed items as on the
 * wire. */
struct todo_event_row {
	const char *list, *source;
	int64_t rev, time;
	uint64_t run;
	int64_t restored; /* the revision whose items it brought back, -1: none */
	struct slice before, after;
};

#endif
