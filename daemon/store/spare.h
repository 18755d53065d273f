/*
 * Room on the disk of the state folder (STATE/spare) for what batchd alone knows when it ends while
 * the disk is full: what file ops did. It is given back for that last commit.
 */
#ifndef DAEMON_STORE_SPARE_H
#define DAEMON_STORE_SPARE_H

#include <stdbool.h>
#include <stdint.h>

struct spare {
	bool done;	 /* there, or given back */
	int64_t next_ms; /* monotonic: when it is tried again */
};

/* After a commit: there it is, or it is tried again later. */
void spare_keep(struct spare *s, const char *state_dir);
/* For good. */
void spare_give(struct spare *s, const char *state_dir);

#endif
