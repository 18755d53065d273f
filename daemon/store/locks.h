/*
 * The locks by which connections share the log of the database (WAL), where the system fails to
 * take one or to let go of one. SQLite takes each failure for another's lock, and a lock that it
 * has asked to be let go of for gone: so one EIO of fcntl(2) had a lock stay for as long as any
 * connection of the process was open, with everyone waiting for nobody.
 *
 * Here what could not be let go of is noted, and tried again before anybody takes a lock, on
 * whatever thread; until that succeeds, and whenever the system fails to give a lock, the answer is
 * SQLITE_IOERR_SHMLOCK at once and not SQLITE_BUSY. Any thread may call.
 */
#ifndef DAEMON_STORE_LOCKS_H
#define DAEMON_STORE_LOCKS_H

#include <sqlite3.h>

/* For a database that has just been opened; one in memory has no such locks. */
void locks_watch(sqlite3 *db);
/* Closes it, all its statements being finalised; now, or, since it would leave its locks behind, at
 * a later locks_close() or locks_tidy() that finds them gone. NULL is fine. */
void locks_close(sqlite3 *db);
void locks_tidy(void);
/* Why this thread was last answered SQLITE_IOERR_SHMLOCK. */
int locks_errno(void);

#endif
