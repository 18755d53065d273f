/*
 * The keeper: what is kept how long. It drops the output of ended runs, forgets runs, and deletes
 * what is left of forgotten ones, in rounds of bounded size: choose (read thread), commit (write
 * thread, among everyone else's transactions), remove the files (a thread of their own), and again
 * until a round finds nothing.
 *
 * A round begins when a run ends while output takes more room than it may, when something asks for
 * one, or when the next run is due: one timer on the wall clock, set only while something will be.
 * Nothing is looked at in between.
 *
 * A row is marked before its files go, so that who reads is told; where that cannot be stored (a
 * full disk) the files go first, and then it is tried again.
 *
 * Loop thread only.
 */
#ifndef DAEMON_STORE_KEEP_H
#define DAEMON_STORE_KEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

struct event_base;
struct keeper;
struct store;

/* 0: for ever, however much. */
struct keep_limits {
	int64_t output_ms, output_bytes, rows_ms;
};

struct keep_config {
	struct event_base *base;
	struct store *store;
	struct keep_limits limits;
	/* Appends a struct need_row for each run that is named by one that has not begun. */
	void (*needed)(void *arg, struct buf *ret);
	/* The run's files are gone: close what is open of it and not in use. */
	void (*removed)(void *arg, uint64_t run);
	void *arg;
};

/* Begins its first round. NULL with e: no timer can be had. */
struct keeper *keeper_new(const struct keep_config *config, struct err *e);
/* After store_close. NULL is fine; returns NULL. */
struct keeper *keeper_free(struct keeper *k);
/* Begins nothing more and answers who waits (E_STATE): the daemon is stopping. NULL is fine. */
void keeper_quiet(struct keeper *k);

void keeper_set_limits(struct keeper *k, const struct keep_limits *limits);
/* A run's end is durable. */
void keeper_run_ended(struct keeper *k);
/* The run is being forgotten: nothing new may name it. */
bool keeper_is_going(const struct keeper *k, uint64_t run);

/* How many were forgotten, and which stay because they are needed (uint64_t each); or err, with
 * nothing or not all done. */
typedef void (*keeper_forgot_fn)(void *arg, uint32_t forgotten, const struct buf *stay,
				 const struct err *err);
/*
 * Forgets ended runs (taken: uint64_t each, left empty), all but those that are needed, and answers
 * when nothing of them is left on disk. `strict`: needed is an error (E_STATE) that names by whom.
 */
void keeper_forget(struct keeper *k, struct buf *runs, bool strict, keeper_forgot_fn done,
		   void *arg);

#endif
