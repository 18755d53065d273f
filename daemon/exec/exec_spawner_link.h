/*
 * batchd's end of the connection to batchd-spawner: finds one or starts one, sends frames in
 * packets, hands on what comes back, and when the connection breaks comes back by itself and asks
 * the spawner what it knows.
 *
 * Loop thread only. Nothing here knows what an attempt is.
 */
#ifndef DAEMON_EXEC_EXEC_SPAWNER_LINK_H
#define DAEMON_EXEC_EXEC_SPAWNER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "proto/spawn_wire.h"

struct event_base;
struct spawner_link;

struct spawner_link_config {
	struct event_base *base;
	const char *program; /* looked up in PATH if without slash */
	const char *socket;
	uint64_t store_id;
	bool can_start;
	const char *home; /* see spawner_home.h; NULL: nothing is remembered */
	/* STARTED to KNOWN, and STAGED. The fds are the callee's from here on, -1 where there is
	 * none. */
	void (*report)(void *arg, const struct sw_report *r, int fds[3]);
	/* The connection is gone; what was queued is forgotten. A new one is being made. */
	void (*down)(void *arg);
	/* All that the spawner knows has been reported (KNOWN_END); frames are taken again. */
	void (*synced)(void *arg);
	/* None has been there for long and we may not start one: never again after this. */
	void (*gone)(void *arg);
	void *arg;
};

/* Connects, or starts a spawner, and says HELLO. Blocking. Not synced yet. 0 or err. */
int spawner_link_new(const struct spawner_link_config *config, struct spawner_link **ret,
		     struct err *e) _must_check_;
struct spawner_link *spawner_link_free(struct spawner_link *l);
/* Asks for all that is known and takes in reports until synced. Blocking, at start-up only. 0 or
 * -errno. */
int spawner_link_sync(struct spawner_link *l) _must_check_;

/*
 * The table is another than the one in use before, and that one was not left in order: what is not
 * in this one may have been started all the same.
 */
bool spawner_link_is_swept(const struct spawner_link *l);
/* What went with it is stored: from here on the table is the one in use. Said earlier, the next
 * batchd would take what was lost for what never started (tests/model, TABLE_ID_BEFORE_LOST). */
void spawner_link_settle(struct spawner_link *l);
/* Nothing of ours is with the spawner: the next batchd need not look for it. */
void spawner_link_forget(struct spawner_link *l);
/* Connected and synced. */
bool spawner_link_is_up(const struct spawner_link *l);
/* As HELLO_OK told. */
uint32_t spawner_link_capacity(const struct spawner_link *l);
/* Did the spawner tell that it knows this (SW_CAN_*)? One that is older goes on without. */
bool spawner_link_can(const struct spawner_link *l, uint64_t what);
int32_t spawner_link_pid(const struct spawner_link *l);

/*
 * Room for a frame of `size` bytes (a multiple of 8, at most SW_PACKET_BYTES) at the end of the
 * queue, to be filled at once. The fds go with it: the first n_ours are ours from here on and
 * closed when they are sent, the others stay the caller's, and open as long as the link is up and
 * has not heard of the frame. Sent at the end of the loop turn, or as soon as the packet is full.
 * Only while up.
 */
void *spawner_link_add(struct spawner_link *l, uint32_t size, const int *fds, unsigned n_fds,
		       unsigned n_ours);
void spawner_link_flush(struct spawner_link *l);

#endif
