#include "daemon/store/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/lock.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/store/migrate.h"
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

static int check_database(const char *path, struct err *e)
{
	struct sql s = { 0 };
	int version, r, code = sql_open_reader(&s, path, NULL);

	if (code != SQLITE_OK)
		r = sql_error(&s, code, "open the database", path, e);
	else if ((r = migrate_check(&s, path, n_migrations, &version, e)) == 0 &&
		 (r = check_pages(&s, path, e)) == 0)
		r = schema_check(&s, path, migrations, version, e);
	sql_close(&s);
	return r;
}

int store_check(const char *state_dir, struct err *e)
{
	_cleanup_free_ char *path = xasprintf("%s/batchd.db", state_dir);
	struct stat st;

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
	return check_database(path, e);
}
