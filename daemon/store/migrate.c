#include "daemon/store/migrate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/log.h"
#include "proto/errors.h"

/* The order of columns is that of the SQL_*_COLUMNS lists in sql.h. */
static const char schema_1[] =
	/* store_id, next_run, rev, seq (commits so far), boot (id of the boot that wrote last) */
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	"INSERT INTO meta VALUES('store_id', random()), ('next_run', 1), ('rev', 0), ('seq', 0), "
	"('boot', NULL);"

	"CREATE TABLE run("
	" run INTEGER PRIMARY KEY, state INTEGER NOT NULL, name TEXT, key TEXT, digest BLOB NOT "
	"NULL, cwd TEXT, project TEXT,"
	" grp TEXT, list TEXT, ord INTEGER, order_used INTEGER, origin INTEGER, parent INTEGER, "
	"parent_op INTEGER,"
	" created INTEGER, started INTEGER, ended INTEGER, priority INTEGER, n_ops INTEGER, "
	"n_messages INTEGER,"
	" ops INTEGER, succeeded INTEGER, failed INTEGER, skipped INTEGER, cancelled INTEGER, "
	"interrupted INTEGER,"
	" wall_ms INTEGER, serial_ms INTEGER, critical_ms INTEGER, messages BLOB, meta BLOB, "
	"stopping INTEGER);"
	"CREATE UNIQUE INDEX run_key ON run(key) WHERE key IS NOT NULL;"
	"CREATE INDEX run_name ON run(name, run) WHERE name IS NOT NULL;"
	"CREATE INDEX run_project ON run(project, run);"
	"CREATE INDEX run_live ON run(run) WHERE state < 3;"
	"CREATE INDEX run_ended ON run(ended) WHERE state >= 3;"

	"CREATE TABLE grp(name TEXT PRIMARY KEY, slots INTEGER NOT NULL, paused INTEGER NOT NULL) "
	"WITHOUT ROWID;"

	"CREATE TABLE batch(run INTEGER PRIMARY KEY, body BLOB NOT NULL);"

	"CREATE TABLE op("
	" run INTEGER NOT NULL, op INTEGER NOT NULL, message INTEGER, id TEXT, kind INTEGER, text "
	"TEXT, state INTEGER,"
	" cause INTEGER, exit INTEGER, signal INTEGER, attempts INTEGER, pid INTEGER, started "
	"INTEGER, ended INTEGER,"
	" duration_ms INTEGER, stdout_bytes INTEGER, stderr_bytes INTEGER, dropped_bytes INTEGER, "
	"lingering INTEGER, todo TEXT,"
	" error TEXT, PRIMARY KEY(run, op)) WITHOUT ROWID;"
	"CREATE INDEX op_id ON op(run, id) WHERE id IS NOT NULL;"
	"CREATE INDEX op_bad ON op(run, op) WHERE state IN (4, 6, 7);"

	"CREATE TABLE attempt("
	" run INTEGER NOT NULL, op INTEGER NOT NULL, message INTEGER, id TEXT, kind INTEGER, text "
	"TEXT, state INTEGER,"
	" cause INTEGER, exit INTEGER, signal INTEGER, attempts INTEGER, pid INTEGER, started "
	"INTEGER, ended INTEGER,"
	" duration_ms INTEGER, stdout_bytes INTEGER, stderr_bytes INTEGER, dropped_bytes INTEGER, "
	"lingering INTEGER, todo TEXT,"
	" error TEXT, PRIMARY KEY(run, op, attempts)) WITHOUT ROWID;"

	"CREATE TABLE claim(run INTEGER PRIMARY KEY, ops BLOB NOT NULL);"

	"CREATE TABLE todo("
	" list TEXT NOT NULL, id TEXT NOT NULL, content TEXT, active_form TEXT, description TEXT, "
	"owner TEXT, parent TEXT, at TEXT,"
	" error TEXT, source TEXT, status INTEGER, priority INTEGER, blocked_by BLOB, tags BLOB, "
	"meta BLOB, position INTEGER,"
	" rev INTEGER, created INTEGER, started INTEGER, completed INTEGER, lease_until INTEGER, "
	"run INTEGER, removed INTEGER,"
	" PRIMARY KEY(list, id)) WITHOUT ROWID;"

	"CREATE TABLE todo_event("
	" list TEXT NOT NULL, rev INTEGER NOT NULL, time INTEGER, run INTEGER, source TEXT, before "
	"BLOB, after BLOB,"
	" PRIMARY KEY(list, rev));";

/*
 * log_bytes: disk that the output of an ended run takes, 0 for none or dropped; dropped: enum
 * run_dropped. gone: forgotten runs of which batch, ops or attempts are still to be deleted.
 * env_names: "NAME\0" of each variable the run had.
 */
static const char schema_3[] = "ALTER TABLE run ADD COLUMN log_bytes INTEGER NOT NULL DEFAULT 0;"
			       "ALTER TABLE run ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;"
			       "ALTER TABLE run ADD COLUMN dropped_at INTEGER NOT NULL DEFAULT 0;"
			       "CREATE INDEX run_log ON run(state > 3, ended) WHERE log_bytes > 0;"
			       "CREATE TABLE gone(run INTEGER PRIMARY KEY);"
			       "ALTER TABLE batch ADD COLUMN env_names BLOB;";

static const char schema_4[] = "ALTER TABLE op ADD COLUMN description TEXT;"
			       "ALTER TABLE op ADD COLUMN meta BLOB;"
			       "ALTER TABLE attempt ADD COLUMN description TEXT;"
			       "ALTER TABLE attempt ADD COLUMN meta BLOB;";

/* cmd: struct op_row; of ops that history is asked about. */
static const char schema_5[] = "ALTER TABLE op ADD COLUMN cmd INTEGER;"
			       "CREATE INDEX op_cmd ON op(cmd, run, op, duration_ms)"
			       " WHERE cmd IS NOT NULL;";

/* sum_bytes() of RUN.env; NULL: of an older batchd, or not kept. */
static const char schema_6[] = "ALTER TABLE batch ADD COLUMN env_sum INTEGER;";

/* Append only. */
const struct migration migrations[] = {
	{ "the first schema", schema_1 },
	{ "what a revision of a todo list brought back",
	  "ALTER TABLE todo_event ADD COLUMN restored INTEGER NOT NULL DEFAULT -1;" },
	{ "what is kept how long", schema_3 },
	{ "what an op was given to keep", schema_4 },
	{ "how long a command took", schema_5 },
	{ "what an environment file holds", schema_6 },
};
const int n_migrations = ARRAY_SIZE(migrations);

static int migrate_backup(struct sql *s, const char *path, int from, struct err *e)
{
	_cleanup_buf_ struct buf name = BUF_INIT;
	sqlite3_stmt *stmt = NULL;
	int r;

	buf_addf(&name, "%s.v%d", path, from);
	/* Left by an upgrade that did not come to its end: it shows the same state, but maybe not
	 * all of it. */
	if (unlink(buf_str(&name)) < 0 && errno != ENOENT)
		return err_set(e, E_STORAGE, "cannot remove the old copy '%s': %s", buf_str(&name),
			       strerror(errno));
	r = sqlite3_prepare_v2(s->db, "VACUUM INTO ?", -1, &stmt, NULL);
	if (r == SQLITE_OK) {
		sqlite3_bind_text(stmt, 1, buf_str(&name), -1, SQLITE_STATIC);
		r = sql_run(stmt);
	}
	sqlite3_finalize(stmt);
	if (r != SQLITE_OK)
		return sql_error(s, r, "copy the database before the upgrade", path, e);
	log_info("upgrading '%s' from schema %d; the old one is kept as '%s'", path, from,
		 buf_str(&name));
	return 0;
}

static int migrate_step(struct sql *s, const char *path, const struct migration *m, int to,
			struct err *e)
{
	_cleanup_buf_ struct buf stamp = BUF_INIT;
	int r;

	buf_addf(&stamp, "PRAGMA user_version = %d; PRAGMA application_id = %d; COMMIT", to,
		 MIGRATE_APPLICATION_ID);
	r = sql_exec(s, "BEGIN IMMEDIATE");
	if (r == SQLITE_OK)
		r = sql_exec(s, m->sql);
	if (r == SQLITE_OK)
		r = sql_exec(s, buf_str(&stamp));
	if (r == SQLITE_OK)
		return 0;
	sql_error(s, r, "upgrade the database", path, e);
	err_prefix(e, "schema %d, %s: ", to, m->what);
	if (!sqlite3_get_autocommit(s->db) && sql_exec(s, "ROLLBACK") != SQLITE_OK)
		log_debug("rollback after a failed upgrade failed too");
	return 1;
}

/* The version of a database that is ours or empty. */
static int migrate_version(struct sql *s, const char *path, int *ret, struct err *e)
{
	int64_t version = 0, owner = 0, tables = 0;
	int code = sql_look(s, "PRAGMA user_version", &version);

	if (code == SQLITE_ROW)
		code = sql_look(s, "PRAGMA application_id", &owner);
	if (code == SQLITE_ROW)
		code = sql_look(s, "SELECT count(*) FROM sqlite_master", &tables);
	if (code != SQLITE_ROW)
		return sql_error(s, code, "read the database", path, e);
	if (owner != MIGRATE_APPLICATION_ID && (owner != 0 || version != 0 || tables != 0))
		return err_set(e, E_STORAGE,
			       "'%s' is another program's database: move it aside or use another "
			       "--state-dir",
			       path);
	*ret = (int)version;
	return 0;
}

int migrate_check(struct sql *s, const char *path, int n, int *ret_version, struct err *e)
{
	if (migrate_version(s, path, ret_version, e))
		return 1;
	if (*ret_version > n)
		return err_set(e, E_STORAGE,
			       "'%s' has schema %d, this batchd (" BATCHD_VERSION
			       ") knows schemas up to %d: use the newer batchd",
			       path, *ret_version, n);
	return 0;
}

int migrate(struct sql *s, const char *path, const struct migration *table, int n, struct err *e)
{
	int version;

	if (migrate_check(s, path, n, &version, e))
		return 1;
	if (version == n)
		return 0;
	if (version > 0 && migrate_backup(s, path, version, e))
		return 1;
	for (int v = version; v < n; v++)
		if (migrate_step(s, path, &table[v], v + 1, e))
			return 1;
	return 0;
}
