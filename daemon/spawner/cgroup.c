#include "daemon/spawner/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "proto/spawn_wire.h"

static int base = -1;		 /* the folder of the cgroup we run in */
static char base_path[PATH_MAX]; /* as /proc/PID/cgroup has it */
static struct {
	int fd; /* + 1; 0: none made yet */
	uint32_t generation;
} groups[SW_CAPACITY];

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

bool cgroup_init(void)
{
	char root[PATH_MAX], point[PATH_MAX], path[2 * PATH_MAX];
	cgroup_line("/proc/self/cgroup", "0::", base_path, sizeof(base_path));
	if (!base_path[0] || !cgroup_mount(root, point))
		return false;
	size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(base_path, root, len) != 0)
		return false; /* mounted is another part of the tree */
	snprintf(path, sizeof(path), "%s%s", point, base_path + len);
	base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (base >= 0 && !cgroup_is_given(base)) {
		close(base);
		base = -1;
	}
	if (strcmp(base_path, "/") == 0)
		base_path[0] = '\0';
	return base >= 0;
}

bool cgroup_have(void)
{
	return base >= 0;
}

static void cgroup_name(char *name, size_t size, uint32_t slot)
{
	snprintf(name, size, "op-%u.%u", slot, groups[slot].generation);
}

/* A predecessor's group of that name may still be in use: then the next name. */
static int cgroup_make(uint32_t slot)
{
	char name[32];
	for (int tries = 0; tries < 8; tries++, groups[slot].generation++) {
		cgroup_name(name, sizeof(name), slot);
		unlinkat(base, name, AT_REMOVEDIR);
		if (mkdirat(base, name, 0755) == 0)
			return openat(base, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (errno != EEXIST)
			break;
	}
	return -1;
}

int cgroup_take(uint32_t slot)
{
	if (base < 0)
		return -1;
	if (groups[slot].fd == 0)
		groups[slot].fd = cgroup_make(slot) + 1;
	return groups[slot].fd - 1;
}

/* Does anything live in it? */
static bool cgroup_is_used(int group)
{
	char text[256];
	_cleanup_close_ int fd = openat(group, "cgroup.events", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return true;
	text[n] = '\0';
	return !strstr(text, "populated 0");
}

void cgroup_leave(uint32_t slot)
{
	if (groups[slot].fd == 0 || !cgroup_is_used(groups[slot].fd - 1))
		return;
	close(groups[slot].fd - 1);
	groups[slot].fd = 0;
	groups[slot].generation++;
}

void cgroup_kill(uint32_t slot)
{
	if (groups[slot].fd == 0)
		return;
	_cleanup_close_ int fd = openat(groups[slot].fd - 1, "cgroup.kill", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "1", 1) < 0)
		log_debug("cgroup.kill: %s", strerror(errno));
}

uint32_t cgroup_of(int32_t pid)
{
	char path[48], line[PATH_MAX], *end;
	if (base < 0)
		return UINT32_MAX;
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (n <= 0)
		return UINT32_MAX;
	line[n] = '\0';
	/* The line of version 2 is the only one, or the last of several. */
	char *at = strstr(line, "0::");
	size_t len = strlen(base_path);
	if (!at || (at != line && at[-1] != '\n') || strncmp(at + 3, base_path, len) != 0 ||
	    strncmp(at + 3 + len, "/op-", 4) != 0)
		return UINT32_MAX;
	unsigned long slot = strtoul(at + 3 + len + 4, &end, 10);
	if (*end != '.' || slot >= SW_CAPACITY || groups[slot].fd == 0)
		return UINT32_MAX;
	return strtoul(end + 1, NULL, 10) == groups[slot].generation ? (uint32_t)slot : UINT32_MAX;
}

void cgroup_end(void)
{
	char name[32];
	for (uint32_t slot = 0; slot < SW_CAPACITY; slot++) {
		if (groups[slot].fd == 0)
			continue;
		cgroup_name(name, sizeof(name), slot);
		unlinkat(base, name, AT_REMOVEDIR);
	}
}
