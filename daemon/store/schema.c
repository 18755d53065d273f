#include "daemon/store/schema.h"

#include "common/buf.h"
#include "daemon/store/sql_reader.h"
#include "proto/errors.h"

/* Of an index its text too: one that is no longer unique is another one. Only a table has columns.
 */
static const char what_is_there[] =
	"SELECT m.type, m.name, c.name, iif(m.type = 'index', m.sql, NULL)"
	" FROM sqlite_master m LEFT JOIN pragma_table_info(m.name) c";
static const char is_it_there[] =
	"SELECT 1 FROM sqlite_master m LEFT JOIN pragma_table_info(m.name) c"
	" WHERE m.type = ?1 AND m.name = ?2 AND c.name IS ?3"
	" AND iif(m.type = 'index', m.sql, NULL) IS ?4";

/* As it is to be. A SQLite result code. */
static int schema_make(struct sql *want, const struct migration *table, int version)
{
	int code = sql_open_as_it_is(want, ":memory:", NULL);

	for (int v = 0; v < version && code == SQLITE_OK; v++)
		code = sql_exec(want, table[v].sql);
	return code;
}

static int schema_missing(sqlite3_stmt *want, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf what = BUF_INIT;
	const char *column = (const char *)sqlite3_column_text(want, 2);

	if (column)
		buf_addf(&what, "column '%s' of ", column);
	buf_addf(&what, "%s '%s'", (const char *)sqlite3_column_text(want, 0),
		 (const char *)sqlite3_column_text(want, 1));
	return err_set(
		e, E_STORAGE,
		"'%s' is damaged (its %s is missing or is not batchd's): put back a copy, or "
		"move it aside, and runs/ with it",
		path, buf_str(&what));
}

/* Is the row of `want` in the other database? SQLITE_ROW: yes; SQLITE_DONE: no; else why not. */
static int schema_find(sqlite3_stmt *want, sqlite3_stmt *have)
{
	int code;

	for (int i = 0; i < sqlite3_column_count(want); i++)
		sqlite3_bind_value(have, i + 1, sqlite3_column_value(want, i));
	code = sqlite3_step(have);
	sqlite3_reset(have);
	return code;
}

static int schema_compare(struct sql *want, struct sql *s, const char *path, struct err *e)
{
	_cleanup_stmt_ sqlite3_stmt *there = NULL, *find = NULL;
	int code = sqlite3_prepare_v2(want->db, what_is_there, -1, &there, NULL);

	if (code != SQLITE_OK)
		return sql_error(want, code, "make the schema", path, e);
	code = sqlite3_prepare_v2(s->db, is_it_there, -1, &find, NULL);
	while (code == SQLITE_OK && sqlite3_step(there) == SQLITE_ROW) {
		code = schema_find(there, find);
		if (code == SQLITE_DONE)
			return schema_missing(there, path, e);
		code = code == SQLITE_ROW ? SQLITE_OK : code;
	}
	return code == SQLITE_OK ? 0 : sql_error(s, code, "read the database", path, e);
}

int schema_check(struct sql *s, const char *path, const struct migration *table, int version,
		 struct err *e)
{
	struct sql want = { 0 };
	int code = schema_make(&want, table, version);
	int r = code == SQLITE_OK ? schema_compare(&want, s, path, e)
				  : sql_error(&want, code, "make the schema", path, e);

	sql_close(&want);
	return r;
}
