/*
 * The lock of a state folder as seen from outside. STATE/lock is flocked by the batchd that has the
 * folder; in it stand its pid and, on the next line, the socket it serves. That text is only a
 * hint: what counts is the lock.
 */
#ifndef COMMON_LOCK_H
#define COMMON_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

struct lock_holder {
	pid_t pid;    /* 0: cannot be told */
	char *socket; /* NULL: cannot be told */
	bool leaving; /* it is about to end: nobody should connect, which would start another */
};

#define LOCK_HOLDER_INIT                                                                           \
	{                                                                                          \
		0, NULL, false                                                                     \
	}

void lock_holder_done(struct lock_holder *h);
/* Writes our pid and `socket` (NULL: none) into the lock file. On a full disk it stays empty, and
 * the lock holds all the same. */
void lock_tell(int fd, const char *socket);
/* Adds that we are about to end. */
void lock_tell_leaving(int fd);
/* What the holder wrote. */
void lock_read(int fd, struct lock_holder *ret);
/*
 * Is the folder taken? `ret` (may be NULL) gets the holder. Looking takes a shared lock for a
 * moment, which is how a starting batchd tells a looker from an owner.
 */
bool lock_look(const char *state_dir, struct lock_holder *ret);

#endif
