/*
 * What the spawner keeps in memory for a record of its table, at the same slot number. Gone when
 * the spawner is; everything that must outlive it is in the record.
 */
#ifndef DAEMON_SPAWNER_OP_H
#define DAEMON_SPAWNER_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "daemon/spawner/table.h"

/*
 *  FORKING → RUNNING → DRAIN → TERM → KILL → DONE. A stop goes to TERM from wherever the op is;
 * each of the last four is left for DONE as soon as the op's own process is reaped and nothing of
 * its tree lives.
 */
enum op_phase {
	PHASE_NONE,    /* free slot */
	PHASE_FORKING, /* between fork and exec, error_fd says how it goes on */
	PHASE_RUNNING,
	PHASE_DRAIN, /* own process reaped, its children have drain_ms to go by themselves */
	PHASE_TERM,  /* TERM was sent to all, KILL follows at the deadline */
	PHASE_KILL,  /* KILL in rounds, with growing pauses */
	PHASE_DONE,  /* EXIT, START_FAILED or LOST is what there is to say */
};

/* Reports waiting to be sent. */
enum {
	REPORT_STARTED = 1,
	REPORT_ENDED = 2, /* EXIT or START_FAILED */
	REPORT_KNOWN = 4, /* answer to a repeated START */
	REPORT_STAGED = 8,
};

struct op {
	struct list closing; /* own process reaped, not DONE */
	struct list timer;   /* has a deadline */
	struct list out;     /* has reports to send */
	int64_t deadline_ms; /* monotonic */
	int64_t kill_ms; /* PHASE_TERM of what a foreign op left: the deadline is the next look */
	enum op_phase phase;
	unsigned reports;
	int stdout_fd, stderr_fd; /* read ends, -1: none */
	int stage_fd;	  /* of the pipe through which stdout is taken; only beside these two */
	int error_fd;	  /* of a fork; of an orphan its pidfd */
	uint32_t kin;	  /* orphans of it seen in the last look */
	unsigned rounds;  /* of KILL */
	int64_t clear_ms; /* until then what may yet be told to be a foreign op's is waited for; 0:
			     not yet */
	bool reaped;	  /* own process; of a foreign op: has ended */
	bool stopping;	  /* asked for: children end as well even with detach */
	bool foreign;	  /* not our child: started by a spawner that is gone */
};

struct op *op_at(uint32_t slot);
static inline uint32_t op_slot(const struct op *op)
{
	return (uint32_t)(op - op_at(0));
}
static inline struct record *op_record(const struct op *op)
{
	return table_at(op_slot(op));
}

/* Takes up a slot: fds -1, in no list. */
void op_init(struct op *op, enum op_phase phase);
/* Closes what it holds, leaves all lists; PHASE_NONE. */
void op_done(struct op *op);
static inline bool op_is_live(const struct op *op)
{
	return op->phase != PHASE_NONE && op->phase != PHASE_DONE;
}

/* Takes the fd, in the place of one before it, for an attempt with two pipes; NULL: there is none,
 * and it stays the caller's. */
struct op *op_keep_stage(uint64_t token, int fd) _must_check_;

/* What became of an attempt, for the one that is to follow it. */
enum op_outcome {
	OP_GOES_ON,
	OP_ENDED_WELL, /* with status 0, not told to, and nothing was left of it */
	OP_ENDED,      /* otherwise; or it is not known */
};
enum op_outcome op_outcome(uint64_t token);

#endif
