#include "daemon/exec/runlog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/xalloc.h"
#include "daemon/exec/runlog_format.h"

int runlog_open_file(const char *dir, uint64_t run, const char *suffix, int flags)
{
	_cleanup_free_ char *path = xasprintf("%s/%" PRIu64 ".%s", dir, run, suffix);
	int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

void runlog_remove(const char *dir, uint64_t run)
{
	/* The index first: without it the log is just bytes, without the log an index is wrong. */
	_cleanup_free_ char *idx = xasprintf("%s/%" PRIu64 ".idx", dir, run);
	_cleanup_free_ char *log = xasprintf("%s/%" PRIu64 ".log", dir, run);
	unlink(idx);
	unlink(log);
}

int runlog_sync(const char *dir, uint64_t run)
{
	_cleanup_close_ int idx = runlog_open_file(dir, run, "idx", O_RDWR);
	if (idx < 0)
		return idx == -ENOENT ? 0 : idx;
	/* Begins the index's writing, so that one journal commit does for both. */
	sync_file_range(idx, 0, 0, SYNC_FILE_RANGE_WRITE);
	_cleanup_close_ int log = runlog_open_file(dir, run, "log", O_RDWR);
	if (log >= 0 && fdatasync(log) < 0)
		return -errno;
	if (fdatasync(idx) < 0)
		return -errno;
	_cleanup_close_ int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder < 0 || fsync(folder) < 0 ? -errno : 0;
}
