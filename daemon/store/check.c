#include "daemon/store/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/lock.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/store/migrate.h"
#include "daemon/store/runs_owner.h"
#include "daemon/store/schema.h"
#include "daemon/store/sql.h"
#include "daemon/store/sql_reader.h"
#include "daemon/store/state_dir.h"
#include "daemon/store/store.h"
#include "proto/errors.h"

/* PRAGMA quick_check: one row "ok", or one for each fault. */
static int check_pages(struct sql *s, const char *path, struct err *e)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &stmt, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	if (code != SQLITE_ROW)
		return sql_error(s, code, "check the database", path, e);
	const char *found = (const char *)sqlite3_column_text(stmt, 0);
	if (found && strcmp(found, "ok") == 0)
		return 0;
	return err_set(e, E_STORAGE,
		       "'%s' is damaged (%s): put back a copy, or move it aside, and runs/ "
		       "with it",
		       path, found ? found : "?");
}

/* 0 or 1 with e. */
static int check_id(struct sql *s, const char *path, uint64_t *ret, struct err *e)
{
	int64_t id;
	int code = sql_look(s, "SELECT value FROM meta WHERE key = 'store_id'", &id);

	if (code != SQLITE_ROW)
		return sql_error(s, code == SQLITE_DONE ? SQLITE_CORRUPT : code,
				 "read the database", path, e);
	*ret = (uint64_t)id;
	return 0;
}

static int check_database(const char *path, uint64_t *ret_id, struct err *e)
{
	struct sql s = { 0 };
	int version, r, code = sql_open_reader(&s, path, NULL);

	if (code != SQLITE_OK)
		r = sql_error(&s, code, "open the database", path, e);
	else if ((r = migrate_check(&s, path, n_migrations, &version, e)) == 0 &&
		 (r = check_pages(&s, path, e)) == 0)
		r = schema_check(&s, path, migrations, version, e);
	if (r == 0 && version > 0)
		r = check_id(&s, path, ret_id, e);
	sql_close(&s);
	return r;
}

int store_check(const char *state_dir, uint64_t *ret_id, struct err *e)
{
	_cleanup_free_ char *path = xasprintf("%s/batchd.db", state_dir);
	struct stat st;

	*ret_id = 0;
	if (lstat(state_dir, &st) < 0 && errno == ENOENT)
		return 0;
	if (state_dir_check(state_dir, e))
		return 1;
	if (lock_look(state_dir, NULL))
		return STORE_LOCKED;
	if (state_dir_first(state_dir, e))
		return 1;
	if (stat(path, &st) < 0 && errno == ENOENT)
		return 0;
	/* Not by SQLite: what it makes beside a read-only database is read-only too, and stays. */
	if (access(path, R_OK | W_OK) < 0)
		return err_set(e, E_STORAGE, "cannot open '%s': %s: %s", path, strerror(errno),
			       trouble_mend(errno));
	return check_database(path, ret_id, e) || runs_owner_check(state_dir, *ret_id, e);
}
