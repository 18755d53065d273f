/*
 * A SQLite VFS for tests that lets the n-th write, sync or truncate fail, once or from then on.
 * fault_install() makes it the default, so that the code under test needs to know nothing of it.
 */
#ifndef TESTS_UNIT_FAULT_VFS_H
#define TESTS_UNIT_FAULT_VFS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <sqlite3.h>

static struct fault {
	atomic_int calls; /* since fault_arm */
	atomic_int at;	  /* the call that fails, 0: none */
	atomic_bool stays;
	int code; /* SQLITE_IOERR_FSYNC, SQLITE_FULL, ... */
} fault;

static void fault_arm(int at, int code, bool stays)
{
	atomic_store(&fault.calls, 0);
	fault.code = code;
	atomic_store(&fault.stays, stays);
	atomic_store(&fault.at, at);
}

static bool fault_hits(void)
{
	int n = atomic_fetch_add(&fault.calls, 1) + 1, at = atomic_load(&fault.at);

	return at > 0 && (n == at || (n > at && atomic_load(&fault.stays)));
}

struct fault_file {
	sqlite3_file base;
	sqlite3_file *real;
};

#define FAULT_REAL(f) (((struct fault_file *)(f))->real)

static int fault_close(sqlite3_file *f)
{
	sqlite3_file *real = FAULT_REAL(f);
	int r = real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;

	sqlite3_free(real);
	return r;
}

static int fault_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	return FAULT_REAL(f)->pMethods->xRead(FAULT_REAL(f), p, n, at);
}

static int fault_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	return fault_hits() ? fault.code : FAULT_REAL(f)->pMethods->xWrite(FAULT_REAL(f), p, n, at);
}

static int fault_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return fault_hits() ? fault.code : FAULT_REAL(f)->pMethods->xTruncate(FAULT_REAL(f), size);
}

static int fault_sync(sqlite3_file *f, int flags)
{
	/* No disk is too full to sync. */
	return fault.code != SQLITE_FULL && fault_hits()
		       ? fault.code
		       : FAULT_REAL(f)->pMethods->xSync(FAULT_REAL(f), flags);
}

static int fault_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return FAULT_REAL(f)->pMethods->xFileSize(FAULT_REAL(f), size);
}

static int fault_lock(sqlite3_file *f, int how)
{
	return FAULT_REAL(f)->pMethods->xLock(FAULT_REAL(f), how);
}

static int fault_unlock(sqlite3_file *f, int how)
{
	return FAULT_REAL(f)->pMethods->xUnlock(FAULT_REAL(f), how);
}

static int fault_reserved(sqlite3_file *f, int *ret)
{
	return FAULT_REAL(f)->pMethods->xCheckReservedLock(FAULT_REAL(f), ret);
}

static int fault_control(sqlite3_file *f, int op, void *arg)
{
	return FAULT_REAL(f)->pMethods->xFileControl(FAULT_REAL(f), op, arg);
}

static int fault_sector(sqlite3_file *f)
{
	return FAULT_REAL(f)->pMethods->xSectorSize(FAULT_REAL(f));
}

static int fault_device(sqlite3_file *f)
{
	return FAULT_REAL(f)->pMethods->xDeviceCharacteristics(FAULT_REAL(f));
}

static int fault_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
	return FAULT_REAL(f)->pMethods->xShmMap(FAULT_REAL(f), page, size, extend, ret);
}

static int fault_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return FAULT_REAL(f)->pMethods->xShmLock(FAULT_REAL(f), offset, n, flags);
}

static void fault_shm_barrier(sqlite3_file *f)
{
	FAULT_REAL(f)->pMethods->xShmBarrier(FAULT_REAL(f));
}

static int fault_shm_unmap(sqlite3_file *f, int del)
{
	return FAULT_REAL(f)->pMethods->xShmUnmap(FAULT_REAL(f), del);
}

static const sqlite3_io_methods fault_methods = {
	.iVersion = 2,
	.xClose = fault_close,
	.xRead = fault_read,
	.xWrite = fault_write,
	.xTruncate = fault_truncate,
	.xSync = fault_sync,
	.xFileSize = fault_size,
	.xLock = fault_lock,
	.xUnlock = fault_unlock,
	.xCheckReservedLock = fault_reserved,
	.xFileControl = fault_control,
	.xSectorSize = fault_sector,
	.xDeviceCharacteristics = fault_device,
	.xShmMap = fault_shm_map,
	.xShmLock = fault_shm_lock,
	.xShmBarrier = fault_shm_barrier,
	.xShmUnmap = fault_shm_unmap,
};

static sqlite3_vfs *fault_real_vfs;

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags,
		      int *ret_flags)
{
	struct fault_file *file = (struct fault_file *)f;
	int r;

	(void)vfs;
	file->base.pMethods = NULL;
	file->real = sqlite3_malloc(fault_real_vfs->szOsFile);
	memset(file->real, 0, (size_t)fault_real_vfs->szOsFile);
	r = fault_real_vfs->xOpen(fault_real_vfs, name, file->real, flags, ret_flags);
	if (r == SQLITE_OK)
		file->base.pMethods = &fault_methods;
	else
		sqlite3_free(file->real);
	return r;
}

static void fault_install(void)
{
	static sqlite3_vfs vfs;

	if (fault_real_vfs)
		return;
	fault_real_vfs = sqlite3_vfs_find(NULL);
	vfs = *fault_real_vfs;
	vfs.zName = "fault";
	vfs.szOsFile = (int)sizeof(struct fault_file);
	vfs.pNext = NULL;
	vfs.xOpen = fault_open;
	sqlite3_vfs_register(&vfs, 1);
}

#endif
