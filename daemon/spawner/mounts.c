#include "daemon/spawner/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define MOUNTS_MAX 64
#define MOUNTS_PATH_BYTES 512
#define MOUNTS_LINE_BYTES 8192

static const char *const remote_types[] = {
	"9p",	     "afs",  "autofs", "beegfs", "ceph", "cifs", "coda",  "fuse",
	"glusterfs", "gpfs", "lustre", "nfs",	 "nfs4", "smb3", "smbfs", "virtiofs",
};

static int fd = -1;
static bool stale = true, unknown;
static unsigned count;
static char points[MOUNTS_MAX][MOUNTS_PATH_BYTES];

int mounts_open(void)
{
	fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void mounts_changed(void)
{
	stale = true;
}

static bool mounts_type_is_remote(const char *type)
{
	size_t len = strcspn(type, " .");
	for (size_t i = 0; i < ARRAY_SIZE(remote_types); i++)
		if (strlen(remote_types[i]) == len && memcmp(remote_types[i], type, len) == 0)
			return true;
	return false;
}

/* One line of proc(5) mountinfo: "id parent dev root POINT options... - TYPE source options". */
static void mounts_line(char *line)
{
	char *sep = strstr(line, " - ");
	if (!sep || !mounts_type_is_remote(sep + 3))
		return;
	char *p = line;
	for (int i = 0; i < 4 && p; i++)
		p = strchr(p, ' ') ? strchr(p, ' ') + 1 : NULL;
	if (!p || count == MOUNTS_MAX) {
		unknown = true;
		return;
	}
	/* A blank in a mount point is written \040; compare up to there, which errs towards remote.
	 */
	size_t len = strcspn(p, " \\");
	if (len >= MOUNTS_PATH_BYTES)
		len = MOUNTS_PATH_BYTES - 1;
	memcpy(points[count], p, len);
	points[count++][len] = '\0';
}

static void mounts_read(void)
{
	static char line[MOUNTS_LINE_BYTES];
	size_t have = 0;
	ssize_t n;
	stale = false;
	count = 0;
	unknown = fd < 0 || lseek(fd, 0, SEEK_SET) < 0;
	while (!unknown && (n = read(fd, line + have, sizeof(line) - 1 - have)) > 0) {
		have += (size_t)n;
		line[have] = '\0';
		char *at = line, *nl;
		while ((nl = strchr(at, '\n')) != NULL) {
			*nl = '\0';
			mounts_line(at);
			at = nl + 1;
		}
		have -= (size_t)(at - line);
		memmove(line, at, have);
		if (have == sizeof(line) - 1)
			unknown = true;
	}
}

static bool mounts_match(const char *path, size_t len)
{
	for (unsigned i = 0; i < count; i++) {
		size_t n = strlen(points[i]);
		if (n == 1 || (n <= len && memcmp(points[i], path, n) == 0))
			return true;
	}
	return false;
}

bool mounts_is_remote(const char *path)
{
	if (stale)
		mounts_read();
	return unknown || (count > 0 && mounts_match(path, strlen(path)));
}

bool mounts_any_remote(const char *search_path)
{
	if (stale)
		mounts_read();
	if (unknown || count == 0)
		return unknown;
	for (const char *p = search_path; *p;) {
		size_t len = strcspn(p, ":");
		if (mounts_match(p, len))
			return true;
		p += len + (p[len] == ':');
	}
	return false;
}
