#include "daemon/store/runfiles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/text.h"

static const char *const suffixes[RUNFILE_MAX] = {
	[RUNFILE_ENV] = "env",
	[RUNFILE_LOG] = "log",
	[RUNFILE_IDX] = "idx",
};

struct name {
	char text[32];
};

static struct name runfiles_name(uint64_t run, const char *suffix)
{
	struct name n;

	snprintf(n.text, sizeof(n.text), "%" PRIu64 ".%s", run, suffix);
	return n;
}

int runfiles_dir(const char *dir, int dir_fd)
{
	_cleanup_close_ int fd = -1;
	struct stat there, ours;

	if (fstat(dir_fd, &ours) < 0)
		return -errno;
	if (stat(dir, &there) == 0 && there.st_dev == ours.st_dev && there.st_ino == ours.st_ino)
		return 0;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || dup3(fd, dir_fd, O_CLOEXEC) < 0 ? -errno : 0;
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

/* The index last: whoever finds it without a log sees that something is missing. */
void runfiles_remove_log(int dir_fd, uint64_t run)
{
	unlinkat(dir_fd, runfiles_name(run, "log").text, 0);
	unlinkat(dir_fd, runfiles_name(run, "idx").text, 0);
}

/* A file so small that it lies in its inode has no blocks; it counts as well, or it would never
 * go. */
static int64_t runfile_bytes(int dir_fd, uint64_t run, const char *suffix)
{
	struct stat st;

	if (fstatat(dir_fd, runfiles_name(run, suffix).text, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return st.st_blocks > 0 ? (int64_t)st.st_blocks * 512 : MIN2((int64_t)st.st_size, 4096);
}

int64_t runfiles_log_bytes(int dir_fd, uint64_t run)
{
	return runfile_bytes(dir_fd, run, "log") + runfile_bytes(dir_fd, run, "idx");
}

/* "17.env" */
static bool runfiles_parse(const char *name, uint64_t *ret_run, enum runfile *ret_which)
{
	const char *dot = strchr(name, '.');
	int64_t run;

	if (!dot || !parse_int(slice_of(name, (size_t)(dot - name)), 1, INT64_MAX, &run))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		if (strcmp(dot + 1, suffixes[i]) == 0) {
			*ret_run = (uint64_t)run;
			*ret_which = (enum runfile)i;
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

int runfiles_sweep(const char *dir, bool (*keep)(void *arg, uint64_t run, enum runfile which),
		   void *arg)
{
	_cleanup_(runfiles_closedirp) DIR *d = opendir(dir);
	const struct dirent *entry;

	if (!d)
		return -errno;
	while ((entry = readdir(d))) {
		enum runfile which;
		uint64_t run;

		if (runfiles_parse(entry->d_name, &run, &which) && !keep(arg, run, which))
			unlinkat(dirfd(d), entry->d_name, 0);
	}
	return 0;
}

bool runfiles_any(const char *dir, uint64_t *ret_run)
{
	_cleanup_(runfiles_closedirp) DIR *d = opendir(dir);
	const struct dirent *entry;
	enum runfile which;
	uint64_t run;

	*ret_run = 0;
	while (d && (entry = readdir(d)))
		if (runfiles_parse(entry->d_name, &run, &which))
			*ret_run = MAX2(*ret_run, run);
	return *ret_run > 0;
}
