#include "daemon/spawner/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/packet.h"
#include "common/timeutil.h"
#include "daemon/spawner/env.h"
#include "daemon/spawner/keep.h"
#include "daemon/spawner/loop.h"
#include "daemon/spawner/table.h"
#include "daemon/spawner/tree.h"
#include "daemon/spawner/warm_wire.h"

#define WARM_SHELL "bash"
#define WARM_LIBRARY "batchd-warm-shell.so"
/* So many in a row, each within so long of the last, are worth a process that waits for more. */
#define WARM_AFTER 3
#define WARM_PACE_MS 1000
#define WARM_IDLE_MS 20000
#define WARM_ANSWER_MS 5000
#define WARM_ASKED_MAX 64

static char library[PATH_MAX]; /* "": there is none */
static struct {
	pid_t pid; /* 0: none */
	int fd;
	bool ready;
	struct stat id; /* of the program */
	int64_t used_ms;
} shell = { .fd = -1 };
/* In the order asked. */
static struct {
	uint32_t slot;
	int64_t since_ms;
} asked[WARM_ASKED_MAX];
static unsigned n_asked;
static int epoll_fd;
static struct stat refused; /* a program that could not be kept warm */
static unsigned in_a_row;
static int64_t last_ms;

void warm_init(const char *program, int epoll)
{
	epoll_fd = epoll;
	const char *slash = strrchr(program, '/');
	int dir = slash ? (int)(slash - program) : 0;
	snprintf(library, sizeof(library), "%.*s/%s", dir, program, WARM_LIBRARY);
	/* The dynamic linker parts names at these; and what it loads into all programs would take
	 * our waiting shell for one. */
	if (strpbrk(library, ": ") || access(library, R_OK) < 0 ||
	    access("/etc/ld.so.preload", F_OK) == 0)
		library[0] = '\0';
}

/* --- which program --- */

static bool warm_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Nothing in it for the dynamic linker or the C library, which have looked already. */
static bool warm_may_have(char *const *env)
{
	for (; *env; env++)
		if (strncmp(*env, "LD_", 3) == 0 || strncmp(*env, "GLIBC_TUNABLES=", 15) == 0 ||
		    strncmp(*env, "MALLOC_", 7) == 0)
			return false;
	return true;
}

/* The file that exec would come to; false where that is not plain to see. */
static bool warm_find_program(const struct child_spec *spec, char path[PATH_MAX], struct stat *ret)
{
	const char *search = env_value(spec->env, "PATH");
	if (strcmp(spec->argv[0], WARM_SHELL) != 0 || !search)
		return false;
	for (const char *p = search; *p == '/';) {
		size_t len = strcspn(p, ":");
		if (len + sizeof("/" WARM_SHELL) > PATH_MAX)
			return false;
		snprintf(path, PATH_MAX, "%.*s/" WARM_SHELL, (int)len, p);
		if (stat(path, ret) == 0)
			return S_ISREG(ret->st_mode) && access(path, X_OK) == 0;
		if (errno != ENOENT && errno != ENOTDIR)
			return false;
		p += len + (p[len] == ':');
	}
	return false;
}

/* --- the shell --- */

static void warm_answered(struct warm_answer a)
{
	for (unsigned i = 0; i < n_asked; i++)
		if (asked[i].slot == a.slot) {
			n_asked--;
			memmove(&asked[i], &asked[i + 1], (n_asked - i) * sizeof(asked[0]));
			keep_answered(a.slot, a.pid, a.e);
			return;
		}
}

void warm_event(void)
{
	struct warm_answer a;
	struct packet_fds none;
	int flags;
	while (shell.fd >= 0 &&
	       packet_receive(shell.fd, &a, sizeof(a), &none, &flags) == sizeof(a)) {
		shell.ready = true;
		warm_answered(a);
	}
}

/* For an answer. False when none comes: in time, or because nobody is left who could give one. */
static bool warm_wait(void)
{
	struct pollfd p = { .fd = shell.fd, .events = POLLIN };
	if (poll(&p, 1, (int)MAX2(warm_deadline_ms() - time_mono_ms(), 0)) <= 0)
		return false;
	warm_event();
	return !(p.revents & POLLHUP);
}

static void warm_reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/*
 * It has ended and is reaped. Whom it had made by then has the other end of the socket until it
 * says that it is the op now, or has ended: nobody who has begun is taken for one that has not. Who
 * does neither is ended, and batchd asks for it again.
 */
static void warm_gone(void)
{
	while (n_asked > 0 && warm_wait())
		;
	while (n_asked > 0) {
		int32_t pid = table_at(asked[0].slot)->pid;
		if (pid > 0 && kill(pid, SIGKILL) == 0)
			warm_reap(pid);
		warm_answered((struct warm_answer){ .slot = asked[0].slot });
	}
	close(shell.fd);
	shell.fd = -1;
	shell.pid = 0;
	shell.ready = false;
	table_set_shell(0, 0);
}

void warm_end(void)
{
	if (!shell.pid)
		return;
	kill(shell.pid, SIGKILL);
	warm_reap(shell.pid);
	warm_gone();
}

bool warm_is(pid_t pid)
{
	return pid == shell.pid && pid != 0;
}

bool warm_is_asked(void)
{
	return n_asked > 0;
}

static unsigned warm_find_asked(pid_t pid)
{
	unsigned i = 0;
	while (i < n_asked && table_at(asked[i].slot)->pid != pid)
		i++;
	return i;
}

bool warm_has(pid_t pid)
{
	return warm_find_asked(pid) < n_asked;
}

void warm_has_ended(pid_t pid)
{
	if (n_asked == 0)
		return;
	warm_event();
	unsigned i = warm_find_asked(pid);
	if (i < n_asked)
		warm_answered((struct warm_answer){ .slot = asked[i].slot, .pid = pid });
}

void warm_reaped(void)
{
	if (!shell.ready)
		refused = shell.id;
	warm_gone();
}

/* Loaded into memory as any program; all signals stay blocked in it. */
static void warm_begin(const char *path, const struct stat *id)
{
	char preload[PATH_MAX + 16];
	char *argv[] = { (char *)WARM_SHELL, NULL },
	     *env[] = { (char *)WARM_ENV "=1", preload, NULL };
	int pair[2];
	pid_t pid;
	posix_spawn_file_actions_t actions;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	int size = 2 * WARM_PACKET_BYTES;
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
	int64_t began_boot_ns = time_boot_ns();
	/* By way of numbers that are out of the way of those they are to have. */
	int far[2] = { fcntl(pair[1], F_DUPFD_CLOEXEC, 16),
		       fcntl(table_fd(), F_DUPFD_CLOEXEC, 16) };
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, far[0], WARM_SOCKET_FD);
	posix_spawn_file_actions_adddup2(&actions, far[1], WARM_TABLE_FD);
	int r = posix_spawn(&pid, path, &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	close(far[0]);
	close(far[1]);
	close(pair[1]);
	if (r != 0) {
		close(pair[0]);
		return;
	}
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = LOOP_WARM };
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pair[0], &ev);
	shell.pid = pid;
	shell.fd = pair[0];
	shell.ready = false;
	shell.id = *id;
	shell.used_ms = time_mono_ms();
	table_set_shell(pid, began_boot_ns);
}

/* Is there one of that program, waiting? If not there may be one later. */
static bool warm_ready(const char *path, const struct stat *id)
{
	int64_t now = time_mono_ms();
	in_a_row = now - last_ms <= WARM_PACE_MS ? in_a_row + 1 : 1;
	last_ms = now;
	if (shell.pid && !warm_same(&shell.id, id))
		warm_end();
	if (!shell.pid) {
		if (in_a_row >= WARM_AFTER && !warm_same(&refused, id))
			warm_begin(path, id);
		return false;
	}
	shell.used_ms = now;
	return shell.ready && n_asked < WARM_ASKED_MAX;
}

void warm_turn(void)
{
	if (!shell.pid || time_mono_ms() < warm_deadline_ms())
		return;
	if (n_asked > 0)
		log_warn("the shell that is kept warm does not answer: it is ended");
	warm_end();
}

int64_t warm_deadline_ms(void)
{
	if (!shell.pid)
		return 0;
	return n_asked > 0 ? asked[0].since_ms + WARM_ANSWER_MS : shell.used_ms + WARM_IDLE_MS;
}

void warm_settle(void)
{
	while (n_asked > 0 && warm_wait())
		;
	warm_turn();
	if (n_asked > 0)
		warm_end();
}

void warm_end_predecessors(void)
{
	int64_t started_boot_ns;
	int32_t pid = table_shell(&started_boot_ns);
	int fd = tree_same_process(pid, started_boot_ns, 0) ? (int)syscall(SYS_pidfd_open, pid, 0)
							    : -1;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	if (fd >= 0 && tree_same_process(pid, started_boot_ns, 0) && kill(pid, SIGKILL) == 0)
		poll(&p, 1, WARM_ANSWER_MS);
	cleanup_closep(&fd);
	table_set_shell(0, 0); /* last: who comes after us, if we are killed here, must know it */
}

/* --- a start --- */

static char request[WARM_PACKET_BYTES] __attribute__((aligned(8)));

static bool request_add(size_t *at, const void *p, size_t len)
{
	if (len > sizeof(request) - *at)
		return false;
	memcpy(request + *at, p, len);
	*at += len;
	return true;
}

/* The strings of a vector; how many they are, and their bytes. */
static bool request_add_vector(size_t *at, char *const *v, uint32_t *ret_n, uint32_t *ret_bytes)
{
	size_t begin = *at;
	for (*ret_n = 0; v[*ret_n]; (*ret_n)++)
		if (!request_add(at, v[*ret_n], strlen(v[*ret_n]) + 1))
			return false;
	*ret_bytes = (uint32_t)(*at - begin);
	return true;
}

/* False: too long. */
static bool request_make(const struct child_spec *spec, uint32_t slot, size_t *ret_len)
{
	struct warm_request *r = (struct warm_request *)request;
	size_t at = sizeof(*r);
	*r = (struct warm_request){ .nofile_soft = spec->nofile_soft,
				    .mark = spec->mark,
				    .pid_at = table_offset(&table_at(slot)->pid),
				    .slot = slot,
				    .umask = spec->umask,
				    .n_stages = spec->n_stages,
				    .cwd_bytes = (uint32_t)strlen(spec->cwd) + 1,
				    .tty = spec->tty,
				    .has_cgroup = spec->cgroup_fd >= 0 };
	bool fits = request_add(&at, spec->stages, spec->n_stages * sizeof(spec->stages[0])) &&
		    request_add(&at, spec->cwd, r->cwd_bytes) &&
		    request_add_vector(&at, spec->argv, &r->argc, &r->argv_bytes) &&
		    request_add_vector(&at, spec->env, &r->envc, &r->env_bytes);
	*ret_len = at;
	return fits && (uint64_t)r->argc + r->envc <= WARM_STRINGS_MAX;
}

static bool request_send(const struct child_spec *spec, size_t len)
{
	const int fds[] = { spec->stdin_fd, spec->stdout_fd, spec->stderr_fd, spec->cgroup_fd };
	return packet_send(shell.fd, request, len, fds, spec->cgroup_fd >= 0 ? 4 : 3) == 0;
}

bool warm_ask(const struct child_spec *spec, uint32_t slot)
{
	char path[PATH_MAX];
	struct stat id;
	size_t len;
	if (!library[0] || !warm_find_program(spec, path, &id) || !warm_may_have(spec->env) ||
	    !warm_ready(path, &id) || !request_make(spec, slot, &len) || !request_send(spec, len))
		return false;
	asked[n_asked].slot = slot;
	asked[n_asked++].since_ms = shell.used_ms;
	return true;
}
