/*
 * The writer: applies groups of transactions to the database. Used by the store's thread (and by
 * store_open before that thread exists), never by two threads at a time.
 */
#ifndef DAEMON_STORE_SQL_WRITE_H
#define DAEMON_STORE_SQL_WRITE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/err.h"
#include "daemon/store/lane.h"
#include "daemon/store/sql.h"
#include "daemon/txn.h"

/* A transaction under way. The writer fills how it ended; who submitted it frees it. */
struct write_job {
	struct lane_job job;
	struct txn *txn;
	enum txn_status status;
	uint64_t existing;
	struct err *e;		/* malloced; only with TXN_FAILED */
	unsigned *changes_past; /* the store's count of those that do; NULL: this does not */
};

/* A file as it was opened: of no use but to tell what became of it (O_PATH). -1: none. */
struct file_kept {
	int fd;
};

struct writer {
	struct sql sql;	  /* sql.db is NULL after an I/O error until it can be opened again */
	struct sql guard; /* see writer_guard() */
	const char *path; /* of the database */
	const char *runs_dir;
	int runs_fd;
	int (*sync_log)(const char *runs_dir, uint64_t run, bool again);
	int64_t seq;	       /* of the last group handed to COMMIT, see writer_reopen() */
	atomic_bool mark_boot; /* set on the loop thread */
	char boot_id[40];
	struct file_kept database, wal; /* see writer_see_to_files() */
	atomic_uint files; /* how many times the database was made anew: who has it open has not */
	_Atomic int64_t log_bytes; /* of all ended runs, as committed */
	int64_t log_more;	   /* what this group adds to it */
	int log_pages;		   /* of the WAL, as of the last commit; 0: brought in since */
	bool log_can_wait;	   /* see writer_rest() */
	struct buf unsynced;	   /* ids of runs whose log could not be synced at the last try */
	struct buf synced, envs; /* arrays of run ids: logs synced, env files made in this group */
	struct buf done_envs;	 /* env files that are of no more use: removed in writer_rest() */
};

extern const char *const writer_statements[];

/*
 * Opens a second connection that does nothing but stay open. What of the WAL is committed stands in
 * memory that the connections share; when the last one closes that is gone, and the next one to
 * open would take frames for committed whose fsync has failed. A SQLite result code.
 */
int writer_guard(struct writer *w) _must_check_;
/*
 * Whoever moves or replaces the files of a database in use leaves us with files that nobody will
 * find again: what is written there is lost, and no SQLite says so. That is 1 with e. Where they
 * were removed the connection has all there was: the database is made anew from it. Between groups;
 * 0 with w->sql.db NULL where that is to be opened again.
 */
int writer_see_to_files(struct writer *w, struct err *e) _must_check_;
void writer_forget_files(struct writer *w);
void writer_close(struct writer *w);
/* Each connection for writing, once it is open: writer_rest() sees to its WAL from now on. */
void writer_watch_log(struct writer *w);

/* Works on all of `jobs` (list of write_job.job.node) and fills their status. */
void writer_group(struct writer *w, struct list *jobs);

/*
 * Between groups, when their answers are on their way: removes the environments of runs that have
 * ended. And brings the WAL into the database (a checkpoint) when it has grown, and not within
 * a commit as SQLite does, which keeps those waiting whose commit that is. After one of megabytes
 * (a large batch) it takes as long as the commit did and the batch's ops are about to come, so it
 * then waits for a pause: `idle`. As lane_rest_fn returns.
 */
int64_t writer_rest(struct writer *w, bool idle);

#endif
