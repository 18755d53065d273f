/*
 * The life of an op as a table: phase x event -> next phase and what to do. No I/O, no clock, no
 *memory: the caller performs the effect. Terminal phases have no way out; tests/unit/test_opfsm.c
 *walks the whole table.
 *
 *	WAITING -met-> READY -slot-> STARTING -started-> RUNNING -exit-> SUCCEEDED | FAILED (or
 *BACKOFF -due-> READY)
 */
#ifndef ENGINE_OPFSM_H
#define ENGINE_OPFSM_H

#include <stdbool.h>

enum op_phase {
	PHASE_WAITING,	/* for its message, its stage or what it needs */
	PHASE_READY,	/* for a slot (and its claim) */
	PHASE_STARTING, /* handed to the executor */
	PHASE_RUNNING,
	PHASE_STOPPING, /* told to end: cancel, timeout or on_failure kill; its stop_cause says
			   which */
	PHASE_BACKOFF,	/* failed, will be tried again */
	PHASE_SUCCEEDED,
	PHASE_FAILED,
	PHASE_SKIPPED,
	PHASE_CANCELLED,
	PHASE_INTERRUPTED,
	PHASE_MAX
};

enum op_input {
	INPUT_MET,  /* all it waits for is there */
	INPUT_SLOT, /* the scheduler gives it its slots */
	INPUT_BUSY, /* the executor cannot take it now */
	INPUT_STARTED,
	INPUT_GOOD,	 /* ended in ok_exits */
	INPUT_BAD,	 /* ended otherwise, or nothing was executed; no try left */
	INPUT_BAD_RETRY, /* the same with a try left */
	INPUT_LOST,	 /* nobody can know how it ended */
	INPUT_STOPPED,	 /* ended after we stopped it: the outcome is the stop's */
	INPUT_DUE,	 /* the retry delay is over */
	INPUT_SKIP,	 /* will not run: a dependency, a timeout before it began */
	INPUT_CANCEL,	 /* a person or the parent run */
	INPUT_TIMEOUT,
	INPUT_KILL, /* on_failure: kill */
	INPUT_MAX
};

enum op_effect {
	DO_NOTHING,
	DO_QUEUE,   /* into the run's ready queue */
	DO_UNQUEUE, /* out of it, then DO_END */
	DO_START,
	DO_BACKOFF, /* arm the retry timer */
	DO_STOP,    /* tell the executor to end the tree */
	DO_END	    /* settle: the phase entered is its outcome */
};

struct op_step {
	enum op_phase next;
	enum op_effect effect;
	bool legal;
};

static inline bool op_phase_ended(enum op_phase p)
{
	return p >= PHASE_SUCCEEDED;
}

/* What `input` means in `phase`; legal is false where it means nothing and must change nothing. */
struct op_step opfsm_step(enum op_phase phase, enum op_input input);

#endif
