#include "common/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"

#define LOCK_LEAVING "leaving\n"

void lock_holder_done(struct lock_holder *h)
{
	free(h->socket);
	*h = (struct lock_holder)LOCK_HOLDER_INIT;
}

void lock_tell(int fd, const char *socket)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	buf_addf(&b, "%d\n", (int)getpid());
	if (socket)
		buf_addf(&b, "%s\n", socket);
	if (ftruncate(fd, 0) < 0 || fd_pwrite_all(fd, b.p, b.len, 0) < 0)
		return;
}

void lock_tell_leaving(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);
	if (end < 0 || fd_pwrite_all(fd, LOCK_LEAVING, strlen(LOCK_LEAVING), end) < 0)
		return;
}

/* The next line, without its end; SLICE_NONE when there is no whole one. */
static struct slice lock_line(struct slice *s)
{
	const char *nl = s->len ? memchr(s->p, '\n', s->len) : NULL;
	if (!nl)
		return SLICE_NONE;
	struct slice line = slice_of(s->p, (size_t)(nl - s->p));
	*s = slice_of(nl + 1, s->len - line.len - 1);
	return line;
}

void lock_read(int fd, struct lock_holder *ret)
{
	char text[PATH_MAX + 32];
	ssize_t n = fd_pread_all(fd, text, sizeof(text), 0);
	struct slice s = slice_of(text, (size_t)MAX2(n, 0));
	int64_t pid;
	*ret = (struct lock_holder)LOCK_HOLDER_INIT;
	struct slice line = lock_line(&s);
	if (!line.p || !parse_int(line, 1, INT_MAX, &pid))
		return;
	ret->pid = (pid_t)pid;
	line = lock_line(&s);
	if (line.len > 0 && line.p[0] == '/') {
		ret->socket = xslicedup(line);
		line = lock_line(&s);
	}
	ret->leaving = slice_is(line, "leaving");
}

bool lock_look(const char *state_dir, struct lock_holder *ret)
{
	_cleanup_free_ char *path = xasprintf("%s/lock", state_dir);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (ret)
		*ret = (struct lock_holder)LOCK_HOLDER_INIT;
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		return false;
	if (ret)
		lock_read(fd, ret);
	return true;
}
