/*
 * The files of runs beside the database, STATE/runs/: RUN.env is the run's environment
 * ("NAME=VALUE\0"), kept until the run has ended, since what was in a database outlives its
 * deletion. RUN.log and RUN.idx are the run log's (daemon/exec/runlog.h).
 */
#ifndef DAEMON_STORE_RUNFILES_H
#define DAEMON_STORE_RUNFILES_H

#include <stdint.h>

#include "common/cleanup.h"
#include "common/slice.h"

/* Makes RUN.env anew, 0600, and its bytes durable; the folder is not synced yet (runfiles_sync). 0
 * or -errno, no file left. */
int runfiles_write_env(int dir_fd, uint64_t run, struct slice env) _must_check_;
int runfiles_sync(int dir_fd) _must_check_;
void runfiles_remove_env(int dir_fd, uint64_t run);
/* All files of the run. */
void runfiles_remove(int dir_fd, uint64_t run);

enum runfiles_keep { RUNFILES_KEEP_NONE, RUNFILES_KEEP_OUTPUT, RUNFILES_KEEP_ALL };
/*
 * Removes what a crash between a commit and the removal left over; `keep` says for a run what it is
 * entitled to. At start-up. 0 or -errno when the folder cannot be read.
 */
int runfiles_sweep(const char *dir, enum runfiles_keep (*keep)(void *arg, uint64_t run),
		   void *arg) _must_check_;

#endif
