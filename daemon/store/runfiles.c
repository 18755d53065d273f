#include "daemon/store/runfiles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/text.h"

static const char *const suffixes[] = { "env", "log", "idx" };

struct name {
	char text[32];
};

static struct name runfiles_name(uint64_t run, const char *suffix)
{
	struct name n;

	snprintf(n.text, sizeof(n.text), "%" PRIu64 ".%s", run, suffix);
	return n;
}

int runfiles_write_env(int dir_fd, uint64_t run, struct slice env)
{
	struct name n = runfiles_name(run, "env");
	_cleanup_close_ int fd = -1;
	int r;

	/* What stands there under this number is from a commit that never came about. */
	unlinkat(dir_fd, n.text, 0);
	fd = openat(dir_fd, n.text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, env.p ? env.p : "", env.len);
	if (r >= 0 && fdatasync(fd) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dir_fd, n.text, 0);
	return r < 0 ? r : 0;
}

int runfiles_sync(int dir_fd)
{
	return fsync(dir_fd) < 0 ? -errno : 0;
}

void runfiles_remove_env(int dir_fd, uint64_t run)
{
	unlinkat(dir_fd, runfiles_name(run, "env").text, 0);
}

void runfiles_remove(int dir_fd, uint64_t run)
{
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
		unlinkat(dir_fd, runfiles_name(run, suffixes[i]).text, 0);
}

/* "17.env" */
static bool runfiles_parse(const char *name, uint64_t *ret_run, bool *ret_is_env)
{
	const char *dot = strchr(name, '.');
	int64_t run;

	if (!dot || !parse_int(slice_of(name, (size_t)(dot - name)), 1, INT64_MAX, &run))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		if (strcmp(dot + 1, suffixes[i]) == 0) {
			*ret_run = (uint64_t)run;
			*ret_is_env = i == 0;
			return true;
		}
	}
	return false;
}

static void runfiles_closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

int runfiles_sweep(const char *dir, enum runfiles_keep (*keep)(void *arg, uint64_t run), void *arg)
{
	_cleanup_(runfiles_closedirp) DIR *d = opendir(dir);
	const struct dirent *entry;

	if (!d)
		return -errno;
	while ((entry = readdir(d))) {
		enum runfiles_keep entitled;
		uint64_t run;
		bool is_env;

		if (!runfiles_parse(entry->d_name, &run, &is_env))
			continue;
		entitled = keep(arg, run);
		if (entitled == RUNFILES_KEEP_NONE || (is_env && entitled != RUNFILES_KEEP_ALL))
			unlinkat(dirfd(d), entry->d_name, 0);
	}
	return 0;
}
