#include "daemon/store/locks.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
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
static struct buf kept = BUF_INIT;     /* struct kept_lock each: could not be let go of */
static struct buf to_close = BUF_INIT; /* sqlite3 * each: nobody's any more */
static atomic_bool any_kept;	       /* looked at without the mutex, which costs each lock */

/* With the mutex: lets go of what can be, and forgets those of a file that goes. True: nothing is
 * left. */
static bool locks_let_go(const sqlite3_file *going)
{
	struct kept_lock *k = (void *)kept.p;
	size_t left = 0;

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
	atomic_store(&any_kept, left > 0);
	return left == 0;
}

static void locks_keep(const struct kept_lock *k)
{
	pthread_mutex_lock(&mutex);
	buf_add(&kept, k, sizeof(*k));
	locks_let_go(NULL);
	pthread_mutex_unlock(&mutex);
}

static bool locks_all_gone(void)
{
	bool gone;

	if (!atomic_load(&any_kept))
		return true;
	pthread_mutex_lock(&mutex);
	gone = locks_let_go(NULL);
	pthread_mutex_unlock(&mutex);
	return gone;
}

/* Nobody hears of a lock that is kept: SQLite has no use for it. */
static int locks_lock(sqlite3_file *file, int offset, int n, int flags)
{
	struct kept_lock k = { .file = file, .offset = offset, .n = n, .flags = flags };
	int code, before = errno; /* SQLite looks later why something else has failed */

	if (!locks_all_gone() && !(flags & SQLITE_SHM_UNLOCK))
		return SQLITE_IOERR_SHMLOCK;
	errno = 0;
	code = system_methods->xShmLock(file, offset, n, flags);
	if (code == SQLITE_OK) {
		errno = before;
		return code;
	}
	if (flags & SQLITE_SHM_UNLOCK) {
		locks_keep(&k);
		return SQLITE_OK;
	}
	if (errno == 0 || errno == EAGAIN || errno == EACCES) /* another's, of ours or not */
		return code;
	last_errno = errno;
	return SQLITE_IOERR_SHMLOCK;
}

static int locks_unmap(sqlite3_file *file, int delete)
{
	pthread_mutex_lock(&mutex);
	locks_let_go(file);
	pthread_mutex_unlock(&mutex);
	return system_methods->xShmUnmap(file, delete);
}

static sqlite3_file *locks_file(sqlite3 *db)
{
	sqlite3_file *file = NULL;

	if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK)
		return NULL;
	return file && file->pMethods ? file : NULL;
}

static void locks_init(const sqlite3_io_methods *of_system)
{
	system_methods = of_system;
	methods = *of_system;
	methods.xShmLock = locks_lock;
	methods.xShmUnmap = locks_unmap;
}

void locks_watch(sqlite3 *db)
{
	sqlite3_file *file = locks_file(db);

	if (!file || file->pMethods->iVersion < 2 || !file->pMethods->xShmLock)
		return;
	pthread_mutex_lock(&mutex);
	if (!system_methods)
		locks_init(file->pMethods);
	if (file->pMethods == system_methods)
		file->pMethods = &methods;
	pthread_mutex_unlock(&mutex);
}

static bool locks_has(const sqlite3_file *file)
{
	const struct kept_lock *k = (const void *)kept.p;

	for (size_t i = 0; i < kept.len / sizeof(*k); i++)
		if (k[i].file == file)
			return true;
	return false;
}

/* With the mutex taken only while looking: closing takes it too. */
static bool locks_may_close(sqlite3 *db)
{
	const sqlite3_file *file = locks_file(db);
	bool may;

	pthread_mutex_lock(&mutex);
	may = locks_let_go(NULL) || !locks_has(file);
	pthread_mutex_unlock(&mutex);
	return may;
}

static void locks_close_or_put_aside(sqlite3 *db)
{
	if (locks_may_close(db)) {
		sqlite3_close_v2(db);
		return;
	}
	pthread_mutex_lock(&mutex);
	buf_add(&to_close, &db, sizeof(db));
	pthread_mutex_unlock(&mutex);
}

void locks_tidy(void)
{
	_cleanup_buf_ struct buf aside = BUF_INIT;
	sqlite3 **db;

	pthread_mutex_lock(&mutex);
	aside = to_close;
	to_close = (struct buf)BUF_INIT;
	pthread_mutex_unlock(&mutex);
	db = (void *)aside.p;
	for (size_t i = 0; i < aside.len / sizeof(*db); i++)
		locks_close_or_put_aside(db[i]);
}

void locks_close(sqlite3 *db)
{
	locks_tidy();
	if (db)
		locks_close_or_put_aside(db);
}

int locks_errno(void)
{
	return last_errno;
}
