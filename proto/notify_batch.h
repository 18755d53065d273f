/*
 * The batch that a notification is: a run of its own, with one op, that begins when the other has
 * ended. So it is as durable as any op, and happens once, however often it is asked for and whoever
 * is gone. It belongs to no project ("/"), so it is in nobody's list nor `last`, and to a pool of
 * its own, so it waits for no slot of the work. Its program is `batchctl`, which engine/start.c
 * finds: a path would differ by who asks, and the same command of the same run is the same batch.
 */
#ifndef PROTO_NOTIFY_BATCH_H
#define PROTO_NOTIFY_BATCH_H

#include "proto/pack.h"

#define NOTIFY_GROUP "notify"
#define NOTIFY_TIMEOUT_S 600	     /* one that hangs holds up the others of its pool no longer */
#define NOTIFY_MAX 16		     /* commands of a batch.submit */
#define NOTIFY_BYTES_MAX (64u << 10) /* each */

struct notify_batch {
	int64_t run;
	struct slice command;  /* bash, as `batchctl notify --exec` runs it */
	const char *key;       /* NULL: made of run and command */
	struct slice env_base; /* raw map; absent: who takes the batch has one */
};
/* A whole map, as batch.submit takes it. */
void notify_batch_pack(struct pk *pk, const struct notify_batch *n);

#endif
