#include "daemon/exec/spawner_home.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/xalloc.h"

void spawner_home_done(struct spawner_home *h)
{
	free(h->socket);
	*h = (struct spawner_home)SPAWNER_HOME_INIT;
}

/* What tells the folder from a copy of it. */
static uint64_t home_folder(const char *path)
{
	_cleanup_free_ char *folder = xstrdup(path);
	struct stat st;
	char *slash = strrchr(folder, '/');
	if (!slash)
		return 0;
	*slash = '\0';
	return stat(folder, &st) < 0 ? 0 : (uint64_t)st.st_ino;
}

void spawner_home_read(const char *path, struct spawner_home *ret)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	*ret = (struct spawner_home)SPAWNER_HOME_INIT;
	if (!path || fd_read_own(path, PATH_MAX + 64, &b) < 0)
		return;
	const char *text = buf_str(&b), *end = strchr(text, '\n');
	uint64_t written = 0, folder = home_folder(path);
	if (!end || text[0] != '/' ||
	    sscanf(end + 1, "%" SCNx64 " %" SCNx64, &ret->table_id, &written) != 2)
		return;
	if (written == folder)
		ret->socket = xslicedup(slice_of(text, (size_t)(end - text)));
}

void spawner_home_write(const char *path, const char *socket, uint64_t table_id)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (!path)
		return;
	buf_addf(&b, "%s\n%016" PRIx64 " %" PRIx64 "\n", socket, table_id, home_folder(path));
	int r = fd_replace_own(path, b.p, b.len);
	if (r < 0)
		log_error("cannot write '%s': %s: a batchd with another socket would not find the "
			  "ops that run",
			  path, strerror(-r));
}

void spawner_home_forget(const char *path)
{
	if (path && unlink(path) < 0 && errno != ENOENT)
		log_debug("cannot remove '%s': %s", path, strerror(errno));
}
