#include "daemon/exec/runlog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/xalloc.h"
#include "daemon/exec/runlog_format.h"

int runlog_open_file(const char *dir, uint64_t run, const char *suffix, int flags)
{
	_cleanup_free_ char *path = xasprintf("%s/%" PRIu64 ".%s", dir, run, suffix);
	/* Not waiting: somebody may have put a fifo there. */
	flags |= O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	_cleanup_close_ int fd = open(path, flags, 0600);
	struct stat st;
	/* Somebody may have taken the folder away: what is printed from now on is kept. */
	if (fd < 0 && errno == ENOENT && flags & O_CREAT && mkdir(dir, 0700) == 0)
		fd = open(path, flags, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	return TAKE_FD(fd);
}

void runlog_remove(const char *dir, uint64_t run)
{
	/* The index first: without it the log is just bytes, without the log an index is wrong. */
	_cleanup_free_ char *idx = xasprintf("%s/%" PRIu64 ".idx", dir, run);
	_cleanup_free_ char *log = xasprintf("%s/%" PRIu64 ".log", dir, run);
	unlink(idx);
	unlink(log);
}

/*
 * One byte of each piece of a block's size or less is written anew as it is, so that all of it goes
 * to the disk again. That byte never changes while others write to the file: the log only grows,
 * and in the index it is of a record's op.
 */
#define TOUCH_STEP (8 * sizeof(struct runlog_record))
static_assert(TOUCH_STEP <= 512 && offsetof(struct runlog_record, op) == 0, "see above");

/* Holes aside. 0 or -errno. */
static int file_touch(int fd)
{
	off_t at = 0;
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		off_t hole = lseek(fd, at, SEEK_HOLE);
		at -= at % (off_t)TOUCH_STEP;
		for (; at < hole; at += TOUCH_STEP) {
			char byte;
			ssize_t n = fd_pread_all(fd, &byte, 1, at);
			int r = n > 0 ? fd_pwrite_all(fd, &byte, 1, at) : (int)n;
			if (n <= 0 || r < 0)
				return r;
		}
	}
	return errno == ENXIO ? 0 : -errno;
}

static int file_sync(int fd, bool again)
{
	int r = again ? file_touch(fd) : 0;
	return r == 0 && fdatasync(fd) < 0 ? -errno : r;
}

int runlog_sync(const char *dir, uint64_t run, bool again)
{
	_cleanup_close_ int idx = runlog_open_file(dir, run, "idx", O_RDWR);
	if (idx < 0)
		return idx == -ENOENT ? 0 : idx;
	/* Begins the index's writing, so that one journal commit does for both. */
	sync_file_range(idx, 0, 0, SYNC_FILE_RANGE_WRITE);
	_cleanup_close_ int log = runlog_open_file(dir, run, "log", O_RDWR);
	int r = log >= 0 ? file_sync(log, again) : 0;
	if (r == 0)
		r = file_sync(idx, again);
	if (r < 0)
		return r;
	_cleanup_close_ int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder < 0 || fsync(folder) < 0 ? -errno : 0;
}
