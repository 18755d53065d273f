#include "daemon/store/spare.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/timeutil.h"
#include "common/xalloc.h"

#define SPARE_BYTES (512 << 10) /* the pages that some dozen results touch */
#define SPARE_AGAIN_MS 10000

static char *spare_path(const char *state_dir)
{
	return xasprintf("%s/spare", state_dir);
}

void spare_keep(struct spare *s, const char *state_dir)
{
	if (s->done || time_mono_ms() < s->next_ms)
		return;
	_cleanup_free_ char *path = spare_path(state_dir);
	_cleanup_close_ int fd =
		open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	s->done = fd >= 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, SPARE_BYTES) == 0;
	s->next_ms = time_mono_ms() + SPARE_AGAIN_MS;
}

void spare_give(struct spare *s, const char *state_dir)
{
	_cleanup_free_ char *path = spare_path(state_dir);
	s->done = true;
	unlink(path);
}
