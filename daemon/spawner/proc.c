#include "daemon/spawner/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

#define PROC_TEXT_BYTES (256u << 10)
#define PROC_KTHREAD 0x00200000 /* PF_KTHREAD of linux/sched.h, in field 9 of proc(5) stat */

/* What getdents64(2) fills; glibc's readdir would allocate. */
struct proc_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static int proc_fd = -1, children_fd = -1;
static struct proc all[PROC_MAX];
static int32_t children[PROC_MAX];
static char text[PROC_TEXT_BYTES];

int proc_init(void)
{
	proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc_fd < 0)
		return -errno;
	/* Of this thread, and there is only one. Absent without CONFIG_PROC_CHILDREN. */
	children_fd = openat(proc_fd, "thread-self/children", O_RDONLY | O_CLOEXEC);
	return 0;
}

static size_t proc_read(int32_t pid, const char *name, char *buf, size_t size)
{
	char path[48];
	size_t have = 0;
	ssize_t n;
	snprintf(path, sizeof(path), "%d/%s", (int)pid, name);
	_cleanup_close_ int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (have < size - 1 && (n = read(fd, buf + have, size - 1 - have)) > 0)
		have += (size_t)n;
	buf[have] = '\0';
	return have;
}

/* The fields from the third on (state) as text; NULL when there is no such process. The name before
 * them may hold anything, also blanks and brackets. */
static char *proc_fields(int32_t pid, char *line, size_t size)
{
	if (proc_read(pid, "stat", line, size) == 0)
		return NULL;
	char *p = strrchr(line, ')');
	return p && p[1] == ' ' && p[2] != '\0' ? p + 2 : NULL;
}

bool proc_stat(int32_t pid, struct proc *ret)
{
	char line[1024], *p = proc_fields(pid, line, sizeof(line));
	if (!p)
		return false;
	*ret = (struct proc){ .pid = pid, .state = *p++ };
	long v[19] = { 0 }; /* fields 4 to 22 */
	for (unsigned i = 0; i < ARRAY_SIZE(v) - 1; i++)
		v[i] = strtol(p, &p, 10);
	ret->ppid = (int32_t)v[0];
	ret->pgrp = (int32_t)v[1];
	ret->sid = (int32_t)v[2];
	ret->kernel = v[5] & PROC_KTHREAD;
	ret->start_ticks = strtoull(p, NULL, 10);
	return true;
}

static int proc_compare(const void *a, const void *b)
{
	const struct proc *x = a, *y = b;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

size_t proc_all(const struct proc **ret)
{
	static char dir[32768] __attribute__((aligned(8)));
	size_t n = 0;
	bool ordered = true;
	long got;
	lseek(proc_fd, 0, SEEK_SET);
	while ((got = syscall(SYS_getdents64, proc_fd, dir, sizeof(dir))) > 0)
		for (long at = 0; at < got;) {
			const struct proc_dirent *d = (const struct proc_dirent *)(dir + at);
			at += d->reclen;
			if (d->name[0] < '1' || d->name[0] > '9' || n == PROC_MAX)
				continue;
			if (!proc_stat((int32_t)strtol(d->name, NULL, 10), &all[n]))
				continue;
			ordered = ordered && (n == 0 || all[n - 1].pid < all[n].pid);
			n++;
		}
	if (!ordered) /* Linux lists them in order, but nobody promised */
		qsort(all, n, sizeof(all[0]), proc_compare);
	*ret = all;
	return n;
}

const struct proc *proc_among(const struct proc *list, size_t n, int32_t pid)
{
	struct proc key = { .pid = pid };
	return bsearch(&key, list, n, sizeof(key), proc_compare);
}

static size_t proc_children_by_stat(void)
{
	const struct proc *p;
	size_t total = proc_all(&p), n = 0;
	int32_t self = (int32_t)getpid();
	for (size_t i = 0; i < total; i++)
		if (p[i].ppid == self)
			children[n++] = p[i].pid;
	return n;
}

size_t proc_children(const int32_t **ret)
{
	size_t have = 0, n = 0;
	ssize_t got;
	*ret = children;
	if (children_fd < 0)
		return proc_children_by_stat();
	while (have < sizeof(text) - 1 &&
	       (got = pread(children_fd, text + have, sizeof(text) - 1 - have, (off_t)have)) > 0)
		have += (size_t)got;
	text[have] = '\0';
	for (char *p = text, *next; n < PROC_MAX; p = next) {
		long pid = strtol(p, &next, 10);
		if (next == p)
			break;
		children[n++] = (int32_t)pid;
	}
	return n;
}

size_t proc_environ(int32_t pid, const char **ret)
{
	*ret = text;
	return proc_read(pid, "environ", text, sizeof(text));
}

/* An environment that is really empty begins and ends somewhere (fields 50 and 51 of proc(5)
 * /proc/PID/stat); in an exec it is nowhere yet. One that is not to be read says nothing. */
bool proc_may_execute(int32_t pid)
{
	char line[1024], path[48], *p = proc_fields(pid, line, sizeof(line));
	snprintf(path, sizeof(path), "%d/environ", (int)pid);
	_cleanup_close_ int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	for (unsigned field = 3; p && field < 50; field++)
		p = strchr(p + 1, ' ');
	if (!p || fd < 0)
		return false;
	unsigned long long begin = strtoull(p, &p, 10), end = strtoull(p, NULL, 10);
	return begin == 0 || begin != end;
}
