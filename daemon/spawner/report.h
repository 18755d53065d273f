/*
 * Reports on their way out: which ops have something to tell, put into packets as the socket takes
 * them. Order: what a QUERY asked for, then BUSY answers, then the ops in the order in which
 * something happened to them. No allocation.
 */
#ifndef DAEMON_SPAWNER_REPORT_H
#define DAEMON_SPAWNER_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/spawner/child.h"
#include "daemon/spawner/op.h"

struct report_packet {
	char bytes[32768] __attribute__((aligned(8)));
	size_t len;
	int fds[SW_PACKET_FDS]; /* borrowed from the ops */
	unsigned n_fds;
};

void report_init(void);
/* Forgets all that waits: the next connection asks. */
void report_clear(void);
void report_add(struct op *op, unsigned reports);
/* Is batchd one that takes stages? */
void report_with_stages(bool with);
/* START not taken, and why (err 0: there is no room). Only while report_has_room() was true before
 * its packet was read. */
void report_busy(uint64_t token, struct child_error why);
bool report_has_room(void);
/* Is everything said? */
bool report_is_empty(void);
/* When what there is to send is to be sent, monotonic; 0: now, or there is nothing. */
int64_t report_due_ms(void);
/* One KNOWN a record, then KNOWN_END. */
void report_query(void);

/* The next packet, or NULL; then either of the two below. */
const struct report_packet *report_next(void);
void report_sent(void);
void report_unsent(void);

#endif
