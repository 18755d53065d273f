/* What batchd needs in memory when it starts. Each load has a connection of its own, so that no
 * thread is in the way. */
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/xalloc.h"
#include "daemon/store/sql_reader.h"
#include "daemon/store/store.h"
#include "daemon/store/store_impl.h"

/* Op rows of one run, strings included. */
struct load_ops {
	struct op_row *rows;
	uint32_t n, cap;
	char **strings;
	uint32_t n_strings, cap_strings;
};

static void load_ops_clear(struct load_ops *ops)
{
	for (uint32_t i = 0; i < ops->n_strings; i++)
		free(ops->strings[i]);
	ops->n = ops->n_strings = 0;
}

static void load_ops_done(struct load_ops *ops)
{
	load_ops_clear(ops);
	free(ops->rows);
	free(ops->strings);
}

static void load_own(struct load_ops *ops, const char **s)
{
	char *own;

	if (!*s)
		return;
	if (ops->n_strings == ops->cap_strings) {
		ops->cap_strings = MAX2(64u, ops->cap_strings * 2);
		ops->strings = xrealloc(ops->strings, ops->cap_strings, sizeof(*ops->strings));
	}
	own = xstrdup(*s);
	ops->strings[ops->n_strings++] = own;
	*s = own;
}

static void load_ops_add(struct load_ops *ops, const struct op_row *row)
{
	struct op_row *to;

	if (ops->n == ops->cap) {
		ops->cap = MAX2(64u, ops->cap * 2);
		ops->rows = xrealloc(ops->rows, ops->cap, sizeof(*ops->rows));
	}
	to = &ops->rows[ops->n++];
	*to = *row;
	load_own(ops, &to->id);
	load_own(ops, &to->text);
	load_own(ops, &to->todo);
	load_own(ops, &to->error);
}

static int load_ops(struct sql_reader *r, sqlite3_stmt *stmt, uint64_t run, struct load_ops *ret,
		    struct err *e)
{
	bool failed = false;

	load_ops_clear(ret);
	sqlite3_reset(stmt);
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	while (sql_reader_step(r, stmt, &failed, e)) {
		struct op_row row;

		sql_column_op(stmt, &row);
		load_ops_add(ret, &row);
	}
	return failed;
}

/* The blob that `stmt` gives for the run, copied so that it is aligned; none leaves `ret` empty. */
static int load_blob(struct sql_reader *r, sqlite3_stmt *stmt, uint64_t run, struct buf *ret,
		     struct err *e)
{
	struct sql_column c = { stmt, 0 };
	bool failed = false;

	buf_clear(ret);
	sqlite3_reset(stmt);
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	if (sql_reader_step(r, stmt, &failed, e))
		buf_addslice(ret, sql_get_blob(&c));
	return failed;
}

static void load_reader_done(struct sql_reader *r)
{
	sql_reader_close(r);
}

int store_load_runs(struct store *s,
		    int (*fn)(void *arg, const struct store_run *run, struct err *e), void *arg,
		    struct err *e)
{
	_cleanup_(load_reader_done) struct sql_reader r = { .path = store_path(s) };
	_cleanup_(load_ops_done) struct load_ops ops = { .n = 0 }, tries = { .n = 0 };
	_cleanup_buf_ struct buf batch = BUF_INIT, claims = BUF_INIT;
	_cleanup_query_ sqlite3_stmt *runs = NULL, *bodies = NULL, *claim = NULL, *op = NULL,
				     *try = NULL;
	bool failed = false;

	runs = sql_reader_prepare(
		&r, "SELECT " SQL_RUN_COLUMNS " FROM run WHERE state < 3 ORDER BY run", e);
	bodies = runs ? sql_reader_prepare(&r, "SELECT body, env_sum FROM batch WHERE run = ?", e)
		      : NULL;
	claim = bodies ? sql_reader_prepare(&r, "SELECT ops FROM claim WHERE run = ?", e) : NULL;
	op = claim ? sql_reader_prepare(
			     &r, "SELECT " SQL_OP_COLUMNS " FROM op WHERE run = ? ORDER BY op", e)
		   : NULL;
	try = op ? sql_reader_prepare(&r,
				      "SELECT " SQL_OP_COLUMNS
				      " FROM attempt WHERE run = ? ORDER BY op, attempts",
				      e)
		 : NULL;
	if (!try)
		return 1;
	while (sql_reader_step(&r, runs, &failed, e)) {
		struct store_run run;

		sql_column_run(runs, &run.row);
		if (load_blob(&r, bodies, run.row.run, &batch, e) ||
		    load_blob(&r, claim, run.row.run, &claims, e) ||
		    load_ops(&r, op, run.row.run, &ops, e) ||
		    load_ops(&r, try, run.row.run, &tries, e))
			return 1;
		run.batch = buf_slice(&batch);
		run.env_sum = (uint64_t)sqlite3_column_int64(bodies, 1);
		run.claims = buf_slice(&claims);
		run.ops = ops.rows;
		run.n_ops = ops.n;
		run.attempts = tries.rows;
		run.n_attempts = tries.n;
		if (fn(arg, &run, e) != 0)
			return 1;
	}
	return failed;
}

int store_load_groups(struct store *s, void (*fn)(void *arg, const struct group_row *row),
		      void *arg, struct err *e)
{
	_cleanup_(load_reader_done) struct sql_reader r = { .path = store_path(s) };
	_cleanup_query_ sqlite3_stmt *stmt =
		sql_reader_prepare(&r, "SELECT name, slots, paused FROM grp ORDER BY name", e);
	bool failed = false;

	if (!stmt)
		return 1;
	while (sql_reader_step(&r, stmt, &failed, e)) {
		struct sql_column c = { stmt, 0 };
		struct group_row row = { .group = sql_get_text(&c) };

		row.slots = (uint32_t)sql_get_int(&c);
		row.paused = sql_get_int(&c) != 0;
		fn(arg, &row);
	}
	return failed;
}

int store_run_state(struct store *s, uint64_t run, enum run_state *ret)
{
	_cleanup_(load_reader_done) struct sql_reader r = { .path = store_path(s) };
	_cleanup_query_ sqlite3_stmt *stmt = NULL;
	struct err e = ERR_INIT;
	bool failed = false;

	stmt = sql_reader_prepare(&r, "SELECT state FROM run WHERE run = ?", &e);
	if (!stmt)
		return 1;
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	if (!sql_reader_step(&r, stmt, &failed, &e))
		return 1;
	*ret = (enum run_state)sqlite3_column_int(stmt, 0);
	return 0;
}

/* --- todos --- */

static int load_lists(struct sql_reader *r, const char *list, const struct store_todo_sink *sink,
		      struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt =
		sql_reader_prepare(r,
				   "SELECT list, max(rev) FROM todo_event WHERE ?1 IS NULL OR list "
				   "= ?1 GROUP BY list ORDER BY list",
				   e);
	bool failed = false;

	if (!stmt)
		return 1;
	sqlite3_bind_text(stmt, 1, list, -1, SQLITE_STATIC);
	while (sql_reader_step(r, stmt, &failed, e)) {
		struct sql_column c = { stmt, 0 };
		const char *name = sql_get_text(&c);

		sink->list(sink->arg, name, sql_get_int(&c));
	}
	return failed;
}

static int load_items(struct sql_reader *r, const char *list, const struct store_todo_sink *sink,
		      struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(
		r,
		"SELECT " SQL_TODO_COLUMNS
		" FROM todo WHERE ?1 IS NULL OR list = ?1 ORDER BY list, position, id",
		e);
	bool failed = false;

	if (!stmt)
		return 1;
	sqlite3_bind_text(stmt, 1, list, -1, SQLITE_STATIC);
	while (sql_reader_step(r, stmt, &failed, e)) {
		struct todo_row row;

		sql_column_todo(stmt, &row);
		sink->item(sink->arg, &row);
	}
	return failed;
}

int store_load_todos(struct store *s, const char *list, const struct store_todo_sink *sink,
		     struct err *e)
{
	_cleanup_(load_reader_done) struct sql_reader r = { .path = store_path(s) };

	return load_lists(&r, list, sink, e) || load_items(&r, list, sink, e);
}
