#include "daemon/store/locks.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "common/buf.h"

/* As xShmLock was asked, https://sqlite.org/c3ref/io_methods.html */
struct kept_lock {
	sqlite3_file *file;
	int offset, n, flags;
};

/* Those of the system's VFS, and the same with ours in between. */
static const sqlite3_io_methods *system_methods;
static sqlite3_io_methods methods;
static _Thread_local int last_errno;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static struct buf kept = BUF_INIT;     /* struct kept_lock each: to be let go of */
static struct buf to_close = BUF_INIT; /* sqlite3 * each: nobody's any more */

/* Lets go of what can be, `more` (or NULL) with it, and forgets those of a file that goes. True:
 * nothing is left. */
static bool locks_let_go(const struct kept_lock *more, const sqlite3_file *going)
{
	int before = errno; /* SQLite looks later why something else has failed */
	size_t left = 0;

	pthread_mutex_lock(&mutex);
	if (more)
		buf_add(&kept, more, sizeof(*more));
	struct kept_lock *k = (void *)kept.p;
	for (size_t i = 0; i < kept.len / sizeof(*k); i++) {
		errno = 0;
		if (system_methods->xShmLock(k[i].file, k[i].offset, k[i].n, k[i].flags) ==
			    SQLITE_OK ||
		    k[i].file == going)
			continue;
		last_errno = errno;
		k[left++] = k[i];
	}
	kept.len = left * sizeof(*k);
	pthread_mutex_unlock(&mutex);
	errno = before;
	return left == 0;
}

/* Nobody hears of a lock that is kept: SQLite has no use for it. */
static int locks_lock(sqlite3_file *file, int offset, int n, int flags)
{
	const struct kept_lock k = { .file = file, .offset = offset, .n = n, .flags = flags };
	int code, before = errno;

	if (flags & SQLITE_SHM_UNLOCK) {
		locks_let_go(&k, NULL);
		return SQLITE_OK;
	}
	if (!locks_let_go(NULL, NULL))
		return SQLITE_IOERR_SHMLOCK;
	errno = 0;
	code = system_methods->xShmLock(file, offset, n, flags);
	if (code == SQLITE_OK || errno == 0 || errno == EAGAIN || errno == EACCES) {
		errno = before; /* given, or another's, of ours or not */
		return code;
	}
	last_errno = errno;
	return SQLITE_IOERR_SHMLOCK;
}

static int locks_unmap(sqlite3_file *file, int delete)
{
	locks_let_go(NULL, file);
	return system_methods->xShmUnmap(file, delete);
}

void locks_watch(sqlite3 *db)
{
	sqlite3_file *file = NULL;

	if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
	    !file || !file->pMethods || file->pMethods->iVersion < 2 || !file->pMethods->xShmLock)
		return;
	pthread_mutex_lock(&mutex);
	if (!system_methods) {
		system_methods = file->pMethods;
		methods = *system_methods;
		methods.xShmLock = locks_lock;
		methods.xShmUnmap = locks_unmap;
	}
	if (file->pMethods == system_methods)
		file->pMethods = &methods;
	pthread_mutex_unlock(&mutex);
}

static void locks_put_aside(sqlite3 *db)
{
	pthread_mutex_lock(&mutex);
	buf_add(&to_close, &db, sizeof(db));
	pthread_mutex_unlock(&mutex);
}

/* NULL: there is none. */
static sqlite3 *locks_take_aside(void)
{
	sqlite3 *db = NULL;

	pthread_mutex_lock(&mutex);
	if (to_close.len) {
		to_close.len -= sizeof(db);
		memcpy(&db, to_close.p + to_close.len, sizeof(db));
	}
	pthread_mutex_unlock(&mutex);
	return db;
}

void locks_close(sqlite3 *db)
{
	if (db)
		locks_put_aside(db);
	/* Closing takes the mutex, too. */
	while (locks_let_go(NULL, NULL) && (db = locks_take_aside()))
		sqlite3_close_v2(db);
}

int locks_errno(void)
{
	return last_errno;
}
