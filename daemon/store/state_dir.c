#include "daemon/store/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "common/buf.h"
#include "common/fd.h"
#include "common/paths.h"
#include "common/lock.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/store/runfiles.h"
#include "daemon/store/store.h"
#include "proto/errors.h"

/* statfs(2) and linux/magic.h; some are in no header. */
static const struct network_fs {
	unsigned long magic;
	const char *name;
} network_fs[] = {
	{ 0x6969, "nfs" },	{ 0x517b, "smb" },	  { 0xff534d42, "cifs" },
	{ 0xfe534d42, "smb" },	{ 0x5346414f, "afs" },	  { 0x6b414653, "afs" },
	{ 0x73757245, "coda" }, { 0x00c36400, "ceph" },	  { 0x0bd00bd0, "lustre" },
	{ 0x47504653, "gpfs" }, { 0x19830326, "beegfs" }, { 0x564c, "ncp" },
};

static int state_dir_local(const char *path, struct err *e)
{
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return err_set(e, E_STORAGE, "cannot look at folder '%s': %s", path,
			       strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(network_fs); i++)
		if (((unsigned long)fs.f_type & 0xffffffff) == network_fs[i].magic)
			return err_set(e, E_STORAGE,
				       "state folder '%s' is on a network file system (%s): name a "
				       "local one with --state-dir or "
				       "XDG_STATE_HOME",
				       path, network_fs[i].name);
	return 0;
}

int state_dir_check(const char *path, struct err *e)
{
	struct stat st;
	int r = path_mkdirs(path, 0700);

	if (r < 0)
		return err_set(e, E_STORAGE, "cannot make folder '%s': %s: %s", path, strerror(-r),
			       trouble_mend(-r));
	if (stat(path, &st) < 0)
		return err_set(e, E_STORAGE, "cannot look at folder '%s': %s", path,
			       strerror(errno));
	if (st.st_uid != geteuid())
		return err_set(e, E_STORAGE,
			       "state folder '%s' belongs to uid %u: name one of your own with "
			       "--state-dir",
			       path, (unsigned)st.st_uid);
	if (st.st_mode & S_IWOTH)
		return err_set(
			e, E_STORAGE,
			"everyone can write to state folder '%s': chmod o-w it, or name another",
			path);
	/* Where each user has a group of its own, a umask of 002 is usual. */
	if ((st.st_mode & S_IWGRP) && st.st_gid != getegid())
		return err_set(
			e, E_STORAGE,
			"group %u can write to state folder '%s': chmod g-w it, or name another",
			(unsigned)st.st_gid, path);
	return state_dir_local(path, e);
}

int state_dir_first(const char *path, struct err *e)
{
	_cleanup_free_ char *db = xasprintf("%s/batchd.db", path);
	_cleanup_free_ char *runs = xasprintf("%s/runs", path);
	struct stat st;
	uint64_t run;
	bool missing = stat(db, &st) < 0;

	if (missing ? errno != ENOENT : st.st_size > 0)
		return 0; /* opening it tells what is wrong */
	if (!runfiles_any(runs, &run))
		return 0;
	return err_set(e, E_STORAGE,
		       "'%s' is %s, but '%s' holds files of runs up to %" PRIu64
		       ": put the database back from a copy, or move '%s' away to begin anew",
		       db, missing ? "missing" : "empty", runs, run, path);
}

/*
 * Not -EWOULDBLOCK where the lock is only looked at: lookers share it for a moment (lock_look), an
 * owner shares it with nobody.
 */
static int lock_try(int fd)
{
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || flock(fd, LOCK_SH | LOCK_NB) < 0)
			return -errno;
		flock(fd, LOCK_UN);
		sched_yield();
	}
	return 0;
}

int state_dir_lock(const char *path, const char *socket, int *ret_fd, pid_t *ret_holder,
		   struct err *e)
{
	_cleanup_buf_ struct buf name = BUF_INIT;
	_cleanup_close_ int fd = -1;
	int r;

	buf_addf(&name, "%s/lock", path);
	fd = open(buf_str(&name), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(e, E_STORAGE, "cannot open '%s': %s: %s", buf_str(&name),
			       strerror(errno), trouble_mend(errno));
	r = lock_try(fd);
	if (r == -EWOULDBLOCK) {
		struct lock_holder h;
		lock_read(fd, &h);
		*ret_holder = h.pid;
		err_set(e, E_STORAGE, "state folder '%s' is in use by another batchd (pid %d)%s%s",
			path, (int)h.pid, h.socket ? " at " : "", h.socket ? h.socket : "");
		lock_holder_done(&h);
		return STORE_LOCKED;
	}
	if (r < 0)
		return err_set(e, E_STORAGE, "cannot lock '%s': %s", buf_str(&name), strerror(-r));
	lock_tell(fd, socket);
	*ret_fd = TAKE_FD(fd);
	return 0;
}
