#include "daemon/exec/file_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/table.h"
#include "common/xalloc.h"

/* So much that others may have written there is worth a syncfs, too. */
#define SYNCFS_DIRTY_MAX_KIB (INT64_C(64) << 10)

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* EBADF: it may be entered and written but not read. */
static int folder_sync(const struct sync_item *item)
{
	return fsync(item->fd) < 0 && errno != EINVAL && errno != EBADF ? -errno : 0;
}

static void item_sync(struct sync_item *item)
{
	int r = item->folder ? folder_sync(item) : fsync(item->fd) < 0 ? -errno : 0;
	if (r < 0)
		*item->result = r;
	item->done = true;
}

/* Is syncfs(2) there as good as an fsync of each, errors included? Not with FUSE, which may not
 * even be told. */
static bool fs_syncs_as_one(int fd)
{
	static const int64_t known[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
					 F2FS_SUPER_MAGIC };
	struct statfs fs;
	for (size_t i = 0; fstatfs(fd, &fs) == 0 && i < ARRAY_SIZE(known); i++)
		if ((int64_t)fs.f_type == known[i])
			return true;
	return false;
}

/* What waits to be written anywhere on this machine; INT64_MAX where that is not told. */
static int64_t dirty_kib(void)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int64_t sum = 0;
	if (fd_read_file("/proc/meminfo", 16384, &b) < 0)
		return INT64_MAX;
	static const char *const names[] = { "\nDirty:", "\nWriteback:" };
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *at = strstr(buf_str(&b), names[i]);
		if (!at)
			return INT64_MAX;
		sum += strtoll(at + strlen(names[i]), NULL, 10);
	}
	return sum;
}

/* Where it fails, an fsync of each tells whose failure it is. */
static bool fs_sync(const struct sync_item *item)
{
	return fs_syncs_as_one(item->fd) && dirty_kib() <= SYNCFS_DIRTY_MAX_KIB &&
	       syncfs(item->fd) == 0;
}

void sync_items(struct sync_item *items, size_t n)
{
	for (size_t first = 0; first < n; first++) {
		size_t same = 0;
		if (items[first].done)
			continue;
		for (size_t i = first; i < n; i++)
			same += items[i].dev == items[first].dev;
		bool all = same >= SYNC_MANY && fs_sync(&items[first]);
		for (size_t i = first; i < n; i++) {
			if (items[i].dev != items[first].dev)
				continue;
			if (all)
				items[i].done = true;
			else
				item_sync(&items[i]);
		}
	}
}
