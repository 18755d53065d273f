#include "client/daemon_start.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/lock.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/xalloc.h"

#ifndef BATCHD_BINDIR
#define BATCHD_BINDIR "/usr/bin"
#endif

/* ---- is one running? ---- */

static bool daemon_lock_held(void)
{
	_cleanup_free_ char *state = path_default_state(NULL);
	_cleanup_(lock_holder_done) struct lock_holder h = LOCK_HOLDER_INIT;
	return state && lock_look(state, &h) && !h.leaving;
}

/*
 * Is that how the kernel knows the socket? unix_listen() binds "PATH.PID" and renames it, and goes
 * by way of its folder's fd where PATH is long; the kernel keeps the name it was bound to.
 */
static bool daemon_bound_as(const char *bound, const char *socket)
{
	const char *base = strrchr(socket, '/');
	if (base && strncmp(bound, "/proc/self/fd/", 14) == 0) {
		bound = strrchr(bound, '/');
		socket = base;
	}
	size_t len = strlen(socket);
	if (strncmp(bound, socket, len) != 0)
		return false;
	return bound[len] == '\0' ||
	       (bound[len] == '.' && parse_all_digits(slice_str(bound + len + 1)));
}

static bool daemon_is_batchd(const char *comm)
{
	return strcmp(comm, "batchd\n") == 0;
}

/* systemd, and systemd-socket-activate, hold batchd's socket until the first client comes. */
static bool daemon_is_stranger(const char *comm)
{
	return !daemon_is_batchd(comm) && strncmp(comm, "systemd", 7) != 0;
}

static bool daemon_is_named(int proc, const char *pid, bool (*is)(const char *comm))
{
	char path[64], comm[32] = "";
	snprintf(path, sizeof(path), "%.20s/comm", pid);
	_cleanup_close_ int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, comm, sizeof(comm) - 1) > 0 && is(comm);
}

static bool daemon_holds_socket(int proc, const char *pid, uint64_t inode)
{
	char path[64], want[64], link[64];
	snprintf(path, sizeof(path), "%.20s/fd", pid);
	snprintf(want, sizeof(want), "socket:[%" PRIu64 "]", inode);
	int fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	bool found = false;
	if (!dir && fd >= 0)
		close(fd);
	for (struct dirent *d; dir && !found && (d = readdir(dir));) {
		ssize_t n = readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1);
		link[MAX2(n, 0)] = '\0';
		found = strcmp(link, want) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool daemon_any_holds(uint64_t inode, bool (*is)(const char *comm))
{
	DIR *dir = opendir("/proc");
	bool found = false;
	for (struct dirent *d; dir && !found && (d = readdir(dir));)
		found = parse_all_digits(slice_str(d->d_name)) &&
			daemon_is_named(dirfd(dir), d->d_name, is) &&
			daemon_holds_socket(dirfd(dir), d->d_name, inode);
	if (dir)
		closedir(dir);
	return found;
}

/* Does anything listen that was bound to that path (several may have been, one after another) and
 * that is held by one that `is` likes (NULL: any)? proc(5). */
static bool daemon_listener(const char *socket, bool (*is)(const char *comm))
{
	bool found = false;
	_cleanup_fclose_ FILE *f = fopen("/proc/net/unix", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	while (f && !found && getline(&line, &size, f) > 0) {
		const unsigned listening = 1u << 16; /* __SO_ACCEPTCON */
		unsigned flags;
		uint64_t inode;
		int path = -1;
		line[strcspn(line, "\n")] = '\0';
		found = sscanf(line, "%*s %*s %*s %x %*s %*s %" SCNu64 " %n", &flags, &inode,
			       &path) >= 2 &&
			path >= 0 && (flags & listening) && daemon_bound_as(line + path, socket) &&
			(!is || daemon_any_holds(inode, is));
	}
	return found;
}

bool daemon_socket_bound(const char *socket)
{
	return daemon_listener(socket, NULL);
}

bool daemon_socket_is_strangers(const char *socket)
{
	return daemon_listener(socket, daemon_is_stranger);
}

/* A batchd whose state folder is not the one we know (batchd --state-dir), found by the socket it
 * listens on. */
static bool daemon_listens(const char *socket)
{
	return daemon_listener(socket, daemon_is_batchd);
}

bool daemon_is_running(const char *socket)
{
	return daemon_lock_held() || daemon_listens(socket);
}

/* ---- starting one ---- */

char *daemon_program(void)
{
	/* Installed or in the build folder. */
	static const char *const places[] = { "batchd", "../daemon/batchd", NULL };
	return path_find_program(NULL, places, BATCHD_BINDIR "/batchd");
}

/* In the child: a session of its own, so that our terminal's ^C is not its. Does not return. */
static void daemon_exec(const char *program, const char *socket, int log_fd)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(log_fd, STDERR_FILENO) < 0)
		_exit(127);
	execl(program, "batchd", "--socket", socket, (char *)NULL);
	dprintf(STDERR_FILENO, "%s\n", strerror(errno));
	_exit(127);
}

/* The last line a starting batchd said, without its time stamp being our business. */
static void daemon_last_words(int log_fd, struct buf *b)
{
	_cleanup_buf_ struct buf all = BUF_INIT;
	if (lseek(log_fd, 0, SEEK_SET) < 0 || fd_read_all(log_fd, 1 << 20, &all) < 0)
		return;
	while (all.len && (all.p[all.len - 1] == '\n' || all.p[all.len - 1] == '\0'))
		all.len--;
	const char *text = buf_str(&all);
	const char *line = strrchr(text, '\n');
	text_one_line(b, slice_str(line ? line + 1 : text), 600);
}

int daemon_start(const char *socket, struct err *e)
{
	_cleanup_free_ char *program = daemon_program();
	_cleanup_close_ int log_fd = memfd_create("batchd-start", MFD_CLOEXEC);
	int status;
	if (!program)
		return err_set(e, 0,
			       "no daemon is running at '%s', and no program 'batchd' was found to "
			       "start one: put it in PATH",
			       socket);
	if (path_check_private(socket, e))
		return 1;
	if (log_fd < 0)
		return err_set(e, 0, "cannot start batchd: %s", strerror(errno));
	pid_t pid = fork();
	if (pid < 0)
		return err_set(e, 0, "cannot start batchd: %s", strerror(errno));
	if (pid == 0)
		daemon_exec(program, socket, log_fd);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_set(e, 0, "cannot wait for batchd: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	_cleanup_buf_ struct buf words = BUF_INIT;
	daemon_last_words(log_fd, &words);
	return err_set(e, 0, "cannot start '%s': %s", program,
		       words.len ? buf_str(&words) : "it ended without a word");
}
