#include "common/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"

/* The first line of a file of /proc that begins so, without the beginning; "" where there is none.
 */
static void cgroup_line(const char *path, const char *begin, char *ret, size_t size)
{
	char line[PATH_MAX + 8];
	ret[0] = '\0';
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, begin, strlen(begin)) != 0)
			continue;
		const char *rest = line + strlen(begin);
		size_t len = MIN2(strcspn(rest, "\n"), size - 1);
		memcpy(ret, rest, len);
		ret[len] = '\0';
		return;
	}
}

/* The folder of the cgroup `base` below a mount of the version 2 tree that shows `root` (a part of
 * it) at `point`; -1: not there, or hidden by another mount. */
static int cgroup_below(const char *base, const char *root, const char *point)
{
	char path[2 * PATH_MAX];
	struct statfs fs;
	size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(base, root, len) != 0)
		return -1;
	snprintf(path, sizeof(path), "%s%s", point, base + len);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
		return -1;
	return TAKE_FD(fd);
}

/* Looks through the mounts of the version 2 tree, of which there may be several: proc(5) mountinfo.
 */
static int cgroup_open(const char *base)
{
	char line[2 * PATH_MAX], root[PATH_MAX], point[PATH_MAX];
	int fd = -1;
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	while (f && fd < 0 && fgets(line, sizeof(line), f))
		if (strstr(line, " - cgroup2 ") &&
		    sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) == 2)
			fd = cgroup_below(base, root, point);
	return fd;
}

/* systemd's for a cgroup that was delegated. */
static const char *const marks[] = { "user.delegate", "trusted.delegate" };

static bool cgroup_is_given(int fd)
{
	struct stat st;
	char v[2] = "";
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (fgetxattr(fd, marks[i], v, 1) == 1 && v[0] == '1')
			return true;
	return getuid() != 0 && fstat(fd, &st) == 0 && st.st_uid == getuid();
}

static int cgroup_of_process(pid_t pid, char *ret_base, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid ? (int)pid : (int)getpid());
	cgroup_line(path, "0::", ret_base, size);
	return ret_base[0] ? cgroup_open(ret_base) : -1;
}

void cgroup_claim(void)
{
	char base[PATH_MAX];
	_cleanup_close_ int fd = cgroup_of_process(0, base, sizeof(base));
	if (fd < 0 || cgroup_is_given(fd))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (fsetxattr(fd, marks[i], "1", 1, 0) == 0)
			return;
}

/* Where the first "/op-N.M" begins in the path of a cgroup, or NULL. */
static char *cgroup_find_op(char *base)
{
	unsigned slot, number;
	int len = 0;
	for (char *p = strstr(base, "/op-"); p; p = strstr(p + 1, "/op-"))
		if (sscanf(p, "/op-%u.%u%n", &slot, &number, &len) == 2 &&
		    (p[len] == '\0' || p[len] == '/'))
			return p;
	return NULL;
}

void cgroup_leave_op(void)
{
	char base[PATH_MAX];
	cgroup_line("/proc/self/cgroup", "0::", base, sizeof(base));
	char *op = cgroup_find_op(base);
	if (!op)
		return;
	*op = '\0';
	_cleanup_close_ int folder = cgroup_open(base);
	_cleanup_close_ int fd =
		folder < 0 ? -1 : openat(folder, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) < 0)
		return;
}

int cgroup_open_given(pid_t pid, char *ret_base, size_t size)
{
	_cleanup_close_ int fd = cgroup_of_process(pid, ret_base, size);
	return fd >= 0 && cgroup_is_given(fd) ? TAKE_FD(fd) : -1;
}
