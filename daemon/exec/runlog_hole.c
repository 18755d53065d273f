#include "daemon/exec/runlog_hole.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "common/cleanup.h"

enum { HOLE_PARTIAL_MAX = 1 << 20 };

void runlog_hole_init(struct runlog_hole *h, int fd)
{
	struct stat st;
	*h = (struct runlog_hole){ .fd = fd, .block = 4096, .partial = IDMAP_INIT };
	if (fstat(fd, &st) == 0 && st.st_blksize > 4096 && st.st_blksize <= 65536)
		h->block = st.st_blksize;
}

void runlog_hole_done(struct runlog_hole *h)
{
	idmap_done(&h->partial);
}

static void runlog_hole_punch(struct runlog_hole *h, int64_t from, int64_t to)
{
	if (h->unable || from >= to)
		return;
	if (fallocate(h->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from) < 0 &&
	    errno != EINTR)
		h->unable = errno == EOPNOTSUPP || errno == ENOSYS;
}

static void runlog_hole_partial(struct runlog_hole *h, int64_t block, int64_t len)
{
	int64_t gone = (int64_t)idmap_get(&h->partial, (uint64_t)block) + len;
	if (gone >= h->block) {
		idmap_del(&h->partial, (uint64_t)block);
		runlog_hole_punch(h, block * h->block, (block + 1) * h->block);
		return;
	}
	if (h->partial.n >= HOLE_PARTIAL_MAX)
		idmap_done(&h->partial);
	idmap_put(&h->partial, (uint64_t)block, (uintptr_t)gone);
}

void runlog_hole_free(struct runlog_hole *h, int64_t off, int64_t len)
{
	int64_t end = off + len;
	if (len <= 0 || h->unable)
		return;
	int64_t first = (off + h->block - 1) / h->block; /* the whole blocks: [first, last) */
	int64_t last = end / h->block;
	if (first > last) {
		runlog_hole_partial(h, last, len);
		return;
	}
	if (off < first * h->block)
		runlog_hole_partial(h, first - 1, first * h->block - off);
	runlog_hole_punch(h, first * h->block, last * h->block);
	if (end > last * h->block)
		runlog_hole_partial(h, last, end - last * h->block);
}
