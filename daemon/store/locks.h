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
/* Closes it, all its statements being finalised; now, or, while a lock is still to be let go of (it
 * might leave that behind), at a later call that finds none. NULL: only those from before. */
void locks_close(sqlite3 *db);
/* Why this thread was last answered SQLITE_IOERR_SHMLOCK. */
int locks_errno(void);

#endif
