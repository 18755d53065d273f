/*
 * The schema and its history: an append-only table of migrations, number n taking the database from
 * user_version n to n + 1. Each runs in one transaction together with its user_version; before an
 * existing database is changed it is copied to PATH.vN. A database written by a newer batchd is
 * refused.
 */
#ifndef DAEMON_STORE_MIGRATE_H
#define DAEMON_STORE_MIGRATE_H

#include "common/err.h"
#include "daemon/store/sql.h"

/* "batd": says that the file is batchd's. Stored, never change. */
#define MIGRATE_APPLICATION_ID 0x62617464

struct migration {
	const char *what; /* for the log and error texts */
	const char *sql;
};

extern const struct migration migrations[];
extern const int n_migrations;

/* Is it ours or empty, and not of a batchd that knows more than `n` migrations? 0 with its version,
 * or 1 with e. */
int migrate_check(struct sql *s, const char *path, int n, int *ret_version,
		  struct err *e) _must_check_;
/* Brings the open database at `path` up to `n` migrations of `table` (the real ones: migrations,
 * n_migrations). 0 or 1 with e. */
int migrate(struct sql *s, const char *path, const struct migration *table, int n,
	    struct err *e) _must_check_;

#endif
