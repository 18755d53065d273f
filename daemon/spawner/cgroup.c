#include "daemon/spawner/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cgroup.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "proto/spawn_wire.h"

static int base = -1;		 /* the folder of the cgroup we run in */
static char base_path[PATH_MAX]; /* as /proc/PID/cgroup has it */
static struct {
	int fd; /* + 1; 0: none made yet */
	uint32_t generation;
} groups[SW_CAPACITY];

bool cgroup_init(void)
{
	base = cgroup_open_given(0, base_path, sizeof(base_path));
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

uint32_t cgroup_number(uint32_t slot)
{
	return groups[slot].fd == 0 ? 0 : groups[slot].generation + 1;
}

void cgroup_again(uint32_t slot, uint32_t number)
{
	char name[32];
	if (base < 0 || number == 0)
		return;
	groups[slot].generation = number - 1;
	cgroup_name(name, sizeof(name), slot);
	groups[slot].fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) + 1;
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

/* Is it the group of a slot now? */
static bool cgroup_is_taken(const char *name)
{
	unsigned slot, number;
	return sscanf(name, "op-%u.%u", &slot, &number) == 2 && slot < SW_CAPACITY &&
	       groups[slot].fd != 0 && groups[slot].generation == number;
}

void cgroup_sweep(bool all)
{
	int fd = base < 0 ? -1 : openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0)
		close(fd);
	for (struct dirent *d; dir && (d = readdir(dir));)
		if (strncmp(d->d_name, "op-", 3) == 0 && (all || !cgroup_is_taken(d->d_name)))
			unlinkat(base, d->d_name, AT_REMOVEDIR);
	if (dir)
		closedir(dir);
}
