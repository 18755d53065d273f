/*
 * The state folder: made private, refused on network file systems (SQLite's WAL needs memory that
 * all users of the file share), locked as long as we live.
 */
#ifndef DAEMON_STORE_STATE_DIR_H
#define DAEMON_STORE_STATE_DIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"

/* Makes what is missing (0700) and checks the rest. 0 or 1 with e. */
int state_dir_check(const char *path, struct err *e) _must_check_;
/*
 * A database that is missing or empty is a first start's only where no run has left files: else a
 * new one would give its numbers out again. 0 or 1 with e.
 */
int state_dir_first(const char *path, struct err *e) _must_check_;
/*
 * Takes PATH/lock and writes our pid and socket (NULL: none) into it. 0 with the fd to keep in
 * *ret_fd; STORE_LOCKED with the holder's pid (0: unknown); 1 with e.
 */
int state_dir_lock(const char *path, const char *socket, int *ret_fd, pid_t *ret_holder,
		   struct err *e) _must_check_;

#endif
