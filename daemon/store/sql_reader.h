/* What stands behind struct sql_reader; inside daemon/store only. */
#ifndef DAEMON_STORE_SQL_READER_H
#define DAEMON_STORE_SQL_READER_H

#include "common/err.h"
#include "daemon/store/sql.h"

#define SQL_READER_KEPT 16 /* statements; more than are in use at a time */

struct sql_reader {
	struct sql sql;	  /* opened when first needed */
	const char *path; /* of the database */
	/* Prepared before, by latest use: preparing costs more than a short look. */
	sqlite3_stmt *kept[SQL_READER_KEPT];
};

/* Fills ret when it can be opened; also opens again what was closed. 0 or 1 with e. */
int sql_reader_open(struct sql_reader *r, struct err *e) _must_check_;
void sql_reader_close(struct sql_reader *r);
/* Until sql_reader_end() all is read as it is now, with one lock for all of it. Where that cannot
 * be had each statement looks for itself, and says what is wrong. */
void sql_reader_begin(struct sql_reader *r);
void sql_reader_end(struct sql_reader *r);
/* A statement with the reader, which keeps it: _cleanup_query_ gives it back, before the reader is
 * closed. What differs from call to call is for bindings. NULL with e filled. */
sqlite3_stmt *sql_reader_prepare(struct sql_reader *r, const char *text, struct err *e);
/* The next row: true. False at the end, or with *failed set and e filled. */
bool sql_reader_step(struct sql_reader *r, sqlite3_stmt *stmt, bool *failed, struct err *e);

static inline void sql_finalizep(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}
#define _cleanup_stmt_ _cleanup_(sql_finalizep)

/* No binding outlives the strings it points to. */
static inline void sql_give_backp(sqlite3_stmt **stmt)
{
	if (*stmt) {
		sqlite3_reset(*stmt);
		sqlite3_clear_bindings(*stmt);
	}
}
#define _cleanup_query_ _cleanup_(sql_give_backp)

#endif
