/*
 * The files of runs beside the database, STATE/runs/: RUN.env is the run's environment
 * ("NAME=VALUE\0"), kept until the run has ended, since what was in a database outlives its
 * deletion. RUN.log and RUN.idx are the run log's (daemon/exec/runlog.h).
 */
#ifndef DAEMON_STORE_RUNFILES_H
#define DAEMON_STORE_RUNFILES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/slice.h"

/*
 * Sees to it that dir_fd is the folder `dir`: where somebody took that away it is made again (its
 * parents are not), and dir_fd stands for the new one. 0 or -errno. Any thread.
 */
int runfiles_dir(const char *dir, int dir_fd) _must_check_;
/* Makes RUN.env anew, 0600, and its bytes durable; the folder is not synced yet (runfiles_sync). 0
 * or -errno, no file left. */
int runfiles_write_env(int dir_fd, uint64_t run, struct slice env) _must_check_;
int runfiles_sync(int dir_fd) _must_check_;
void runfiles_remove_env(int dir_fd, uint64_t run);
/* Log and index. */
void runfiles_remove_log(int dir_fd, uint64_t run);
/* What log and index take on disk, holes not counted; 0: there are none. */
int64_t runfiles_log_bytes(int dir_fd, uint64_t run);

/* Whether `dir` holds files of any run; the last one's number in *ret_run. */
bool runfiles_any(const char *dir, uint64_t *ret_run);

enum runfile { RUNFILE_ENV, RUNFILE_LOG, RUNFILE_IDX, RUNFILE_MAX };
/*
 * Shows `keep` each file of a run and removes those it does not want: what a crash between a commit
 * and the removal left over. At start-up. 0 or -errno when the folder cannot be read.
 */
int runfiles_sweep(const char *dir, bool (*keep)(void *arg, uint64_t run, enum runfile which),
		   void *arg) _must_check_;

#endif
