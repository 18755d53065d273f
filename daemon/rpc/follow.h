/*
 * Output for subscribers: one follow for a subscription and a run it wants the output of. Nothing
 * is queued that the peer has not taken: a follow knows how far it has read each attempt's output
 * in the log, and reads on, a piece at a time, while there is room.
 *
 * Order: the end of an op is told after all that it printed, the end of the run after everything.
 * Events that come while there is output to be read before them are held back here, in order.
 *
 * Loop thread, but for reading the logs of ended runs, which is done on a worker while the follow
 * is `busy`.
 */
#ifndef DAEMON_RPC_FOLLOW_H
#define DAEMON_RPC_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "common/slice.h"

struct body;
struct event;
struct sub;

/* An op that may have printed something, and in how many tries. */
struct follow_begun {
	uint32_t op, attempts;
};

/*
 * The run's output from its beginning; sub->from_now: from what it is now. For a live run its ops
 * are asked of the engine; for one that has ended `begun` (array of struct follow_begun) tells them
 * and `end` is the event that closes it (taken).
 */
void follow_live(struct sub *sub, uint64_t run);
void follow_ended(struct sub *sub, uint64_t run, struct slice begun, struct body *end);

/* Takes the event in its turn; `body` is NULL for EVENT_OP_OUTPUT and borrowed. */
void follow_event(struct sub *sub, const struct event *e, const struct body *body);
/* There is room again. */
void follow_pump_all(struct sub *sub);
/* Its connection has been told to look anew: what was held back is not told any more, but for the
 * run's end. */
void follow_resync(struct sub *sub);
void follow_free_all(struct sub *sub);

#endif
