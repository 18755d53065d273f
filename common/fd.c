#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/table.h"
#include "common/xalloc.h"

int fd_write_all(int fd, const void *p, size_t len)
{
	const char *at = p;
	while (len > 0) {
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* What a file will take, so that it is not moved while it grows. */
static int fd_reserve_rest(int fd, size_t max, struct buf *b)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
		return 0;
	/* Its end is read as well. */
	return buf_try_reserve(b, (size_t)MIN2((uint64_t)st.st_size, (uint64_t)max) + 65536);
}

int fd_read_all(int fd, size_t max, struct buf *b)
{
	size_t start = b->len;
	int r = fd_reserve_rest(fd, max, b);
	if (r < 0)
		return r;
	for (;;) {
		if (buf_try_reserve(b, 65536) < 0)
			return -ENOMEM;
		ssize_t n = read(fd, b->p + b->len, b->cap - b->len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		b->len += (size_t)n;
		if (b->len - start > max)
			return -EFBIG;
	}
}

int fd_read_file(const char *path, size_t max, struct buf *b)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fd_read_all(fd, max, b);
}

int fd_read_own(const char *path, size_t max, struct buf *b)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fd_read_all(fd, max, b);
}

int fd_replace_own(const char *path, const void *p, size_t len)
{
	_cleanup_free_ char *temp = xasprintf("%s.new", path);
	unlink(temp);
	_cleanup_close_ int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : fd_write_all(fd, p, len);
	return r == 0 && rename(temp, path) < 0 ? -errno : r;
}

ssize_t fd_pread_all(int fd, void *p, size_t len, off_t offset)
{
	size_t got = 0;
	while (got < len) {
		ssize_t n = pread(fd, (char *)p + got, len - got, offset + (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

int fd_pwrite_all(int fd, const void *p, size_t len, off_t offset)
{
	size_t put = 0;
	while (put < len) {
		ssize_t n = pwrite(fd, (const char *)p + put, len - put, offset + (off_t)put);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		put += (size_t)n;
	}
	return 0;
}

static int fd_flag(int fd, int get, int set, int flag, bool on)
{
	int flags = fcntl(fd, get);
	if (flags < 0)
		return -errno;
	int want = on ? flags | flag : flags & ~flag;
	return want == flags || fcntl(fd, set, want) == 0 ? 0 : -errno;
}

int fd_wake(int fd)
{
	const uint64_t one = 1;
	int tries = 8;
	while (write(fd, &one, sizeof(one)) < 0)
		/* EAGAIN: its counter is full, so it is readable. Believed late: whoever waits
		 * would wait for ever. */
		if (--tries == 0)
			return errno == EAGAIN ? 0 : -errno;
	return 0;
}

int fd_set_nonblock(int fd, bool on)
{
	return fd_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int fd_set_cloexec(int fd, bool on)
{
	return fd_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

void fd_open_std(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
			_exit(1); /* nobody to tell */
}

int fd_raise_limit(uint64_t *ret_old)
{
	struct rlimit lim;
	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return -errno;
	if (ret_old)
		*ret_old = lim.rlim_cur;
	lim.rlim_cur = lim.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &lim) < 0 ? -errno : 0;
}
