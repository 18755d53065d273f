#include "daemon/spawner/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/spawner/env.h"
#include "daemon/spawner/stages.h"

#define CHILD_STACK_BYTES (128u << 10)

/* Also where an op without PATH is looked for, as execvp(3) does. */
#define CHILD_DEFAULT_PATH "/bin:/usr/bin"

static char *stack;
/* Of the child that we wait for. */
static struct record *record;

int child_init(void)
{
	/* The lowest page stays closed: an overrun ends the child instead of writing over our
	 * memory. */
	stack = mmap(NULL, CHILD_STACK_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED || mprotect(stack, 4096, PROT_NONE) < 0)
		return -errno;
	return stages_init();
}

/* --- the last stage: in the child, async-signal-safe calls only --- */

/* A file that execve does not know is a script for the shell, as execvp(3) has it. Returns only the
 * errno. */
static int child_exec_file(const struct child_spec *spec, const char *path)
{
	execve(path, spec->argv, spec->env);
	if (errno != ENOEXEC)
		return errno;
	char **argv = spec->argv - 1;
	char *save = argv[0], *save_program = argv[1];
	argv[0] = (char *)"/bin/sh";
	argv[1] = (char *)path;
	execve(argv[0], argv, spec->env);
	argv[0] = save;
	argv[1] = save_program;
	return errno;
}

/* Goes on to the next folder? */
static bool child_exec_next(int err)
{
	return err == EACCES || err == ENOENT || err == ESTALE || err == ENOTDIR || err == ENODEV ||
	       err == ETIMEDOUT;
}

static int child_exec(const struct child_spec *spec)
{
	const char *name = spec->argv[0], *search = env_value(spec->env, "PATH");
	size_t name_len = strlen(name);
	char path[PATH_MAX];
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (strchr(name, '/'))
		return -child_exec_file(spec, name);
	if (name_len == 0)
		return -ENOENT;
	int denied = ENOENT;
	for (const char *p = search ? search : CHILD_DEFAULT_PATH;; p++) {
		size_t len = strcspn(p, ":");
		if (len + name_len + 2 <= sizeof(path)) {
			memcpy(path, p, len);
			path[len] = '/';
			memcpy(path + len + (len > 0), name, name_len + 1);
			/* A look is cheaper than an execve that fails. */
			int err = access(path, F_OK) < 0 ? errno : child_exec_file(spec, path);
			if (!child_exec_next(err))
				return -err;
			if (err == EACCES)
				denied = EACCES;
		}
		p += len;
		if (!*p)
			return -denied;
	}
}

/* Returns only when a stage failed, which the record tells then. */
static void child_run(const struct child_spec *spec, struct record *r)
{
	struct child_error e = stages_run(spec);
	if (e.err == 0)
		e = (struct child_error){ -child_exec(spec), SW_STEP_EXEC };
	r->failed.step = e.step;
	__atomic_store_n(&r->failed.err, e.err, __ATOMIC_RELEASE); /* by it the other is known */
}

/* --- the two ways --- */

static int child_vfork_main(void *arg)
{
	child_run(arg, record);
	_exit(127);
}

/*
 * Into a cgroup only clone3 starts a child, and without a stack of its own (glibc has no wrapper)
 * the child cannot share our memory: a copy, but waited for all the same. -1 with errno as clone3.
 */
static pid_t child_clone_cgroup(const struct child_spec *spec)
{
	struct clone_args args = { .flags = CLONE_VFORK | CLONE_INTO_CGROUP | CLONE_PARENT_SETTID,
				   .parent_tid = (uintptr_t)&record->pid,
				   .exit_signal = SIGCHLD,
				   .cgroup = (uint64_t)spec->cgroup_fd };
	pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (child == 0) {
		struct child_spec there = *spec;
		there.cgroup_fd = -1; /* which spares the machine the lock that moving one takes */
		child_vfork_main(&there);
	}
	return child;
}

int child_vfork(const struct child_spec *spec, struct record *r)
{
	record = r;
	int child = spec->cgroup_fd < 0 ? -1 : child_clone_cgroup(spec);
	if (child < 0)
		child = clone(child_vfork_main, stack + CHILD_STACK_BYTES,
			      CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD, (void *)spec,
			      &r->pid);
	if (child < 0)
		return -errno;
	r->pid = child;
	if (r->failed.err != 0)
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	return 0;
}

/* Keeps the pipe and the fds that the stages need, moved out of the way of 0 to 2 already, and lets
 * go of all others' pipes. */
static void child_close_others(const struct child_spec *spec, int error_fd)
{
	int keep[] = { spec->stdin_fd, spec->stdout_fd, spec->stderr_fd, spec->cgroup_fd,
		       error_fd };
	for (unsigned from = STDERR_FILENO + 1;;) {
		unsigned next = UINT_MAX;
		for (unsigned i = 0; i < ARRAY_SIZE(keep); i++)
			if (keep[i] >= 0 && (unsigned)keep[i] >= from)
				next = MIN2(next, (unsigned)keep[i]);
		if (next == UINT_MAX) {
			close_range(from, UINT_MAX, 0);
			return;
		}
		if (next > from)
			close_range(from, next - 1, 0);
		from = next + 1;
	}
}

/* As fork(2), but the kernel writes the pid before the child runs; glibc's own where clone3 is not
 * allowed. */
static pid_t child_clone(int32_t *pid)
{
	struct clone_args args = { .flags = CLONE_PARENT_SETTID,
				   .parent_tid = (uintptr_t)pid,
				   .exit_signal = SIGCHLD };
	long child = syscall(SYS_clone3, &args, sizeof(args));
	if (child < 0 && (errno == ENOSYS || errno == EPERM)) {
		child = fork();
		if (child == 0)
			*pid = getpid();
	}
	return (pid_t)child;
}

int child_fork(const struct child_spec *spec, struct record *r)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid_t child = child_clone(&r->pid);
	if (child == 0) {
		child_close_others(spec, p[1]);
		child_run(spec, r);
		_exit(127);
	}
	int err = child < 0 ? errno : 0;
	close(p[1]);
	if (err) {
		close(p[0]);
		return -err;
	}
	r->pid = (int32_t)child;
	return p[0];
}
