/*
 * The children of a spawner that died: they have become ours, when we had started it. Private to
 * exec_local*.c, with what an attempt is to the local executor.
 */
#ifndef DAEMON_EXEC_EXEC_LOCAL_KIN_H
#define DAEMON_EXEC_EXEC_LOCAL_KIN_H

#include "common/list.h"
#include "daemon/exec/exec.h"
#include "daemon/exec/exec_local_sent.h"
#include "daemon/exec/exec_spawner_link.h"
#include "daemon/exec/idmap.h"

enum attempt_stage {
	ATTEMPT_SENT,	 /* START sent or queued, nothing heard */
	ATTEMPT_RUNNING, /* STARTED heard */
	ATTEMPT_EXITED,	 /* how it ended is known, its output is being drained */
	ATTEMPT_ENDED,	 /* `ended` told; kept until acknowledged */
};

struct attempt {
	uint64_t token;
	enum attempt_stage stage;
	bool attached; /* its pipes are output's */
	bool drained;
	bool recovered; /* began in an earlier life of batchd, which may have read from its pipes */
	bool seen;	/* in this sync */
	bool swept;	/* went with the table that knew it */
	bool bare;	/* the spawner has none of its pipes */
	bool stranger;	/* of a run that the database does not know */
	bool reaped;	/* by us: its report holds how it ended; what it left behind may live */
	int64_t cap;
	int64_t stop_ms;    /* grace of a stop asked for, -1: none; said again to a new spawner */
	int64_t kill_at_ms; /* when that is over, monotonic; 0: no spawner was told yet */
	uint32_t note;	    /* with it */
	int halt;	    /* SIGSTOP or SIGCONT, the last it was sent; said again too. 0: none */
	int fds[3];	    /* its pipes until they are output's: made with its START, or heard of
			       while recovering */
	struct sw_report report;
	struct output_totals totals;
	struct list later; /* of exec_local.later: to be ended from the loop */
	struct list sent;  /* of exec_local.sent: its START is not answered */
	int64_t sent_ms;   /* monotonic */
	struct list child; /* of exec_local.children: its process is ours to reap */
};

struct exec_local {
	struct output *output;
	struct exec_events events;
	void (*respawned)(void *arg);
	void (*gone)(void *arg);
	struct spawner_link *link;
	struct idmap attempts; /* by token */
	struct list later, children;
	struct sent sent;
	struct event *later_event, *sigchld;
	int32_t spawner_pid;
	bool recovering;  /* between new and recover: reports are only noted */
	bool stored;	  /* what recovery found */
	uint32_t n_swept; /* attempts */
	uint32_t n_strangers;
	uint64_t env_sound; /* the run whose environment was last found so */
	bool can_start;
};

/* True when the attempt's process is, or was, our child: its end comes from here and not from the
 * spawner. */
bool kin_adopt(struct exec_local *x, struct attempt *a);
/*
 * Has the spawner ended? Its children come to us in the same moment; the end of the connection may
 * come later, held open by a child between fork and exec.
 */
bool kin_spawner_is_dead(const struct exec_local *x);
/*
 * Children are the spawner, what it held when it died, and orphans of those. From its death until a
 * new one has read the table and told whose the children are, none is reaped.
 */
void kin_reap(struct exec_local *x);

/* In exec_local.c. How it ended is in a->report; `ended` waits for the output. */
void attempt_exited(struct exec_local *x, struct attempt *a);

#endif
