#include "daemon/store/sql.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/trouble.h"
#include "daemon/store/locks.h"
#include "proto/errors.h"

static int sql_open(struct sql *s, const char *path, const char *const *texts, int flags)
{
	int r;

	locks_close(NULL);
	memset(s, 0, sizeof(*s));
	s->texts = texts;
	r = sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
	if (r != SQLITE_OK)
		return r;
	locks_watch(s->db);
	sqlite3_extended_result_codes(s->db, 1);
	sqlite3_busy_timeout(s->db, SQL_BUSY_TIMEOUT_MS);
	return SQLITE_OK;
}

int sql_open_as_it_is(struct sql *s, const char *path, const char *const *texts)
{
	return sql_open(s, path, texts, SQLITE_OPEN_READWRITE);
}

/*
 * FULL: a commit that was answered survives a power cut (with NORMAL the WAL is not synced at a
 * commit). secure_delete: what a forgotten run held is overwritten. auto_vacuum takes effect only
 * before the first page is written, and is a write of its own.
 */
int sql_open_writer(struct sql *s, const char *path, const char *const *texts)
{
	int r = sql_open_as_it_is(s, path, texts);

	return r == SQLITE_OK ? sql_make_writer(s) : r;
}

int sql_make_writer(struct sql *s)
{
	int r = SQLITE_OK;

	if (sql_int(s, "PRAGMA page_count", 1) == 0)
		r = sql_exec(s, "PRAGMA auto_vacuum = INCREMENTAL");
	if (r == SQLITE_OK)
		r = sql_exec(s, "PRAGMA journal_mode = WAL;"
				"PRAGMA synchronous = FULL;"
				"PRAGMA foreign_keys = OFF;"
				"PRAGMA secure_delete = ON;"
				"PRAGMA temp_store = MEMORY;"
				"PRAGMA journal_size_limit = 67108864;");
	return r;
}

int sql_open_reader(struct sql *s, const char *path, const char *const *texts)
{
	return sql_open(s, path, texts, SQLITE_OPEN_READONLY);
}

void sql_close(struct sql *s)
{
	for (int i = 0; i < SQL_MAX_STATEMENTS; i++) {
		sqlite3_finalize(s->stmts[i]);
		s->stmts[i] = NULL;
	}
	/* What is under way ends while its locks can still be told from others'. */
	if (s->db && !sqlite3_get_autocommit(s->db))
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	locks_close(s->db);
	s->db = NULL;
}

int sql_exec(struct sql *s, const char *text)
{
	return sqlite3_exec(s->db, text, NULL, NULL, NULL);
}

sqlite3_stmt *sql_stmt(struct sql *s, int i)
{
	assert(i < SQL_MAX_STATEMENTS);
	if (!s->stmts[i] && sqlite3_prepare_v3(s->db, s->texts[i], -1, SQLITE_PREPARE_PERSISTENT,
					       &s->stmts[i], NULL) != SQLITE_OK)
		return NULL;
	sqlite3_reset(s->stmts[i]);
	return s->stmts[i];
}

int sql_run(sqlite3_stmt *stmt)
{
	int r;

	do
		r = sqlite3_step(stmt);
	while (r == SQLITE_ROW);
	sqlite3_reset(stmt);
	/* No binding outlives the strings it points to. */
	sqlite3_clear_bindings(stmt);
	return r == SQLITE_DONE ? SQLITE_OK : r;
}

int sql_look(struct sql *s, const char *text, int64_t *ret)
{
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(s->db, text, -1, &stmt, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	if (code == SQLITE_ROW)
		*ret = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return code;
}

int64_t sql_int(struct sql *s, const char *text, int64_t dflt)
{
	int64_t v;

	return sql_look(s, text, &v) == SQLITE_ROW ? v : dflt;
}

int64_t sql_spare_pages(struct sql *s)
{
	int64_t spare = sql_int(s, "PRAGMA freelist_count", 0);
	int64_t pages = sql_int(s, "PRAGMA page_count", 0);

	return spare > SQL_SPARE_MIN_PAGES && spare > pages / 4 ? spare : 0;
}

int sql_code(struct sql *s)
{
	int r = s->db ? sqlite3_extended_errcode(s->db) : SQLITE_CANTOPEN;

	return r == SQLITE_OK ? SQLITE_ERROR : r;
}

bool sql_code_is_fatal(int code)
{
	switch (code & 0xff) {
	case SQLITE_IOERR:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CANTOPEN:
	case SQLITE_PROTOCOL:
	case SQLITE_READONLY:
		return true;
	default:
		return false;
	}
}

/* What to do about it, for those who can do something. */
static const char *sql_advice(int code)
{
	switch (code & 0xff) {
	case SQLITE_FULL:
		return "make room there";
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return "another program holds it";
	case SQLITE_CORRUPT:
		return "it is damaged: stop batchd and restore it from a copy, or move it "
		       "aside, and runs/ with it";
	case SQLITE_NOTADB:
		return "it is no database: move it aside, and runs/ with it, to start afresh";
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return "look at its owner, mode and file system";
	case SQLITE_NOMEM:
		return trouble_mend(ENOMEM);
	default:
		return "see the system's log";
	}
}

/* The errno of the system call that has failed SQLite, which keeps it with the file where it is not
 * about opening one (https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html); 0: none is known.
 */
static int sql_system_errno(const struct sql *s, int code)
{
	sqlite3_file *wal = NULL;
	int err = 0;

	if ((code & 0xff) == SQLITE_CANTOPEN)
		return sqlite3_system_errno(s->db);
	if (code == SQLITE_IOERR_SHMLOCK)
		return locks_errno();
	if (code == SQLITE_IOERR_SHMOPEN || code == SQLITE_IOERR_SHMSIZE ||
	    code == SQLITE_IOERR_SHMMAP) /* of no file that it would tell of */
		return sqlite3_system_errno(s->db);
	/* What cannot be read SQLite calls damaged, too. */
	if ((code & 0xff) != SQLITE_IOERR && (code & 0xff) != SQLITE_CORRUPT)
		return 0;
	if (sqlite3_file_control(s->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) == SQLITE_OK &&
	    wal && wal->pMethods)
		wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &err);
	if (err == 0)
		sqlite3_file_control(s->db, "main", SQLITE_FCNTL_LAST_ERRNO, &err);
	return err;
}

void sql_error_fill(const struct sql *s, int code, const char *verb, const char *path,
		    struct err *e)
{
	/* The connection's own text knows more, where it is about this failure. */
	bool own = s && s->db && (sqlite3_errcode(s->db) & 0xff) == (code & 0xff);
	const char *text = own ? sqlite3_errmsg(s->db) : sqlite3_errstr(code);
	int err = own ? sql_system_errno(s, code) : 0;

	int sym = (code & 0xff) == SQLITE_NOMEM ? E_MEMORY : E_STORAGE;

	err_set(e, sym, "cannot %s: %s%s%s ('%s': %s)", verb, text, err ? ": " : "",
		err ? strerror(err) : "", path, err ? trouble_mend(err) : sql_advice(code));
}

void sql_put_int(struct sql_bind *b, int64_t v)
{
	sqlite3_bind_int64(b->stmt, ++b->i, v);
}

void sql_put_text(struct sql_bind *b, const char *s)
{
	sqlite3_bind_text(b->stmt, ++b->i, s, -1, SQLITE_STATIC);
}

void sql_put_blob(struct sql_bind *b, struct slice s)
{
	sqlite3_bind_blob64(b->stmt, ++b->i, s.p, s.len, SQLITE_STATIC);
}

int64_t sql_get_int(struct sql_column *c)
{
	return sqlite3_column_int64(c->stmt, c->i++);
}

const char *sql_get_text(struct sql_column *c)
{
	return (const char *)sqlite3_column_text(c->stmt, c->i++);
}

struct slice sql_get_blob(struct sql_column *c)
{
	int i = c->i++;
	const void *p;

	if (sqlite3_column_type(c->stmt, i) == SQLITE_NULL)
		return SLICE_NONE;
	p = sqlite3_column_blob(c->stmt, i); /* NULL for a present but empty one */
	return slice_of(p ? p : "", (size_t)sqlite3_column_bytes(c->stmt, i));
}
