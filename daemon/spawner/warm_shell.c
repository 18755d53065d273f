/*
 * The library inside the shell that is kept warm (warm.h). It takes the place of
 * __libc_start_main, which a program's own first instructions call when everything is loaded and
 * linked and none of the program has run: there we wait for work, fork, and go on in the child.
 *
 * The child is a sibling (CLONE_PARENT), so that the spawner is its parent; the kernel writes its
 * pid into the spawner's table before it runs (CLONE_PARENT_SETTID).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/spawner/stages.h"
#include "daemon/spawner/warm_wire.h"

typedef int (*main_fn)(int argc, char **argv, char **env);
typedef int (*start_fn)(main_fn, int argc, char **argv, void (*init)(void), void (*fini)(void),
			void (*rtld_fini)(void), void *stack_end);

int __libc_start_main(main_fn program, int argc, char **argv, void (*init)(void),
		      void (*fini)(void), void (*rtld_fini)(void), void *stack_end);

static char packet[WARM_PACKET_BYTES] __attribute__((aligned(8)));
/* argv, NULL, environment, NULL, and the end of an auxiliary vector. */
static char *strings[WARM_STRINGS_MAX + 4];
static char *table;
static size_t table_bytes;
static struct prctl_mm_map layout;
static void *tid_address;

static void answer(uint32_t slot, int32_t pid, struct child_error e)
{
	struct warm_answer a = { slot, pid, e };
	if (send(WARM_SOCKET_FD, &a, sizeof(a), MSG_NOSIGNAL) < 0)
		errno = 0; /* the spawner is gone; the op is not */
}

/* --- how the process looks from outside --- */

/* What proc(5) /proc/PID/stat calls so; the name in it may hold anything but ends with the last
 * parenthesis. */
static int layout_read(void)
{
	char text[2048];
	unsigned long long v[64] = { 0 };
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC), n = 3;
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (len <= 0)
		return -EIO;
	text[len] = '\0';
	char *p = strrchr(text, ')');
	if (!p)
		return -EIO;
	for (p += 3; n < 64 && (p = strchr(p, ' ')); n++)
		v[n + 1] = strtoull(++p, NULL, 10);
	layout = (struct prctl_mm_map){ .start_code = v[26],
					.end_code = v[27],
					.start_stack = v[28],
					.start_data = v[45],
					.end_data = v[46],
					.start_brk = v[47],
					.arg_start = v[48],
					.arg_end = v[49],
					.env_start = v[50],
					.env_end = v[51],
					.exe_fd = (uint32_t)-1 };
	return v[51] ? 0 : -EIO;
}

/* Strings elsewhere than where exec put those it had; an empty environment is one of no length. */
static int layout_set(const char *argv, size_t argv_bytes, const char *env, size_t env_bytes)
{
	struct prctl_mm_map m = layout;
	m.brk = (uintptr_t)sbrk(0);
	if (argv) {
		m.arg_start = (uintptr_t)argv;
		m.arg_end = m.arg_start + argv_bytes;
		m.env_start = (uintptr_t)env;
		m.env_end = m.env_start + env_bytes;
	}
	return prctl(PR_SET_MM, PR_SET_MM_MAP, (unsigned long)&m, sizeof(m), 0) < 0 ? -errno : 0;
}

/* --- the shell that waits --- */

/* posix_spawn leaves the two ignored that the C library keeps to itself. */
static void wait_default_signals(void)
{
	static const uint64_t dflt[4];
	for (int sig = 1; sig < NSIG; sig++)
		syscall(SYS_rt_sigaction, sig, dflt, NULL, (size_t)NSIG / 8);
}

static int wait_init(void)
{
	struct stat st;
	wait_default_signals();
	if (fstat(WARM_TABLE_FD, &st) < 0 || layout_read() < 0 ||
	    layout_set(NULL, 0, NULL, 0) < 0 ||
	    prctl(PR_GET_TID_ADDRESS, (unsigned long)&tid_address, 0, 0, 0) < 0 ||
	    stages_init() < 0)
		return -EIO;
	table_bytes = (size_t)st.st_size;
	table = mmap(NULL, table_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, WARM_TABLE_FD, 0);
	/* Ours alone: no op is to have it in its memory. */
	if (table == MAP_FAILED || madvise(table, table_bytes, MADV_DONTFORK) < 0)
		return -EIO;
	return 0;
}

/* One packet, its fds into fds. False: the spawner is gone, or mad. */
static bool wait_receive(int fds[4], size_t *ret_bytes)
{
	char control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = { packet, sizeof(packet) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;
	do
		n = recvmsg(WARM_SOCKET_FD, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	for (int i = 0; i < 4; i++)
		fds[i] = -1;
	struct cmsghdr *m = CMSG_FIRSTHDR(&msg);
	if (n < (ssize_t)sizeof(struct warm_request) || !m ||
	    m->cmsg_len < CMSG_LEN(3 * sizeof(int)))
		return false;
	memcpy(fds, CMSG_DATA(m), m->cmsg_len - CMSG_LEN(0));
	*ret_bytes = (size_t)n;
	return !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
}

static pid_t wait_fork(uint64_t pid_at)
{
	struct clone_args args = { .flags = CLONE_PARENT | CLONE_PARENT_SETTID |
					    CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID,
				   .parent_tid = (uintptr_t)(table + pid_at),
				   .child_tid = (uintptr_t)tid_address };
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* Returns in a child that is to do what the packet says. */
static void wait_for_work(int fds[4])
{
	size_t bytes;
	answer(WARM_HELLO, 0, (struct child_error){ 0 });
	while (wait_receive(fds, &bytes)) {
		const struct warm_request *r = (const struct warm_request *)packet;
		if (r->pid_at > table_bytes - sizeof(int32_t))
			break;
		pid_t pid = wait_fork(r->pid_at);
		if (pid == 0)
			return;
		if (pid < 0)
			answer(r->slot, 0, (struct child_error){ errno, SW_STEP_FORK });
		for (int i = 0; i < 4; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		explicit_bzero(packet, bytes); /* the next op has no business with it */
	}
	_exit(1); /* never 0: who takes it for an op is not to think that one succeeded */
}

/* --- the child --- */

static char *child_strings(char **ret, char *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		*ret++ = p;
		p += strlen(p) + 1;
	}
	*ret = NULL;
	return p;
}

/* Into its record, for who comes after a spawner that does not hear our answer. */
static void child_leave(uint64_t pid_at, struct child_error e)
{
	off_t at = (off_t)(pid_at - offsetof(struct record, pid) + offsetof(struct record, failed));
	if (pwrite(WARM_TABLE_FD, &e, sizeof(e), at) < 0)
		errno = 0; /* then it is said to have ended with 127 */
}

/* Everything up to main(), and the answer; what stays in sight is what exec would have left. */
static int child_become(const int fds[4])
{
	struct warm_request *r = (struct warm_request *)packet;
	struct sw_stage *stages = (struct sw_stage *)(r + 1);
	char *cwd = (char *)(stages + r->n_stages), *argv = cwd + r->cwd_bytes,
	     *env = argv + r->argv_bytes;
	struct child_spec spec = {
		.stages = stages,
		.n_stages = r->n_stages,
		.cwd = cwd,
		.umask = (mode_t)r->umask,
		.nofile_soft = r->nofile_soft,
		.mark = r->mark,
		.stdin_fd = fds[0],
		.stdout_fd = fds[1],
		.stderr_fd = fds[2],
		.tty = r->tty,
		.cgroup_fd = fds[3],
	};
	child_strings(strings, argv, r->argc);
	child_strings(strings + r->argc + 1, env, r->envc);
	environ = strings + r->argc + 1;
	struct child_error e = stages_run(&spec);
	if (e.err == 0 && layout_set(argv, r->argv_bytes, env, r->env_bytes) < 0)
		e = (struct child_error){ errno, SW_STEP_EXEC };
	if (e.err)
		child_leave(r->pid_at, e);
	answer(r->slot, getpid(), e);
	if (e.err)
		_exit(127);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return (int)r->argc;
}

int __libc_start_main(main_fn program, int argc, char **argv, void (*init)(void),
		      void (*fini)(void), void (*rtld_fini)(void), void *stack_end)
{
	start_fn next = (start_fn)dlsym(RTLD_NEXT, "__libc_start_main");
	if (getenv(WARM_ENV)) {
		int fds[4];
		if (wait_init() < 0)
			_exit(1);
		wait_for_work(fds);
		argc = child_become(fds);
		argv = strings;
	}
	return next(program, argc, argv, init, fini, rtld_fini, stack_end);
}
