/*
 * What goes: the output of runs, runs themselves, and the rest of forgotten ones bit by bit. A run
 * may have a million ops: so a forgotten one is first only put into `gone`, and each TXN_TIDY
 * deletes as much as a commit of clients can well wait for. What is left after a crash is still in
 * `gone`.
 */
#include "common/log.h"
#include "daemon/store/sql_write_impl.h"

/* Of one TXN_TIDY: rows, or pages of a batch; and pages given back to the file system. */
enum { TIDY_ROWS = 2000 };
#define TIDY_VACUUM_PAGES "256"

/* The integer that a statement about `run` gives; 0 for none. */
static int forget_int(struct writer *w, enum statement which, uint64_t run, int64_t *ret)
{
	sqlite3_stmt *stmt = sql_stmt(&w->sql, which);
	int code;

	if (!stmt)
		return sql_code(&w->sql);
	if (run)
		sqlite3_bind_int64(stmt, 1, (int64_t)run);
	code = sqlite3_step(stmt);
	*ret = code == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
	sqlite3_reset(stmt);
	return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

/* The run's output takes no room any more. */
static int forget_log(struct writer *w, uint64_t run)
{
	int64_t bytes;
	int code = forget_int(w, W_LOG_BYTES, run, &bytes);

	if (code == SQLITE_OK)
		w->log_more -= bytes;
	return code;
}

int writer_forget(struct writer *w, const struct txn_record *r)
{
	static const enum statement each[] = { W_FORGET_RUN, W_CLAIM_NONE, W_GONE };
	int code = forget_log(w, r->forget);

	for (size_t i = 0; i < ARRAY_SIZE(each) && code == SQLITE_OK; i++)
		code = writer_ints(w, each[i], (int64_t)r->forget);
	return code;
}

int writer_drop(struct writer *w, const struct txn_record *r)
{
	struct sql_bind b;
	int code = forget_log(w, r->drop.run);

	if (code != SQLITE_OK)
		return code;
	b = (struct sql_bind){ .stmt = sql_stmt(&w->sql, W_DROP) };
	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_int(&b, (int64_t)r->drop.run);
	sql_put_int(&b, r->drop.why);
	sql_put_int(&b, r->drop.time);
	return sql_run(b.stmt);
}

/* Deletes at most *left rows. */
static int tidy_rows(struct writer *w, enum statement which, int64_t run, int64_t *left)
{
	struct sql_bind b = { .stmt = sql_stmt(&w->sql, which) };
	int code;

	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_int(&b, run);
	sql_put_int(&b, *left);
	code = sql_run(b.stmt);
	if (code == SQLITE_OK)
		*left -= sqlite3_changes(w->sql.db);
	return code;
}

/* A batch goes whole: its pages are zeroed each. */
static int tidy_batch(struct writer *w, int64_t run, int64_t *left)
{
	int64_t bytes;
	int code = forget_int(w, W_GONE_BODY, (uint64_t)run, &bytes);

	*left -= 1 + bytes / 4096;
	if (code == SQLITE_OK)
		code = writer_ints(w, W_GONE_BATCH, run);
	return code == SQLITE_OK ? writer_ints(w, W_GONE_DONE, run) : code;
}

int writer_tidy(struct writer *w, const struct txn_record *r _unused_)
{
	int64_t left = TIDY_ROWS, run = 0;
	int code = SQLITE_OK;

	while (left > 0) {
		code = forget_int(w, W_GONE_FIRST, 0, &run);
		if (code != SQLITE_OK || run == 0)
			break;
		code = tidy_rows(w, W_GONE_OPS, run, &left);
		if (code == SQLITE_OK && left > 0)
			code = tidy_rows(w, W_GONE_ATTEMPTS, run, &left);
		if (code == SQLITE_OK && left > 0)
			code = tidy_batch(w, run, &left);
		if (code != SQLITE_OK)
			break;
	}
	return code;
}

void writer_tidied(struct writer *w, bool wipe)
{
	if (sql_spare_pages(&w->sql) > 0 &&
	    sql_exec(&w->sql, "PRAGMA incremental_vacuum(" TIDY_VACUUM_PAGES ")") != SQLITE_OK)
		log_debug("incremental vacuum failed: %s", sqlite3_errmsg(w->sql.db));
	/* Somebody may be reading: then the next checkpoint does it. */
	if (wipe && sql_exec(&w->sql, "PRAGMA wal_checkpoint(TRUNCATE)") != SQLITE_OK)
		log_debug("checkpoint failed: %s", sqlite3_errmsg(w->sql.db));
}
