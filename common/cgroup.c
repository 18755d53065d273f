#include "common/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

/* Where the version 2 tree is mounted, and which part of it: proc(5) mountinfo. */
static bool cgroup_mount(char *root, char *point)
{
	char line[2 * PATH_MAX];
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, " - cgroup2 ") &&
		    sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) == 2)
			return true;
	return false;
}

static bool cgroup_is_given(int fd)
{
	static const char *const marks[] = { "user.delegate", "trusted.delegate" };
	struct stat st;
	char v[2] = "";
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (fgetxattr(fd, marks[i], v, 1) == 1 && v[0] == '1')
			return true;
	return getuid() != 0 && fstat(fd, &st) == 0 && st.st_uid == getuid();
}

int cgroup_open_given(pid_t pid, char *ret_base, size_t size)
{
	char root[PATH_MAX], point[PATH_MAX], path[2 * PATH_MAX];
	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid ? (int)pid : (int)getpid());
	cgroup_line(path, "0::", ret_base, size);
	if (!ret_base[0] || !cgroup_mount(root, point))
		return -1;
	size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(ret_base, root, len) != 0)
		return -1; /* mounted is another part of the tree */
	snprintf(path, sizeof(path), "%s%s", point, ret_base + len);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && cgroup_is_given(fd) ? TAKE_FD(fd) : -1;
}
