/*
 * What a run and an op look like on the wire (contract section 3, Shapes): one place for live and
 * stored ones alike. Pure: any thread. Every key is always there, nil where there is nothing,
 * unless the packer leaves nils out.
 */
#ifndef DAEMON_RPC_SHAPE_H
#define DAEMON_RPC_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/slice.h"
#include "daemon/record.h"
#include "proto/pack.h"

/*
 * The keys of a run into an open map. A reply has an end: only the first of the messages are shown
 * past a quarter of `room`, and a `meta` longer than half of it is left out. Names and folders take
 * up to 9 KiB more.
 */
void shape_run_keys(struct pk *pk, const struct run_row *row, size_t room);
#define SHAPE_ROOM LIMIT_REPLY_BYTES  /* of a run that is shown alone */
#define SHAPE_LISTED_BYTES (64 << 10) /* of one among many, which takes less with all its names */

/* A packed array of maps (todo items, messages) as a value; absent: nil. Nils in the maps are left
 * out if the packer does so. */
void shape_items(struct pk *pk, struct slice items);
/* One of them. */
void shape_item(struct pk *pk, struct slice item);

struct shape_out {
	struct slice head, tail;
	int64_t dropped;
};
/* A whole op; `out` NULL: without the key. */
void shape_op(struct pk *pk, const struct op_row *row, const struct shape_out *out);

/* The keys of run.state and op.state into an open map. */
void shape_run_event(struct pk *pk, const struct run_row *row);
void shape_op_event(struct pk *pk, const struct op_row *row);

/* "SIGSEGV", "SIGRTMIN+3"; fills and returns `text`, NULL for 0. */
const char *shape_signal(int signal, char text[24]);
/* With or without SIG, any case, or a number. 0: there is none of that name. */
int shape_signal_parse(struct slice name);

#endif
