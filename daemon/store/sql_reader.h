/* What stands behind struct sql_reader; inside daemon/store only. */
#ifndef DAEMON_STORE_SQL_READER_H
#define DAEMON_STORE_SQL_READER_H

#include "common/err.h"
#include "daemon/store/sql.h"

struct sql_reader {
	struct sql sql;	  /* opened when first needed */
	const char *path; /* of the database */
};

/* Fills ret when it can be opened; also opens again what was closed. 0 or 1 with e. */
int sql_reader_open(struct sql_reader *r, struct err *e) _must_check_;
void sql_reader_close(struct sql_reader *r);
/* A statement that is prepared for this one use; finalise it. NULL with e filled. */
sqlite3_stmt *sql_reader_prepare(struct sql_reader *r, const char *text, struct err *e);
/* The next row: true. False at the end, or with *failed set and e filled. */
bool sql_reader_step(struct sql_reader *r, sqlite3_stmt *stmt, bool *failed, struct err *e);

static inline void sql_finalizep(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}
#define _cleanup_stmt_ _cleanup_(sql_finalizep)

#endif
