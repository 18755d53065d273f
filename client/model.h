/*
 * A run as a client that watches it knows it: built from one snapshot, kept true by events. Text is
 * copied; nothing points into frames. An op that has ended never changes again, so events older
 * than the snapshot do no harm.
 */
#ifndef CLIENT_MODEL_H
#define CLIENT_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/slice.h"

/* The order of these tells nothing on the wire; names do. */
enum view_state {
	VIEW_WAITING,
	VIEW_READY,
	VIEW_QUEUED,
	VIEW_PAUSED,
	VIEW_RUNNING, /* not ended */
	VIEW_SUCCEEDED,
	VIEW_FAILED,
	VIEW_SKIPPED,
	VIEW_CANCELLED,
	VIEW_INTERRUPTED, /* ended */
	VIEW_MAX
};

extern const char *const view_state_names[VIEW_MAX];

static inline bool view_ended(enum view_state s)
{
	return s >= VIEW_SUCCEEDED;
}

enum view_state view_state_of(struct slice name); /* VIEW_WAITING for what we do not know */

/* One stream of one op, as far as it was passed on. */
struct op_stream {
	int64_t at;	    /* position of the next byte to pass on */
	struct buf partial; /* a line not yet ended */
};

struct op_view {
	uint32_t index, message; /* from 1 */
	enum view_state state;
	int exit; /* -1: none */
	char *id, *text, *cause, *signal, *todo, *error;
	int64_t started, ended; /* wall clock of batchd, 0: not yet */
	uint32_t attempts;	/* tries made */
	uint32_t attempt;	/* the one `streams` is about; 0: none yet */
	int64_t printed[2];	/* stdout_bytes, stderr_bytes of the last try, as last heard */
	struct op_stream streams[2];
	bool told; /* its end was shown, by who shows each once */
};

struct message_view {
	char *name;
	uint32_t ops, running, failed, ended;
	bool announced; /* a line said that it began */
};

struct run_view {
	int64_t run, sub;
	char *name;
	enum view_state state;
	int64_t created, started, ended;
	struct message_view *messages;
	uint32_t n_messages;
	struct op_view *ops;
	uint32_t n_ops, ops_total; /* those known, those there are */
	uint32_t counts[VIEW_MAX];
	int64_t eta_ms;	  /* when last heard it was to end after so long; 0: nobody knows */
	int64_t eta_at;	  /* when that was, wall clock */
	bool eta_partial; /* of some of what was left nothing is known */
	int64_t asked_ms; /* time_mono_ms of the last time it was asked for; 0: never */
	struct buf final; /* the ended run as it came, packed; empty before */
};

void run_view_done(struct run_view *v);
/* Takes head and messages from a run (run.get, run.wait, a subscribe reply). */
void run_view_head(struct run_view *v, struct slice run);
/* Of that only when it ends: a later state may have been heard of meanwhile. */
void run_view_estimate(struct run_view *v, struct slice run);
/* Adds or updates the ops that a run.get reply holds; counts follow. */
void run_view_ops(struct run_view *v, struct slice ops);
/*
 * Takes an event of type op.state. The op, with what it was before in *ret_before; NULL when it
 * says nothing new. What else belongs to the run goes through run_view_head.
 */
struct op_view *run_view_op_event(struct run_view *v, struct slice event,
				  enum view_state *ret_before);
struct op_view *run_view_op(struct run_view *v, int64_t index); /* NULL: none */
/* What a person calls an op: its id, else its number. Static storage of the view or `number`. */
const char *op_view_label(const struct op_view *o, char number[16]);
/* How long an op that has ended took, ms; -1: nobody knows. */
int64_t op_view_ms(const struct op_view *o);

#endif
