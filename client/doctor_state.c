#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "client/doctor.h"
#include "common/cgroup.h"
#include "common/fd.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "proto/mp.h"

#define DISK_FULL (16u << 20) /* a commit, a run log and SQLite's own files need some of it */
#define DISK_LOW (512u << 20) /* less than a quarter of what kept output may take */
#define LOG_TAIL (256u << 10)
#define FILES_FEW 4096 /* an op takes about five */
#define PROCESSES_FEW 512
#define CLOCK_BEGIN 1735689600 /* 2025-01-01: before batchd */
#define CLOCK_SLACK 120	       /* s; other machines' clocks, restored files */

/* ---- what batchd itself proves ---- */

/* `batchd --check-...`: what it would say to a start. */
static void ask_batchd(struct doctor *d, const char *option, const char *mend, const char *fine)
{
	_cleanup_buf_ struct buf said = BUF_INIT;
	const char *const argv[] = { d->program, "--socket", d->c->socket, option, NULL };
	if (!d->program) {
		doctor_say(d, DOCTOR_NOTE, NULL, "not looked into: no batchd was found");
		return;
	}
	int status = doctor_run(argv, &said);
	const char *text = buf_str(&said);
	if (strncmp(text, "batchd: ", 8) == 0)
		text += 8;
	if (status == 0)
		doctor_ok(d, "%s", *text ? text : fine);
	else
		doctor_say(d, DOCTOR_PROBLEM, mend, "%s",
			   *text ? text : "batchd ended without a word");
}

void doctor_config(struct doctor *d)
{
	_cleanup_free_ char *path = path_default_config();
	if (!path || access(path, F_OK) < 0) {
		doctor_ok(d, "none; defaults hold");
		return;
	}
	_cleanup_free_ char *fine = xasprintf("'%s' is in order", path);
	ask_batchd(d, "--check-config", "edit that line: see batchd.conf(5)", fine);
}

/* Has the process the file at `path` open? True too where nobody tells. */
static bool has_open(pid_t pid, const char *path)
{
	_cleanup_free_ char *fds = xasprintf("/proc/%d/fd", (int)pid);
	struct stat there, st;
	bool found = false;
	DIR *dir = opendir(fds);
	if (!dir)
		return true;
	bool is_there = stat(path, &there) == 0;
	for (struct dirent *e; is_there && !found && (e = readdir(dir));)
		found = fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && st.st_dev == there.st_dev &&
			st.st_ino == there.st_ino;
	closedir(dir);
	return found;
}

static void database_in_use(struct doctor *d)
{
	_cleanup_free_ char *path = xasprintf("%s/batchd.db", d->state);
	_cleanup_free_ char *wal = xasprintf("%s-wal", path);
	const char *other = !has_open(d->holder.pid, path)  ? path
			    : !has_open(d->holder.pid, wal) ? wal
							    : NULL;
	if (other)
		doctor_say(d, DOCTOR_PROBLEM,
			   "move away what stands there now, and put back what stood there; what "
			   "was removed batchd makes anew, do not stop it before",
			   "'%s' is not the file that batchd (pid %d) stores in: it was removed, "
			   "moved or replaced while in use",
			   other, (int)d->holder.pid);
	else
		doctor_ok(d, "in use by the daemon: not looked into");
}

void doctor_database(struct doctor *d)
{
	_cleanup_free_ char *mend = xasprintf("cp -a '%s' somewhere, then do as it says",
					      d->state ? d->state : "the state folder");
	if (d->locked && d->state && d->serves)
		database_in_use(d);
	else if (d->locked || !d->state)
		doctor_ok(d, "in use by the daemon: not looked into");
	else
		ask_batchd(d, "--check-state", mend, "sound, or not there yet");
}

/* ---- state folder ---- */

/* One of ours in the state folder that we could not use; false: it is well, or not there. */
static bool state_file(struct doctor *d, const char *path, bool folder)
{
	struct stat st;
	_cleanup_free_ char *own = xasprintf("chown %u '%s'", (unsigned)getuid(), path);
	_cleanup_free_ char *open_it = xasprintf("chmod %s '%s'", folder ? "700" : "600", path);
	if (lstat(path, &st) < 0)
		return false;
	if (folder ? !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode) : !S_ISREG(st.st_mode))
		doctor_say(d, DOCTOR_PROBLEM, "move it away", "'%s' is no %s", path,
			   folder ? "folder" : "regular file");
	else if (st.st_uid != geteuid())
		doctor_say(d, DOCTOR_PROBLEM, own, "'%s' belongs to uid %u", path,
			   (unsigned)st.st_uid);
	else if (access(path, R_OK | W_OK | (folder ? X_OK : 0)) < 0)
		doctor_say(d, DOCTOR_PROBLEM, errno == EROFS ? trouble_mend(EROFS) : open_it,
			   "'%s' cannot be written to: %s", path, strerror(errno));
	else
		return false;
	return true;
}

/* Of the runs' files the first that is not well is told: there may be very many. */
static bool state_run_files(struct doctor *d, const char *runs)
{
	DIR *dir = opendir(runs);
	bool found = false;
	for (struct dirent *e; dir && !found && (e = readdir(dir));) {
		_cleanup_free_ char *path = xasprintf("%s/%s", runs, e->d_name);
		found = e->d_name[0] != '.' && state_file(d, path, false);
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool state_files(struct doctor *d)
{
	static const char *const names[] = { "lock", "batchd.db", "batchd.db-wal", "batchd.db-shm",
					     "batchd.log" };
	_cleanup_free_ char *runs = xasprintf("%s/runs", d->state);
	bool found = state_file(d, runs, true) || state_run_files(d, runs);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", d->state, names[i]);
		found |= state_file(d, path, false);
	}
	return found;
}

/* There is no folder yet: whether the nearest one above it that is there lets us make it. */
static void state_to_make(struct doctor *d)
{
	_cleanup_free_ char *above = xstrdup(d->state);
	char *slash;
	while ((slash = strrchr(above, '/')) && slash > above) {
		*slash = '\0';
		if (access(above, F_OK) == 0)
			break;
	}
	if (faccessat(AT_FDCWD, above, W_OK | X_OK, AT_EACCESS) < 0)
		doctor_say(d, DOCTOR_PROBLEM, "set XDG_STATE_HOME to a folder of your own",
			   "cannot make '%s': '%s': %s", d->state, above, strerror(errno));
	else
		doctor_ok(d, "'%s' will be made when it is needed", d->state);
}

/* Does batchd not start with it, as others could write there? */
static bool state_is_refused(const struct stat *st)
{
	return st->st_mode & S_IWOTH || (st->st_mode & S_IWGRP && st->st_gid != getegid());
}

void doctor_state(struct doctor *d)
{
	struct stat st;
	const char *dir = d->state;
	_cleanup_free_ char *close_it = xasprintf("chmod 700 '%s'", dir ? dir : "");
	_cleanup_free_ char *make_own = xasprintf("chown -R %u '%s', or set XDG_STATE_HOME",
						  (unsigned)getuid(), dir ? dir : "");
	if (!dir)
		doctor_say(d, DOCTOR_PROBLEM, "set HOME or XDG_STATE_HOME",
			   "no place for state: neither HOME nor XDG_STATE_HOME is set");
	else if (stat(dir, &st) < 0 && errno == ENOENT)
		state_to_make(d);
	else if (stat(dir, &st) < 0)
		doctor_say(d, DOCTOR_PROBLEM, "set XDG_STATE_HOME to a folder of your own",
			   "cannot look at '%s': %s", dir, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		doctor_say(d, DOCTOR_PROBLEM, "move it away", "'%s' is not a folder", dir);
	else if (st.st_uid != geteuid())
		doctor_say(d, DOCTOR_PROBLEM, make_own, "'%s' belongs to uid %u", dir,
			   (unsigned)st.st_uid);
	else if (access(dir, R_OK | W_OK | X_OK) < 0)
		doctor_say(d, DOCTOR_PROBLEM, errno == EROFS ? trouble_mend(EROFS) : close_it,
			   "'%s' cannot be written to: %s", dir, strerror(errno));
	else if (st.st_mode & 0077)
		doctor_say(d, state_is_refused(&st) ? DOCTOR_PROBLEM : DOCTOR_NOTE, close_it,
			   "'%s' is open to others (mode %04o): commands and output are in it", dir,
			   (unsigned)st.st_mode & 07777);
	else if (!state_files(d))
		doctor_ok(d, "'%s' is yours alone", dir);
}

/* The folder if it is there, else the nearest parent that is. Malloced. */
static char *disk_folder(const char *path)
{
	char *dir = xstrdup(path);
	while (access(dir, F_OK) < 0) {
		char *slash = strrchr(dir, '/');
		if (!slash || slash == dir)
			break;
		*slash = '\0';
	}
	return dir;
}

static void disk_one(struct doctor *d, const char *what, const char *path)
{
	_cleanup_free_ char *dir = disk_folder(path);
	struct statvfs v;
	if (statvfs(dir, &v) < 0)
		return;
	uint64_t bytes = (uint64_t)v.f_bavail * v.f_frsize;
	uint64_t total = (uint64_t)v.f_blocks * v.f_frsize;
	_cleanup_free_ char *mend =
		xasprintf("make room: `batchctl clean` forgets ended runs; du -sh '%s'", path);
	bool full = bytes < DISK_FULL || (v.f_files && v.f_favail < 64);
	bool low = bytes < DISK_LOW && bytes < total / 4;
	doctor_say(d,
		   full	 ? DOCTOR_PROBLEM
		   : low ? DOCTOR_NOTE
			 : DOCTOR_OK,
		   full || low ? mend : NULL, "%s '%s' has %" PRIu64 " MiB free of %" PRIu64 "%s",
		   what, dir, bytes >> 20, total >> 20,
		   v.f_files && v.f_favail < 64 ? ", and no room for more files" : "");
}

/* 0 or -errno: in a file without a name, of which nothing stays. -EOPNOTSUPP: not to be tried. */
static int disk_try(const char *dir)
{
	static const char block[4096];
	char back[sizeof(block)];
	_cleanup_close_ int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EISDIR || errno == ENOENT ? -EOPNOTSUPP : -errno;
	int r = fd_pwrite_all(fd, block, sizeof(block), 0);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r < 0)
		return r;
	ssize_t n = fd_pread_all(fd, back, sizeof(back), 0);
	return n < 0 ? (int)n : 0;
}

/* 0 or -errno: does what is there come back from the disk? */
static int disk_read(const char *path)
{
	char head[4096];
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == EIO ? -EIO : 0; /* the state's check tells the others */
	ssize_t n = fd_pread_all(fd, head, sizeof(head), 0);
	return n == -EIO ? -EIO : 0;
}

/* What it has is nothing where it does not work, or a quota leaves none of it. */
static void disk_works(struct doctor *d)
{
	_cleanup_free_ char *db = xasprintf("%s/batchd.db", d->state);
	int written = disk_try(d->state), read = disk_read(db);
	if (written < 0 && written != -EOPNOTSUPP && written != -EACCES)
		doctor_say(d, DOCTOR_PROBLEM, trouble_mend(-written),
			   "state: a file in '%s' cannot be written: %s", d->state,
			   strerror(-written));
	if (read < 0)
		doctor_say(d, DOCTOR_PROBLEM,
			   "see the system's log (dmesg); move the state folder to another disk",
			   "state: '%s' cannot be read: %s", db, strerror(-read));
}

void doctor_disk(struct doctor *d)
{
	if (d->state)
		disk_works(d);
	if (d->state)
		disk_one(d, "state:", d->state);
	disk_one(d, "runtime:", d->socket_dir);
}

/* ---- log ---- */

/* What was logged since the last start: the last error, and how many. */
static int log_errors(const struct buf *tail, struct slice *ret_last)
{
	int n = 0;
	for (size_t i = 0, len; i < tail->len; i += len + 1) {
		const char *nl = memchr(tail->p + i, '\n', tail->len - i);
		len = nl ? (size_t)(nl - (tail->p + i)) : tail->len - i;
		struct slice line = slice_of(tail->p + i, len);
		if (memmem(line.p, line.len, " listens at '", 13))
			n = 0;
		if (!memmem(line.p, line.len, ": error: ", 9))
			continue;
		*ret_last = line;
		n++;
	}
	return n;
}

void doctor_log(struct doctor *d)
{
	_cleanup_free_ char *path = xasprintf("%s/batchd.log", d->state ? d->state : "");
	_cleanup_buf_ struct buf tail = BUF_INIT;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct slice last = SLICE_NONE;
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		doctor_ok(d, "no batchd.log yet");
		return;
	}
	if (lseek(fd, MAX2(st.st_size - (off_t)LOG_TAIL, 0), SEEK_SET) < 0 ||
	    fd_read_all(fd, 2 * LOG_TAIL, &tail) < 0)
		buf_clear(&tail);
	int n = log_errors(&tail, &last);
	_cleanup_free_ char *mend = xasprintf("less +G '%s'", path);
	if (n)
		doctor_say(d, DOCTOR_NOTE, mend, "%d error%s since the last start, the last: %.*s",
			   n, PLURAL(n), (int)MIN2(last.len, (size_t)600), last.p);
	else
		doctor_ok(d, "no errors since the last start");
}

/* ---- clock ---- */

void doctor_clock(struct doctor *d)
{
	static const char *const files[] = { "batchd.db", "batchd.db-wal", "batchd.log", "lock" };
	time_t now = time(NULL), newest = 0;
	for (size_t i = 0; d->state && i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", d->state, files[i]);
		struct stat st;
		if (stat(path, &st) == 0)
			newest = MAX2(newest, st.st_mtime);
	}
	if (now < CLOCK_BEGIN)
		doctor_say(d, DOCTOR_PROBLEM, "set the clock (timedatectl set-ntp true)",
			   "the clock says a time before batchd was made");
	else if (newest > now + CLOCK_SLACK)
		doctor_say(d, DOCTOR_NOTE, "set the clock (timedatectl set-ntp true)",
			   "the clock is %" PRId64 " s behind what was last written",
			   (int64_t)(newest - now));
	else
		doctor_ok(d, "plausible");
}

/* ---- limits and containment: those of the spawner, or those it would get from us ---- */

static pid_t parent_of_ops(const struct doctor *d)
{
	return (pid_t)mp_get_int(buf_slice(&d->status), "spawner_pid", 0);
}

static void limits_one(struct doctor *d, int resource, const char *what, rlim_t few,
		       const char *mend)
{
	struct rlimit lim;
	if (prlimit(parent_of_ops(d), resource, NULL, &lim) < 0)
		return;
	/* Open files: raised to the hard limit at the start. */
	rlim_t max = resource == RLIMIT_NOFILE ? lim.rlim_max : lim.rlim_cur;
	if (max == RLIM_INFINITY)
		doctor_ok(d, "%s: no limit", what);
	else if (resource == RLIMIT_NOFILE && max < FD_LEAST)
		doctor_say(d, DOCTOR_PROBLEM, mend,
			   "%s: at most %" PRIu64 ", and batchd does not start with fewer than %d",
			   what, (uint64_t)max, FD_LEAST);
	else if (max < few)
		doctor_say(d, DOCTOR_NOTE, mend, "%s: at most %" PRIu64 "", what, (uint64_t)max);
	else
		doctor_ok(d, "%s: at most %" PRIu64, what, (uint64_t)max);
}

void doctor_limits(struct doctor *d)
{
	limits_one(d, RLIMIT_NOFILE, "open files", FILES_FEW,
		   "raise the hard limit (ulimit -Hn, LimitNOFILE=, limits.conf(5)): about five go "
		   "to each op at work");
	limits_one(d, RLIMIT_NPROC, "processes", PROCESSES_FEW,
		   "raise it (ulimit -u, LimitNPROC=, limits.conf(5))");
}

void doctor_containment(struct doctor *d)
{
	char base[PATH_MAX];
	_cleanup_close_ int fd = cgroup_open_given(parent_of_ops(d), base, sizeof(base));
	if (fd >= 0)
		doctor_ok(d, "a cgroup for each op, under '%s'", base);
	else
		doctor_say(
			d, DOCTOR_NOTE,
			doctor_user_manager()
				? "systemctl --user enable --now batchd.socket batchd.service"
				: NULL,
			"no cgroup of ours: what an op leaves behind is found by its session, its "
			"mark and its environment");
}
