/*
 * Does a database hold what its schema version says? What its migrations make is made once more in
 * memory, and each table with its columns and each index of that is looked for in the database.
 * What it holds beside those is its own business.
 */
#ifndef DAEMON_STORE_SCHEMA_H
#define DAEMON_STORE_SCHEMA_H

#include "common/err.h"
#include "daemon/store/migrate.h"

/* The open database at `path` after the first `version` of the migrations in `table`. 0, or 1 with
 * e, which names the first thing that is missing. Changes nothing. */
int schema_check(struct sql *s, const char *path, const struct migration *table, int version,
		 struct err *e) _must_check_;

#endif
