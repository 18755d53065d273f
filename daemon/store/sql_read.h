/*
 * Reading history: for use inside the fn of store_read(), on the read thread. Each fn sees the
 * database as of one moment, at its beginning or shortly before, and after store_read().
 *
 * Rows given to callbacks borrow their strings until the callback returns. A callback returns true
 * to go on, false to stop (the reply is full). Functions return 0, or 1 with e filled: E_NOT_FOUND,
 * E_STORAGE.
 */
#ifndef DAEMON_STORE_SQL_READ_H
#define DAEMON_STORE_SQL_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"
#include "daemon/record.h"

struct sql_reader;

#define SQL_STATES_LIVE (1u << RUN_QUEUED | 1u << RUN_RUNNING | 1u << RUN_PAUSED)
#define SQL_STATES_ENDED                                                                           \
	(1u << RUN_SUCCEEDED | 1u << RUN_FAILED | 1u << RUN_CANCELLED | 1u << RUN_INTERRUPTED)

/* The run; its strings are put into `strings` (emptied first) and live as long as that. */
int sql_run_get(struct sql_reader *r, uint64_t run, struct run_row *ret, struct buf *strings,
		struct err *e) _must_check_;

struct sql_run_filter {
	uint32_t states;		    /* bits 1 << enum run_state; 0: any */
	const char *name, *group, *project; /* NULL: any */
	uint64_t before;		    /* ids below this; 0: any */
	int64_t ended_before;		    /* ended, and earlier than this time; 0: any */
	uint32_t limit;			    /* 0: none */
	bool oldest_first;		    /* default: newest first */
};
int sql_runs_list(struct sql_reader *r, const struct sql_run_filter *filter,
		  bool (*fn)(void *arg, const struct run_row *row), void *arg,
		  struct err *e) _must_check_;

/* SQL_OPS_FAILED: failed, cancelled or interrupted; SQL_OPS_NONE gives no row. */
enum sql_ops { SQL_OPS_ALL, SQL_OPS_FAILED, SQL_OPS_NONE };
/* By index, from the one after the first `offset` of those chosen; limit 0: none. */
int sql_ops_list(struct sql_reader *r, uint64_t run, enum sql_ops which, uint32_t offset,
		 uint32_t limit, bool (*fn)(void *arg, const struct op_row *row), void *arg,
		 struct err *e) _must_check_;
/* How many there are to list. */
int sql_ops_count(struct sql_reader *r, uint64_t run, enum sql_ops which, uint32_t *ret,
		  struct err *e) _must_check_;
/* By index (op > 0) or by id (op == 0). */
int sql_op_get(struct sql_reader *r, uint64_t run, uint32_t op, struct slice id, struct op_row *ret,
	       struct buf *strings, struct err *e) _must_check_;
/* Tries of an op before the one that counts, oldest first. */
int sql_attempts(struct sql_reader *r, uint64_t run, uint32_t op,
		 bool (*fn)(void *arg, const struct op_row *row), void *arg,
		 struct err *e) _must_check_;
/* Appends the batch as it was stored. */
int sql_run_batch(struct sql_reader *r, uint64_t run, struct buf *ret, struct err *e) _must_check_;

/* Appends "NAME\0" of each variable that the run's environment had; nothing where that was not
 * noted (a run of an early version). */
int sql_run_env_names(struct sql_reader *r, uint64_t run, struct buf *ret,
		      struct err *e) _must_check_;

/* The list's newest revision; 0: there is no such list. */
int sql_todo_rev(struct sql_reader *r, const char *list, int64_t *ret, struct err *e) _must_check_;
/* Events with rev > since, oldest first; limit 0: none. */
int sql_todo_history(struct sql_reader *r, const char *list, int64_t since, uint32_t limit,
		     bool (*fn)(void *arg, const struct todo_event_row *row), void *arg,
		     struct err *e) _must_check_;
/*
 * Appends the packed array of the list's items (by position) as of that revision. E_NOT_FOUND above
 * the newest revision; 0 is the empty list.
 */
int sql_todo_at(struct sql_reader *r, const char *list, int64_t rev, struct buf *ret,
		struct err *e) _must_check_;

struct sql_todo_list {
	const char *list;
	int64_t rev;
	uint32_t total, count[TODO_STATUS_MAX]; /* without removed ones */
};
/* All lists by name. */
int sql_todo_lists(struct sql_reader *r, bool (*fn)(void *arg, const struct sql_todo_list *row),
		   void *arg, struct err *e) _must_check_;

#endif
