#include "daemon/store/sql_read.h"

#include <assert.h>
#include <string.h>

#include "common/log.h"
#include "daemon/store/sql_reader.h"
#include "proto/errors.h"

int sql_reader_open(struct sql_reader *r, struct err *e)
{
	int code;

	if (r->sql.db)
		return 0;
	code = sql_open_reader(&r->sql, r->path, NULL);
	if (code == SQLITE_OK)
		return 0;
	sql_error(&r->sql, code, "read the database", r->path, e);
	sql_close(&r->sql);
	return 1;
}

void sql_reader_close(struct sql_reader *r)
{
	for (int i = 0; i < SQL_READER_KEPT; i++) {
		sqlite3_finalize(r->kept[i]);
		r->kept[i] = NULL;
	}
	if (r->sql.db)
		sql_close(&r->sql);
}

static void reader_failed(struct sql_reader *r, int code, struct err *e)
{
	sql_error(&r->sql, code, "read the database", r->path, e);
}

/* The first i statements make room for this one before them. */
static sqlite3_stmt *reader_keep(struct sql_reader *r, int i, sqlite3_stmt *stmt)
{
	memmove(r->kept + 1, r->kept, (size_t)i * sizeof(*r->kept));
	r->kept[0] = stmt;
	return stmt;
}

/* One in use (a callback reads with the text that it is called for) is left alone. */
static sqlite3_stmt *reader_find(struct sql_reader *r, const char *text)
{
	for (int i = 0; i < SQL_READER_KEPT && r->kept[i]; i++)
		if (!sqlite3_stmt_busy(r->kept[i]) && strcmp(sqlite3_sql(r->kept[i]), text) == 0)
			return reader_keep(r, i, r->kept[i]);
	return NULL;
}

sqlite3_stmt *sql_reader_prepare(struct sql_reader *r, const char *text, struct err *e)
{
	sqlite3_stmt *stmt;
	int code;

	if (sql_reader_open(r, e))
		return NULL;
	stmt = reader_find(r, text);
	if (stmt)
		return stmt;
	code = sqlite3_prepare_v3(r->sql.db, text, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
	if (code != SQLITE_OK) {
		reader_failed(r, code, e);
		return NULL;
	}
	sqlite3_finalize(r->kept[SQL_READER_KEPT - 1]);
	return reader_keep(r, SQL_READER_KEPT - 1, stmt);
}

static bool reader_do(struct sql_reader *r, const char *text)
{
	struct err e = ERR_INIT;
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(r, text, &e);

	return stmt && sqlite3_step(stmt) == SQLITE_DONE;
}

void sql_reader_begin(struct sql_reader *r)
{
	if (!reader_do(r, "BEGIN"))
		log_debug("the database cannot be read in one go");
}

/* After an error SQLite may have ended it already; what cannot be ended is not to stay as it was.
 */
void sql_reader_end(struct sql_reader *r)
{
	if (r->sql.db && !sqlite3_get_autocommit(r->sql.db) && !reader_do(r, "COMMIT"))
		sql_reader_close(r);
}

bool sql_reader_step(struct sql_reader *r, sqlite3_stmt *stmt, bool *failed, struct err *e)
{
	int code = sqlite3_step(stmt);

	if (code == SQLITE_ROW)
		return true;
	if (code != SQLITE_DONE) {
		*failed = true;
		reader_failed(r, code, e);
	}
	return false;
}

/* --- rows that outlive their statement --- */

static size_t text_size(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}

/* `b` has the room already, so that what was handed out before stays where it is. */
static void own_text(struct buf *b, const char **s)
{
	if (*s) {
		size_t at = b->len;

		buf_add(b, *s, strlen(*s) + 1);
		*s = b->p + at;
	}
}

static void own_slice(struct buf *b, struct slice *s)
{
	if (s->p) {
		size_t at = b->len;

		buf_addslice(b, *s);
		s->p = b->p + at;
	}
}

static void run_row_own(struct run_row *row, struct buf *b)
{
	const char **texts[] = { &row->name,	&row->key,   &row->cwd,
				 &row->project, &row->group, &row->list };
	size_t need = row->messages.len + row->meta.len + 1;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		need += text_size(*texts[i]);
	buf_clear(b);
	buf_reserve(b, need);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		own_text(b, texts[i]);
	own_slice(b, &row->messages);
	own_slice(b, &row->meta);
}

static void op_row_own(struct op_row *row, struct buf *b)
{
	const char **texts[] = { &row->id, &row->text, &row->todo, &row->error, &row->description };
	size_t need = row->meta.len + 1;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		need += text_size(*texts[i]);
	buf_clear(b);
	buf_reserve(b, need);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		own_text(b, texts[i]);
	own_slice(b, &row->meta);
}

/* --- runs --- */

/* Ids are never reused: one below those still to be given has been somebody's. */
static int no_run(struct sql_reader *r, uint64_t run, struct err *e)
{
	bool was =
		(int64_t)run < sql_int(&r->sql, "SELECT value FROM meta WHERE key = 'next_run'", 0);

	return err_set(e, E_NOT_FOUND, "no run %llu%s", (unsigned long long)run,
		       was ? " any more: it was forgotten (run.forget, or keep_rows in batchd.conf)"
			   : "");
}

int sql_run_get(struct sql_reader *r, uint64_t run, struct run_row *ret, struct buf *strings,
		struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt =
		sql_reader_prepare(r, "SELECT " SQL_RUN_COLUMNS " FROM run WHERE run = ?", e);
	bool failed = false;

	if (!stmt)
		return 1;
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	if (!sql_reader_step(r, stmt, &failed, e))
		return failed ? 1 : no_run(r, run, e);
	sql_column_run(stmt, ret);
	run_row_own(ret, strings);
	return 0;
}

static void filter_states(struct buf *text, uint32_t states)
{
	/* As the partial indexes say it, so that they are used. */
	if (states == SQL_STATES_LIVE) {
		buf_adds(text, " AND state < 3");
	} else if (states == SQL_STATES_ENDED) {
		buf_adds(text, " AND state >= 3");
	} else if (states) {
		buf_adds(text, " AND state IN (-1");
		for (unsigned i = 0; i < RUN_STATE_MAX; i++)
			if (states & 1u << i)
				buf_addf(text, ",%u", i);
		buf_addc(text, ')');
	}
}

static void filter_text(struct buf *text, const struct sql_run_filter *f)
{
	buf_adds(text, "SELECT " SQL_RUN_COLUMNS " FROM run WHERE 1");
	filter_states(text, f->states);
	if (f->name)
		buf_adds(text, " AND name = ?1");
	if (f->group)
		buf_adds(text, " AND grp = ?2");
	if (f->project)
		buf_adds(text, " AND project = ?3");
	if (f->before)
		buf_adds(text, " AND run < ?4");
	if (f->ended_before)
		buf_adds(text, " AND state >= 3 AND ended < ?5");
	buf_adds(text, f->oldest_first ? " ORDER BY run" : " ORDER BY run DESC");
	buf_adds(text, " LIMIT ?6");
}

int sql_runs_list(struct sql_reader *r, const struct sql_run_filter *filter,
		  bool (*fn)(void *arg, const struct run_row *row), void *arg, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	_cleanup_query_ sqlite3_stmt *stmt = NULL;
	bool failed = false;

	filter_text(&text, filter);
	stmt = sql_reader_prepare(r, buf_str(&text), e);
	if (!stmt)
		return 1;
	/* What the text does not name is out of range and nothing to worry about. */
	sqlite3_bind_text(stmt, 1, filter->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, filter->group, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 3, filter->project, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 4, (int64_t)filter->before);
	sqlite3_bind_int64(stmt, 5, filter->ended_before);
	sqlite3_bind_int64(stmt, 6, filter->limit ? (int64_t)filter->limit : -1);
	while (sql_reader_step(r, stmt, &failed, e)) {
		struct run_row row;

		sql_column_run(stmt, &row);
		if (!fn(arg, &row))
			break;
	}
	return failed;
}

int sql_run_batch(struct sql_reader *r, uint64_t run, struct buf *ret, struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt =
		sql_reader_prepare(r, "SELECT body FROM batch WHERE run = ?", e);
	struct sql_column c = { stmt, 0 };
	bool failed = false;

	if (!stmt)
		return 1;
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	if (!sql_reader_step(r, stmt, &failed, e))
		return failed ? 1 : no_run(r, run, e);
	buf_addslice(ret, sql_get_blob(&c));
	return 0;
}

int sql_run_env_names(struct sql_reader *r, uint64_t run, struct buf *ret, struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt =
		sql_reader_prepare(r, "SELECT env_names FROM batch WHERE run = ?", e);
	struct sql_column c = { stmt, 0 };
	bool failed = false;

	if (!stmt)
		return 1;
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	if (sql_reader_step(r, stmt, &failed, e))
		buf_addslice(ret, sql_get_blob(&c));
	return failed;
}

/* --- ops --- */

/* As the partial index op_bad says it. */
#define OPS_FAILED " AND state IN (4, 6, 7)"
#define OPS_LIST(where)                                                                            \
	"SELECT " SQL_OP_COLUMNS " FROM op WHERE run = ?" where " ORDER BY op LIMIT ? OFFSET ?"
#define OPS_COUNT(where) "SELECT count(*) FROM op WHERE run = ?" where
static const char *const ops_list[] = { [SQL_OPS_ALL] = OPS_LIST(""),
					[SQL_OPS_FAILED] = OPS_LIST(OPS_FAILED),
					[SQL_OPS_NONE] = OPS_LIST(" AND 0") };
static const char *const ops_count[] = { [SQL_OPS_ALL] = OPS_COUNT(""),
					 [SQL_OPS_FAILED] = OPS_COUNT(OPS_FAILED),
					 [SQL_OPS_NONE] = OPS_COUNT(" AND 0") };
static_assert(OP_FAILED == 4 && OP_CANCELLED == 6 && OP_INTERRUPTED == 7,
	      "as the SQL texts have them");

static int reader_ops(struct sql_reader *r, sqlite3_stmt *stmt,
		      bool (*fn)(void *arg, const struct op_row *row), void *arg, struct err *e)
{
	bool failed = false;

	while (sql_reader_step(r, stmt, &failed, e)) {
		struct op_row row;

		sql_column_op(stmt, &row);
		if (!fn(arg, &row))
			break;
	}
	return failed;
}

int sql_ops_list(struct sql_reader *r, uint64_t run, enum sql_ops which, uint32_t offset,
		 uint32_t limit, bool (*fn)(void *arg, const struct op_row *row), void *arg,
		 struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(r, ops_list[which], e);

	if (!stmt)
		return 1;
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	sqlite3_bind_int64(stmt, 2, limit ? (int64_t)limit : -1);
	sqlite3_bind_int64(stmt, 3, offset);
	return reader_ops(r, stmt, fn, arg, e);
}

int sql_ops_count(struct sql_reader *r, uint64_t run, enum sql_ops which, uint32_t *ret,
		  struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(r, ops_count[which], e);
	bool failed = false;

	if (!stmt)
		return 1;
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	if (!sql_reader_step(r, stmt, &failed, e))
		return 1;
	*ret = (uint32_t)sqlite3_column_int64(stmt, 0);
	return 0;
}

/* Says what lacks: the op, or its run already. */
static int no_op(struct sql_reader *r, uint64_t run, uint32_t op, struct slice id, struct err *e)
{
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct run_row row;

	if (sql_run_get(r, run, &row, &strings, e))
		return 1;
	return op > 0 ? err_set(e, E_NOT_FOUND, "run %llu has no op %u", (unsigned long long)run,
				op)
		      : err_set(e, E_NOT_FOUND, "run %llu has no op '%.*s'",
				(unsigned long long)run, SLICE_FMT(id));
}

int sql_op_get(struct sql_reader *r, uint64_t run, uint32_t op, struct slice id, struct op_row *ret,
	       struct buf *strings, struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(
		r,
		op > 0 ? "SELECT " SQL_OP_COLUMNS " FROM op WHERE run = ?1 AND op = ?2"
		       : "SELECT " SQL_OP_COLUMNS " FROM op WHERE run = ?1 AND id = ?2",
		e);
	bool failed = false;

	if (!stmt)
		return 1;
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	if (op > 0)
		sqlite3_bind_int64(stmt, 2, op);
	else
		sqlite3_bind_text(stmt, 2, id.p, (int)id.len, SQLITE_STATIC);
	if (!sql_reader_step(r, stmt, &failed, e)) {
		if (failed)
			return 1;
		return no_op(r, run, op, id, e);
	}
	sql_column_op(stmt, ret);
	op_row_own(ret, strings);
	return 0;
}

int sql_attempts(struct sql_reader *r, uint64_t run, uint32_t op,
		 bool (*fn)(void *arg, const struct op_row *row), void *arg, struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(
		r,
		"SELECT " SQL_OP_COLUMNS " FROM attempt WHERE run = ? AND op = ? ORDER BY attempts",
		e);

	if (!stmt)
		return 1;
	sqlite3_bind_int64(stmt, 1, (int64_t)run);
	sqlite3_bind_int64(stmt, 2, op);
	return reader_ops(r, stmt, fn, arg, e);
}
