/*
 * Sends what an op printed to the disk while it is still printing, so that the sync at its end,
 * which every commit behind it waits for too, finds little left to do. A thread of its own, since
 * the kernel may keep us until a slow disk takes more; it is made when it is first wanted. Nothing
 * depends on it: what it leaves out or what fails is met by that sync. Private to output*.c; all
 * functions are the pump's.
 */
#ifndef DAEMON_EXEC_OUTPUT_EARLY_H
#define DAEMON_EXEC_OUTPUT_EARLY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct early {
	pthread_mutex_t lock; /* of all below but started */
	pthread_cond_t more;
	pthread_t thread;
	bool started, stop;
	int fd; /* of the log, ours; -1: nothing to do */
	int64_t off, len;
};

void early_init(struct early *e);
/* Lets it finish what it is at. */
void early_done(struct early *e);
/* Is it done with what it had? */
bool early_is_free(struct early *e);
/* To be called only when it is free; fd stays the caller's. */
void early_send(struct early *e, int fd, int64_t off, int64_t len);

#endif
