/*
 * A connection to the database with its prepared statements, and the small change of binding and
 * reading columns. Inside daemon/store only: nobody else includes sqlite3.h. A connection belongs
 * to one thread at a time.
 */
#ifndef DAEMON_STORE_SQL_H
#define DAEMON_STORE_SQL_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "common/err.h"
#include "common/slice.h"
#include "daemon/record.h"

#define SQL_BUSY_TIMEOUT_MS 200
#define SQL_MAX_STATEMENTS 32
#define SQL_SPARE_MIN_PAGES 256 /* 1 MiB */

/* Columns in the order in which sql_bind_op / sql_column_op take them (attempt has the same). */
#define SQL_OP_COLUMNS                                                                             \
	"run, op, message, id, kind, text, state, cause, exit, signal, attempts, pid, started, "   \
	"ended, duration_ms, "                                                                     \
	"stdout_bytes, stderr_bytes, dropped_bytes, lingering, todo, error, description, "         \
	"meta"
#define SQL_OP_CMD 24 /* the parameter after these */
#define SQL_RUN_COLUMNS                                                                            \
	"run, state, name, key, digest, cwd, project, grp, list, ord, order_used, origin, "        \
	"parent, parent_op, created, "                                                             \
	"started, ended, priority, n_ops, n_messages, ops, succeeded, failed, skipped, "           \
	"cancelled, interrupted, wall_ms, "                                                        \
	"serial_ms, critical_ms, messages, meta, stopping, log_bytes, dropped, dropped_at"
#define SQL_TODO_COLUMNS                                                                           \
	"list, id, content, active_form, description, owner, parent, at, error, source, status, "  \
	"priority, blocked_by, "                                                                   \
	"tags, meta, position, rev, created, started, completed, lease_until, run, removed"

struct sql {
	sqlite3 *db;		  /* NULL: closed */
	const char *const *texts; /* what sql_stmt() prepares, by index */
	sqlite3_stmt *stmts[SQL_MAX_STATEMENTS];
};

/* The writer: FULL, WAL, secure_delete. Any SQLite result code. */
int sql_open_writer(struct sql *s, const char *path, const char *const *texts) _must_check_;
/* The same in two steps: the first changes nothing of a database that may be another's. */
int sql_open_as_it_is(struct sql *s, const char *path, const char *const *texts) _must_check_;
int sql_make_writer(struct sql *s) _must_check_;
int sql_open_reader(struct sql *s, const char *path, const char *const *texts) _must_check_;
void sql_close(struct sql *s);
int sql_exec(struct sql *s, const char *text) _must_check_;
/* Statement number i, prepared once, reset and without bindings; NULL: it cannot be prepared
 * (sql_code says why). */
sqlite3_stmt *sql_stmt(struct sql *s, int i);
/* Steps a statement that gives no rows and resets it; a SQLite result code, SQLITE_OK when done. */
int sql_run(sqlite3_stmt *stmt) _must_check_;
/* The one integer that `text` gives: SQLITE_ROW; SQLITE_DONE: it gives no row; or what is wrong. */
int sql_look(struct sql *s, const char *text, int64_t *ret) _must_check_;
/* The one integer that `text` gives; `dflt` when it gives no row or fails. */
int64_t sql_int(struct sql *s, const char *text, int64_t dflt);
/* Free pages of the file, if so many that it is worth while to give some back: a quarter of it may
 * be free, since what comes next fills it. */
int64_t sql_spare_pages(struct sql *s);
int sql_code(struct sql *s);
/* The connection is of no further use after this code: its cache and what is on disk may differ. */
bool sql_code_is_fatal(int code);
/* "cannot VERB: database or disk is full; make room beside 'path'" as E_STORAGE. Is 1. */
#define sql_error(...)                                                                             \
	({                                                                                         \
		sql_error_fill(__VA_ARGS__);                                                       \
		1;                                                                                 \
	})
void sql_error_fill(const struct sql *s, int code, const char *verb, const char *path,
		    struct err *e);

/* Binding from left to right; strings and blobs are not copied and must live until the step. */
struct sql_bind {
	sqlite3_stmt *stmt;
	int i;
};
void sql_put_int(struct sql_bind *b, int64_t v);
void sql_put_text(struct sql_bind *b, const char *s);  /* NULL: NULL */
void sql_put_blob(struct sql_bind *b, struct slice s); /* absent: NULL */

/* Reading from left to right; strings and blobs are valid until the next step. */
struct sql_column {
	sqlite3_stmt *stmt;
	int i;
};
int64_t sql_get_int(struct sql_column *c);
const char *sql_get_text(struct sql_column *c);
struct slice sql_get_blob(struct sql_column *c);

void sql_bind_op(sqlite3_stmt *stmt, const struct op_row *row);
void sql_column_op(sqlite3_stmt *stmt, struct op_row *ret);
void sql_bind_run(sqlite3_stmt *stmt, const struct run_row *row);
void sql_column_run(sqlite3_stmt *stmt, struct run_row *ret);
void sql_bind_todo(sqlite3_stmt *stmt, const struct todo_row *row);
void sql_column_todo(sqlite3_stmt *stmt, struct todo_row *ret);

#endif
