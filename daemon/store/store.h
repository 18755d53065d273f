/*
 * The store: what batchd promises to remember. One SQLite database (STATE/batchd.db, WAL,
 * synchronous=FULL) written by a thread of its own, a read connection on another, and a folder of
 * run files (STATE/runs).
 *
 * store_commit() takes a transaction; the writer gathers all that wait into one COMMIT and each
 * transaction's done is called on the loop thread, in the order of store_commit, after the disk has
 * it (TXN_DONE) or when it has failed (TXN_FAILED: nothing of it was stored). A transaction that
 * fails does not take its neighbours along: a group that cannot be committed is tried one by one.
 * After an I/O error the connection is closed and opened anew, and the database itself is asked
 * whether the group is in it; an fsync is never repeated as if nothing had happened. (One thing
 * cannot be had: when a disk takes the bytes of a commit, fails to sync them and then takes no
 * further write, a crash at that moment may bring up what was answered TXN_FAILED.)
 *
 * Whoever moves the database away, or another into its place, has every transaction fail until it
 * is back; where it is removed it is made anew from what is open of it (sql_files.c).
 *
 * Files: the environment of a new run is durable before its COMMIT and unlinked after the COMMIT of
 * its end; the logs of ops with output are synced (config.sync_log) before the COMMIT of their
 * results; the files of output that goes are for store_remove_files, after the COMMIT. What of all
 * that a crash cut short is made good at the next store_open.
 *
 * All functions are for the loop thread and none is to be called from inside a completion but
 * store_commit and store_read.
 */
#ifndef DAEMON_STORE_STORE_H
#define DAEMON_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/slice.h"
#include "daemon/record.h"
#include "daemon/txn.h"

struct event_base;
struct store;
struct sql_reader; /* daemon/store/sql_read.h */

struct store_config {
	const char *state_dir; /* absolute; made 0700 where missing */
	struct event_base *base;
	/* Makes the run's log durable, on the store's thread; 0 or -errno (runlog_sync). `again`:
	 * that failed at the last try. NULL: there are no logs. */
	int (*sync_log)(const char *runs_dir, uint64_t run, bool again);
	const char *socket; /* told to whoever meets the lock; NULL: nothing */
};

/* store_open: another process has the state folder. */
#define STORE_LOCKED 2

/*
 * Locks and opens the state folder, upgrading or making the database. 0; STORE_LOCKED with
 * *ret_holder (its pid, 0 where it cannot be told) and e filled; or 1 with e (E_STORAGE): not a
 * private or local folder, no database of ours, of a newer batchd, damaged.
 */
int store_open(const struct store_config *config, struct store **ret, pid_t *ret_holder,
	       struct err *e) _must_check_;
/* Commits what is queued, calls the completions, unlocks. NULL is fine; returns NULL. */
/* From here on who looks at the lock of the folder is told that we are about to end. */
void store_leave(struct store *s);
struct store *store_close(struct store *s);

/* Takes t (also an empty one, which is answered in its turn). */
void store_commit(struct store *s, struct txn *t);
/* Blocks until all that was handed in is answered, reads too, completions included: shutdown and
 * tests. */
void store_drain(struct store *s);

/* The last commits before the end may take the room that is kept for them on a full disk. */
void store_give_spare(struct store *s);

/* Runs fn on the read thread (in order), then done on the loop thread. fn sees all that was
 * TXN_DONE before this call. */
void store_read(struct store *s, void (*fn)(struct sql_reader *r, void *arg),
		void (*done)(void *arg), void *arg);

/* Removes logs and indexes of these runs (copied) on a thread of their own, then calls done on the
 * loop thread. What is not there is fine. */
void store_remove_files(struct store *s, const uint64_t *runs, size_t n, void (*done)(void *arg),
			void *arg);
/* Disk that the output of all ended runs takes, as of the last commit. Never more than a load. */
int64_t store_log_bytes(const struct store *s);

/*
 * The same number before a store_read() and when it is done means that what is stored of runs that
 * have ended (once their end was TXN_DONE) has not changed meanwhile; 0: it may be changing now.
 */
uint64_t store_past_rev(const struct store *s);

const char *store_runs_dir(const struct store *s);
/* As they were at store_open. next_run is above every id that was ever accepted, also forgotten
 * ones. */
uint64_t store_id(const struct store *s);
uint64_t store_next_run(const struct store *s);
int64_t store_rev(const struct store *s);
/*
 * The machine has been booted since this folder was last marked. Mark it when recovery has dealt
 * with that: the mark is part of the next commit, so that a crash in the middle of a recovery still
 * finds the machine rebooted.
 */
bool store_rebooted(const struct store *s);
void store_mark_boot(struct store *s);

/* --- start-up: blocking, on the loop thread; each opens a connection of its own. 0 or 1 with e ---
 */

/* A run that has not ended; all borrowed for the call. */
struct store_run {
	struct run_row row;
	struct slice batch;
	struct slice claims;	  /* array of uint32_t as last stored; len 0: none. Aligned. */
	uint64_t env_sum;	  /* sum_bytes() of its environment; 0: not known */
	const struct op_row *ops; /* stored ones, by index */
	uint32_t n_ops;
	const struct op_row *attempts; /* tries of ops before the one that counts */
	uint32_t n_attempts;
};
/* In order of run. fn returns 0 to go on, else it has filled e and loading ends with 1. */
int store_load_runs(struct store *s,
		    int (*fn)(void *arg, const struct store_run *run, struct err *e), void *arg,
		    struct err *e) _must_check_;

/* Each pool that was set by hand. */
int store_load_groups(struct store *s, void (*fn)(void *arg, const struct group_row *row),
		      void *arg, struct err *e) _must_check_;

/*
 * The state of one run: 0, or 1 when there is none. On the loop thread, with a connection of its
 * own: one look-up by primary key. For batches that name ended runs, which are few.
 */
int store_run_state(struct store *s, uint64_t run, enum run_state *ret) _must_check_;

struct store_todo_sink {
	/* Each item, removed ones too. */
	void (*item)(void *arg, const struct todo_row *row);
	/* Each list with its newest revision, before its items. */
	void (*list)(void *arg, const char *list, int64_t rev);
	void *arg;
};
/* `list` NULL: all lists; else just that one (after a commit that failed). */
int store_load_todos(struct store *s, const char *list, const struct store_todo_sink *sink,
		     struct err *e) _must_check_;

#endif
