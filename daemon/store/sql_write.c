#include "daemon/store/sql_write.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/log.h"
#include "common/sum.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/store/runfiles.h"
#include "daemon/store/sql_write_impl.h"
#include "proto/errors.h"

const char *const writer_statements[] = {
	[W_BEGIN] = "BEGIN IMMEDIATE",
	[W_COMMIT] = "COMMIT",
	[W_SEQ] = "UPDATE meta SET value = ? WHERE key = 'seq'",
	[W_BOOT] = "UPDATE meta SET value = ? WHERE key = 'boot'",
	[W_GROUP] = "INSERT OR REPLACE INTO grp(name, slots, paused) VALUES(?, ?, ?)",
	[W_REV] = "UPDATE meta SET value = max(value, ?) WHERE key = 'rev'",
	[W_NEXT_RUN] = "UPDATE meta SET value = max(value, ?) WHERE key = 'next_run'",
	[W_KEY] = "SELECT run, digest FROM run WHERE key = ?",
	[W_RUN_NEW] =
		"INSERT INTO run(" SQL_RUN_COLUMNS ")"
		" VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[W_BATCH] = "INSERT INTO batch(run, body, env_names, env_sum) VALUES(?, ?, ?, ?)",
	[W_RUN_UPDATE] =
		"UPDATE run SET state = ?2, started = ?3, ended = ?4, order_used = ?5, "
		"ops = ?6, succeeded = ?7,"
		" failed = ?8, skipped = ?9, cancelled = ?10, interrupted = ?11, wall_ms "
		"= ?12, serial_ms = ?13,"
		" critical_ms = ?14, messages = ?15, stopping = ?16, log_bytes = ?17 WHERE run = ?1",
	[W_OP] = "INSERT OR REPLACE INTO op(" SQL_OP_COLUMNS
		 ", cmd) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[W_ATTEMPT] = "INSERT OR REPLACE INTO attempt(" SQL_OP_COLUMNS
		      ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[W_CLAIM] = "INSERT OR REPLACE INTO claim(run, ops) VALUES(?, ?)",
	[W_CLAIM_NONE] = "DELETE FROM claim WHERE run = ?",
	[W_TODO] = "INSERT OR REPLACE INTO todo(" SQL_TODO_COLUMNS ")"
		   " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[W_TODO_REV] = "SELECT max(rev) FROM todo_event WHERE list = ?",
	[W_TODO_EVENT] = ("INSERT INTO todo_event(list, rev, time, run, source, restored, before, "
			  "after) VALUES(?,?,?,?,?,?,?,?)"),
	[W_LOG_BYTES] = "SELECT log_bytes FROM run WHERE run = ?",
	[W_DROP] = "UPDATE run SET log_bytes = 0, dropped = ?2, dropped_at = ?3 WHERE run = ?1",
	[W_FORGET_RUN] = "DELETE FROM run WHERE run = ?",
	[W_GONE] = "INSERT OR IGNORE INTO gone(run) VALUES(?)",
	[W_GONE_FIRST] = "SELECT run FROM gone LIMIT 1",
	[W_GONE_OPS] = "DELETE FROM op WHERE run = ?1 AND op IN"
		       " (SELECT op FROM op WHERE run = ?1 LIMIT ?2)",
	[W_GONE_ATTEMPTS] = "DELETE FROM attempt WHERE run = ?1 AND (op, attempts) IN"
			    " (SELECT op, attempts FROM attempt WHERE run = ?1 LIMIT ?2)",
	[W_GONE_BODY] = "SELECT length(body) FROM batch WHERE run = ?",
	[W_GONE_BATCH] = "DELETE FROM batch WHERE run = ?",
	[W_GONE_DONE] = "DELETE FROM gone WHERE run = ?",
	[W_TOOK] = "SELECT duration_ms FROM op WHERE cmd = ? ORDER BY run DESC, op DESC LIMIT 3",
};
static_assert(ARRAY_SIZE(writer_statements) == W_MAX && W_MAX <= SQL_MAX_STATEMENTS,
	      "a text for each statement");

/* --- one record each: a SQLite result code --- */

int writer_ints(struct writer *w, enum statement which, int64_t v)
{
	sqlite3_stmt *stmt = sql_stmt(&w->sql, which);

	if (!stmt)
		return sql_code(&w->sql);
	sqlite3_bind_int64(stmt, 1, v);
	return sql_run(stmt);
}

/* What stays of the environment: "NAME\0" of each "NAME=VALUE\0". */
static void env_names(struct slice env, struct buf *ret)
{
	for (const char *p = env.p, *end = p + env.len; p && p < end; p += strlen(p) + 1) {
		buf_add(ret, p, strcspn(p, "="));
		buf_addc(ret, '\0');
	}
}

static int writer_run_new(struct writer *w, const struct txn_record *r)
{
	_cleanup_buf_ struct buf names = BUF_INIT;
	sqlite3_stmt *stmt = sql_stmt(&w->sql, W_RUN_NEW);
	struct sql_bind b;
	int code;

	if (!stmt)
		return sql_code(&w->sql);
	sql_bind_run(stmt, &r->run_new.row);
	code = sql_run(stmt);
	if (code != SQLITE_OK)
		return code;
	b = (struct sql_bind){ .stmt = sql_stmt(&w->sql, W_BATCH) };
	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_int(&b, (int64_t)r->run_new.row.run);
	sql_put_blob(&b, r->run_new.batch.p ? r->run_new.batch : slice_of("", 0));
	env_names(r->run_new.env, &names);
	sql_put_blob(&b, names.len ? buf_slice(&names) : slice_of("", 0));
	sql_put_int(&b, (int64_t)sum_bytes(r->run_new.env));
	code = sql_run(b.stmt);
	return code == SQLITE_OK ? writer_ints(w, W_NEXT_RUN, (int64_t)r->run_new.row.run + 1)
				 : code;
}

static int writer_run_update(struct writer *w, const struct txn_record *r)
{
	struct sql_bind b = { .stmt = sql_stmt(&w->sql, W_RUN_UPDATE) };
	const struct run_summary *s = &r->run.summary;
	int64_t log_bytes = 0;
	int code;

	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_int(&b, (int64_t)r->run.run);
	sql_put_int(&b, r->run.state);
	sql_put_int(&b, r->run.started);
	sql_put_int(&b, r->run.ended);
	sql_put_int(&b, r->run.order_used);
	sql_put_int(&b, s->ops);
	sql_put_int(&b, s->succeeded);
	sql_put_int(&b, s->failed);
	sql_put_int(&b, s->skipped);
	sql_put_int(&b, s->cancelled);
	sql_put_int(&b, s->interrupted);
	sql_put_int(&b, s->wall_ms);
	sql_put_int(&b, s->serial_ms);
	sql_put_int(&b, s->critical_ms);
	sql_put_blob(&b, r->run.messages);
	sql_put_int(&b, r->run.stopping);
	/* Its log is whole: every op's end came after its pipes had been drained. */
	if (run_state_ended(r->run.state))
		log_bytes = runfiles_log_bytes(w->runs_fd, r->run.run);
	sql_put_int(&b, log_bytes);
	w->log_more += log_bytes;
	code = sql_run(b.stmt);
	/* Nothing of an ended run can start any more. */
	if (code == SQLITE_OK && run_state_ended(r->run.state))
		code = writer_ints(w, W_CLAIM_NONE, (int64_t)r->run.run);
	return code;
}

static int writer_op(struct writer *w, const struct txn_record *r)
{
	sqlite3_stmt *stmt = sql_stmt(&w->sql, r->kind == TXN_OP ? W_OP : W_ATTEMPT);

	if (!stmt)
		return sql_code(&w->sql);
	sql_bind_op(stmt, &r->op);
	if (r->kind == TXN_OP && r->op.cmd)
		sqlite3_bind_int64(stmt, SQL_OP_CMD, (int64_t)r->op.cmd);
	return sql_run(stmt);
}

/* The mean of the last few times; of what took no time, 1. */
static int took_look(struct writer *w, struct took_row *row)
{
	struct sql_bind b = { .stmt = sql_stmt(&w->sql, W_TOOK) };
	int64_t sum = 0, n = 0;
	int code;

	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_int(&b, (int64_t)row->cmd);
	while ((code = sqlite3_step(b.stmt)) == SQLITE_ROW) {
		sum += MAX2(sqlite3_column_int64(b.stmt, 0), 1);
		n++;
	}
	row->ms = n ? (uint32_t)MIN2(sum / n, (int64_t)UINT32_MAX) : 0;
	sqlite3_reset(b.stmt);
	return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int writer_took(struct writer *w, const struct txn_record *r)
{
	struct took_row *rows = r->took.rows;

	for (size_t i = 0; i < r->took.n; i++) {
		int code = SQLITE_OK;

		if (i > 0 && rows[i].cmd == rows[i - 1].cmd)
			rows[i].ms = rows[i - 1].ms;
		else
			code = took_look(w, &rows[i]);
		if (code != SQLITE_OK)
			return code;
	}
	return SQLITE_OK;
}

static int writer_claim(struct writer *w, const struct txn_record *r)
{
	struct sql_bind b;

	if (r->claim.ops.len == 0)
		return writer_ints(w, W_CLAIM_NONE, (int64_t)r->claim.run);
	b = (struct sql_bind){ .stmt = sql_stmt(&w->sql, W_CLAIM) };
	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_int(&b, (int64_t)r->claim.run);
	sql_put_blob(&b, r->claim.ops);
	return sql_run(b.stmt);
}

static int writer_todo(struct writer *w, const struct txn_record *r)
{
	sqlite3_stmt *stmt = sql_stmt(&w->sql, W_TODO);

	if (!stmt)
		return sql_code(&w->sql);
	sql_bind_todo(stmt, &r->todo);
	return sql_run(stmt);
}

static int writer_todo_event(struct writer *w, const struct txn_record *r)
{
	struct sql_bind b = { .stmt = sql_stmt(&w->sql, W_TODO_EVENT) };

	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_text(&b, r->todo_event.list);
	sql_put_int(&b, r->todo_event.rev);
	sql_put_int(&b, r->todo_event.time);
	sql_put_int(&b, (int64_t)r->todo_event.run);
	sql_put_text(&b, r->todo_event.source);
	sql_put_int(&b, r->todo_event.restored);
	sql_put_blob(&b, r->todo_event.before);
	sql_put_blob(&b, r->todo_event.after);
	return sql_run(b.stmt);
}

static int writer_set_group(struct writer *w, const struct txn_record *r)
{
	struct sql_bind b = { .stmt = sql_stmt(&w->sql, W_GROUP) };

	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_text(&b, r->group.group);
	sql_put_int(&b, r->group.slots);
	sql_put_int(&b, r->group.paused);
	return sql_run(b.stmt);
}

static int writer_rev(struct writer *w, const struct txn_record *r)
{
	return writer_ints(w, W_REV, r->rev);
}

/* All there is to do was done when the transaction was prepared. */
static int writer_nothing(struct writer *w, const struct txn_record *r)
{
	(void)w;
	(void)r;
	return SQLITE_OK;
}

static int (*const writer_record[])(struct writer *w, const struct txn_record *r) = {
	[TXN_RUN_NEW] = writer_run_new,
	[TXN_RUN_UPDATE] = writer_run_update,
	[TXN_OP] = writer_op,
	[TXN_CLAIM] = writer_claim,
	[TXN_ATTEMPT] = writer_op,
	[TXN_TODO] = writer_todo,
	[TXN_TODO_EVENT] = writer_todo_event,
	[TXN_FORGET] = writer_forget,
	[TXN_REV] = writer_rev,
	[TXN_GROUP] = writer_set_group,
	[TXN_DROP] = writer_drop,
	[TXN_TIDY] = writer_tidy,
	[TXN_KEY] = writer_nothing,
	[TXN_TOOK] = writer_took,
};
static_assert(ARRAY_SIZE(writer_record) == TXN_KIND_MAX, "a function for each kind of record");

/* --- what is looked at and done before any record of a transaction is applied --- */

static void job_fail(struct write_job *job, const struct err *e)
{
	if (!job->e)
		job->e = xmalloc(sizeof(*job->e));
	*job->e = *e;
	job->status = TXN_FAILED;
}

static void job_fail_errno(struct write_job *job, int r, const char *what, uint64_t run,
			   const char *dir)
{
	struct err e = ERR_INIT;

	err_set(&e, E_STORAGE, "cannot store: %s of run %llu in '%s': %s: %s", what,
		(unsigned long long)run, dir, strerror(-r), trouble_mend(-r));
	job_fail(job, &e);
}

static bool ids_have(const struct buf *ids, uint64_t run)
{
	const uint64_t *p = (const void *)ids->p;

	/* From the end: results of one run come together. */
	for (size_t i = ids->len / sizeof(run); i-- > 0;)
		if (p[i] == run)
			return true;
	return false;
}

/* A key, stored before? SQLITE_OK with job->status set if so. */
static int writer_check_key(struct writer *w, struct write_job *job, const char *key,
			    const uint8_t digest[32])
{
	struct sql_bind b = { .stmt = sql_stmt(&w->sql, W_KEY) };
	int code;

	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_text(&b, key);
	code = sqlite3_step(b.stmt);
	if (code == SQLITE_ROW) {
		struct sql_column c = { b.stmt, 0 };

		job->existing = (uint64_t)sql_get_int(&c);
		job->status = slice_eq(sql_get_blob(&c), slice_of(digest, 32)) ? TXN_KEY_SAME
									       : TXN_KEY_OTHER;
	}
	sqlite3_reset(b.stmt);
	sqlite3_clear_bindings(b.stmt);
	return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

/* A revision must follow the stored one: what it was built on may have failed. */
static int writer_check_rev(struct writer *w, struct write_job *job,
			    const struct todo_event_row *row)
{
	struct sql_bind b = { .stmt = sql_stmt(&w->sql, W_TODO_REV) };
	int64_t stored = 0;
	int code;

	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_text(&b, row->list);
	code = sqlite3_step(b.stmt);
	if (code == SQLITE_ROW)
		stored = sqlite3_column_int64(b.stmt, 0);
	sqlite3_reset(b.stmt);
	sqlite3_clear_bindings(b.stmt);
	if (code != SQLITE_ROW)
		return code;
	if (row->rev != stored + 1) {
		struct err e = ERR_INIT;

		err_set(&e, E_STORAGE,
			"cannot store: revision %lld of list '%s' does not follow revision %lld, "
			"an earlier write failed; try again",
			(long long)row->rev, row->list, (long long)stored);
		job_fail(job, &e);
	}
	return SQLITE_OK;
}

static void ids_remove(struct buf *ids, uint64_t run)
{
	uint64_t *p = (void *)ids->p;
	size_t n = ids->len / sizeof(run);

	for (size_t i = n; i-- > 0;)
		if (p[i] == run)
			p[i] = p[--n];
	ids->len = n * sizeof(run);
}

static void writer_sync_log(struct writer *w, struct write_job *job, const struct op_row *row)
{
	int r;

	if (!w->sync_log || row->stdout_bytes + row->stderr_bytes == 0 ||
	    ids_have(&w->synced, row->run))
		return;
	r = w->sync_log(w->runs_dir, row->run, ids_have(&w->unsynced, row->run));
	ids_remove(&w->unsynced, row->run);
	if (r < 0)
		buf_add(&w->unsynced, &row->run, sizeof(row->run));
	if (r < 0)
		job_fail_errno(job, r, "output", row->run, w->runs_dir);
	else
		buf_add(&w->synced, &row->run, sizeof(row->run));
}

static void writer_make_env(struct writer *w, struct write_job *job, uint64_t run, struct slice env)
{
	int r = runfiles_dir(w->runs_dir, w->runs_fd);

	if (r == 0)
		r = runfiles_write_env(w->runs_fd, run, env);
	if (r < 0)
		job_fail_errno(job, r, "environment", run, w->runs_dir);
	else
		buf_add(&w->envs, &run, sizeof(run));
}

static int writer_prepare(struct writer *w, struct write_job *job)
{
	int code = SQLITE_OK;

	for (const struct txn_record *r = txn_first(job->txn); r; r = r->next) {
		if (r->kind == TXN_RUN_NEW && r->run_new.row.key)
			code = writer_check_key(w, job, r->run_new.row.key, r->run_new.row.digest);
		else if (r->kind == TXN_KEY)
			code = writer_check_key(w, job, r->key.key, r->key.digest);
		else if (r->kind == TXN_TODO_EVENT)
			code = writer_check_rev(w, job, &r->todo_event);
		else if (r->kind == TXN_OP || r->kind == TXN_ATTEMPT)
			writer_sync_log(w, job, &r->op);
		if (code != SQLITE_OK || job->status != TXN_DONE)
			return code;
	}
	for (const struct txn_record *r = txn_first(job->txn); r; r = r->next) {
		if (r->kind == TXN_RUN_NEW)
			writer_make_env(w, job, r->run_new.row.run, r->run_new.env);
		if (job->status != TXN_DONE)
			return SQLITE_OK;
	}
	return SQLITE_OK;
}

static int writer_one(struct writer *w, struct write_job *job)
{
	int code = writer_prepare(w, job);

	if (code != SQLITE_OK || job->status != TXN_DONE)
		return code;
	for (const struct txn_record *r = txn_first(job->txn); r; r = r->next) {
		code = writer_record[r->kind](w, r);
		if (code != SQLITE_OK)
			return code;
	}
	return SQLITE_OK;
}

/* --- groups --- */

static int writer_step(struct writer *w, enum statement which)
{
	sqlite3_stmt *stmt = sql_stmt(&w->sql, which);

	return stmt ? sql_run(stmt) : sql_code(&w->sql);
}

static int writer_boot(struct writer *w)
{
	struct sql_bind b = { .stmt = sql_stmt(&w->sql, W_BOOT) };

	if (!b.stmt)
		return sql_code(&w->sql);
	sql_put_text(&b, w->boot_id);
	return sql_run(b.stmt);
}

static int writer_commit(struct writer *w)
{
	int code = writer_ints(w, W_SEQ, ++w->seq);

	if (code == SQLITE_OK && atomic_load(&w->mark_boot))
		code = writer_boot(w);
	if (code == SQLITE_OK)
		code = writer_step(w, W_COMMIT);
	return code;
}

/* The names of new environments. 0, or 1 with e. */
static int writer_sync_envs(struct writer *w, struct err *e)
{
	int r = w->envs.len > 0 ? runfiles_sync(w->runs_fd) : 0;

	if (r < 0)
		return err_set(e, E_STORAGE, "cannot store: folder '%s': %s: %s", w->runs_dir,
			       strerror(-r), trouble_mend(-r));
	return 0;
}

static void remove_envs(struct writer *w, struct buf *runs)
{
	const uint64_t *ids = (const void *)runs->p;

	for (size_t i = 0; i < runs->len / sizeof(*ids); i++)
		runfiles_remove_env(w->runs_fd, ids[i]);
	buf_clear(runs);
}

static void writer_rollback(struct writer *w)
{
	if (w->sql.db && !sqlite3_get_autocommit(w->sql.db) &&
	    sql_exec(&w->sql, "ROLLBACK") != SQLITE_OK)
		log_debug("rollback failed: %s", sqlite3_errmsg(w->sql.db));
	remove_envs(w, &w->envs);
}

/* SQLite's own measure of when; 64 MiB, as long as its file may stay; and what is a pause. */
#define LOG_PAGES 1000
#define LOG_MAX_PAGES 16384
#define LOG_PAUSE_MS 250

static int writer_on_log(void *arg, sqlite3 *db _unused_, const char *name _unused_, int pages)
{
	struct writer *w = arg;

	w->log_can_wait = w->log_can_wait || pages - w->log_pages > LOG_PAGES;
	w->log_pages = pages;
	return SQLITE_OK;
}

void writer_watch_log(struct writer *w)
{
	sqlite3_wal_hook(w->sql.db, writer_on_log, w);
}

int64_t writer_rest(struct writer *w, bool idle)
{
	int most = idle || !w->log_can_wait ? LOG_PAGES : LOG_MAX_PAGES;

	remove_envs(w, &w->done_envs);
	if (!w->sql.db || w->log_pages < LOG_PAGES)
		return -1;
	if (w->log_pages < most)
		return LOG_PAUSE_MS;
	/* Where somebody reads, or it fails, the next one does it. */
	sqlite3_wal_checkpoint_v2(w->sql.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	w->log_pages = 0;
	w->log_can_wait = false;
	return -1;
}

/*
 * After an I/O error the connection's view cannot be trusted, and what a failed COMMIT left on disk
 * is open. A new connection shows whether the group counts. Does it, then a checkpoint brings it
 * into the database file by fresh writes and fsyncs before we say so; does it not, then a small
 * commit of our own lays itself over the remains, so that they cannot come back to life after a
 * crash (unless the disk takes no write at all). True: the group is stored. Where no connection can
 * be had w->sql.db is NULL, and e says why.
 */
static bool writer_reopen(struct writer *w, struct err *e)
{
	int64_t stored;
	int code;

	sql_close(&w->sql);
	if (writer_see_to_files(w, e)) /* what stands there may be another's */
		return false;
	code = sql_open_writer(&w->sql, w->path, writer_statements);
	if (code == SQLITE_OK)
		writer_watch_log(w);
	if (code == SQLITE_OK && !w->guard.db)
		code = writer_guard(w);
	if (code != SQLITE_OK) {
		sql_error_fill(&w->sql, code, "store: cannot open the database", w->path, e);
		sql_close(&w->sql);
		return false;
	}
	stored = sql_int(&w->sql, "SELECT value FROM meta WHERE key = 'seq'", -1);
	if (stored == w->seq)
		return sql_exec(&w->sql, "PRAGMA wal_checkpoint(TRUNCATE)") == SQLITE_OK;
	if (writer_ints(w, W_SEQ, ++w->seq) != SQLITE_OK)
		log_debug("the database takes no writes after an I/O error");
	return false;
}

static void group_fail(struct write_job *const *jobs, size_t n, const struct err *e)
{
	for (size_t i = 0; i < n; i++)
		job_fail(jobs[i], e);
}

/* One BEGIN..COMMIT; the code of what went wrong, e filled then. Jobs refused on their own account
 * have their status. */
static int writer_try(struct writer *w, struct write_job *const *jobs, size_t n, struct err *e)
{
	struct err again = ERR_INIT;
	bool committing = false;
	w->log_more = 0;
	int code = writer_step(w, W_BEGIN);

	for (size_t i = 0; i < n && code == SQLITE_OK; i++) {
		jobs[i]->status = TXN_DONE;
		code = writer_one(w, jobs[i]);
	}
	if (code == SQLITE_OK && writer_sync_envs(w, e)) {
		writer_rollback(w);
		return SQLITE_IOERR_DIR_FSYNC;
	}
	if (code == SQLITE_OK) {
		committing = true;
		code = writer_commit(w);
	}
	if (code == SQLITE_OK)
		return code;
	sql_error(&w->sql, code, "store", w->path, e);
	if (sql_code_is_fatal(code) && writer_reopen(w, &again) && committing)
		return SQLITE_OK;
	writer_rollback(w);
	return code;
}

/* Files that are of no use after this commit, and room that is. */
static void writer_after(struct writer *w, const struct write_job *job)
{
	if (job->status != TXN_DONE)
		return;
	for (const struct txn_record *r = txn_first(job->txn); r; r = r->next) {
		if (r->kind == TXN_RUN_UPDATE && run_state_ended(r->run.state))
			buf_add(&w->done_envs, &r->run.run, sizeof(r->run.run));
		if (r->kind == TXN_TIDY && w->sql.db)
			writer_tidied(w, r->wipe);
	}
}

static void writer_jobs(struct writer *w, struct write_job *const *jobs, size_t n)
{
	struct err e = ERR_INIT;
	int code;

	if (writer_see_to_files(w, &e)) {
		group_fail(jobs, n, &e);
		return;
	}
	if (!w->sql.db)
		writer_reopen(w, &e);
	if (!w->sql.db) {
		group_fail(jobs, n, &e);
		return;
	}
	buf_clear(&w->envs);
	code = writer_try(w, jobs, n, &e);
	if (code == SQLITE_OK) {
		atomic_fetch_add(&w->log_bytes, w->log_more);
		for (size_t i = 0; i < n; i++)
			writer_after(w, jobs[i]);
	} else if (n > 1 && !sql_code_is_fatal(code) && (code & 0xff) != SQLITE_BUSY) {
		/* One of them cannot be stored (or all together are too much for the disk): the
		 * others need not suffer. */
		for (size_t i = 0; i < n; i++)
			writer_jobs(w, &jobs[i], 1);
	} else {
		group_fail(jobs, n, &e);
	}
}

/* The writer last: the last to close brings the WAL into the database. */
void writer_close(struct writer *w)
{
	struct err e = ERR_INIT;

	/* With the last connection goes what was removed. */
	if (writer_see_to_files(w, &e))
		log_error("%s", e.text);
	if (w->guard.db)
		sql_close(&w->guard);
	if (w->sql.db)
		sql_close(&w->sql);
	writer_forget_files(w);
	buf_done(&w->unsynced);
	buf_done(&w->synced);
	buf_done(&w->envs);
	buf_done(&w->done_envs);
}

void writer_group(struct writer *w, struct list *jobs)
{
	_cleanup_buf_ struct buf array = BUF_INIT;

	list_for (jobs, node) {
		struct write_job *job =
			list_entry(list_entry(node, struct lane_job, node), struct write_job, job);

		buf_add(&array, &job, sizeof(job));
	}
	buf_clear(&w->synced);
	writer_jobs(w, (struct write_job *const *)(void *)array.p,
		    array.len / sizeof(struct write_job *));
}
