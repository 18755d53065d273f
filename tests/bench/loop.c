/*
 * The limit of running commands: vfork, exec, wait, and nothing else. loop [-o] OPS PARALLEL
 * FORKERS PROGRAM [ARG...]
 *
 * FORKERS processes share the work, each keeping its share of PARALLEL commands running. -o: each
 * command's stdout is a pipe that is read to its end. A command that does not end with 0 ends us
 * with 1.
 */
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS_MAX 64

struct slot {
	pid_t pid; /* 0: free */
	int fd;
};

static int null_fd;

/* Nothing but system calls between vfork and exec: the memory is the parent's. */
static pid_t loop_spawn(char **argv, int out)
{
	pid_t pid = vfork();

	if (pid == 0) {
		dup2(null_fd, 0);
		if (out >= 0)
			dup2(out, 1);
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0)
		err(1, "vfork");
	return pid;
}

static void loop_check(int status)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		errx(1, "a command ended with wait status %d", status);
}

static void loop_plain(int ops, int parallel, char **argv)
{
	int started = 0, running = 0, status;

	while (started < ops || running > 0) {
		for (; running < parallel && started < ops; running++, started++)
			loop_spawn(argv, -1);
		if (waitpid(-1, &status, 0) < 0)
			err(1, "waitpid");
		loop_check(status);
		running--;
	}
}

static void slot_start(struct slot *s, char **argv)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		err(1, "pipe");
	s->pid = loop_spawn(argv, fds[1]);
	s->fd = fds[0];
	close(fds[1]);
}

/* Takes in what is there; at the end of the pipe reaps. True: the slot is free again. */
static bool slot_read(struct slot *s)
{
	char bytes[65536];
	ssize_t n = read(s->fd, bytes, sizeof(bytes));
	int status;

	if (n < 0)
		err(1, "read");
	if (n > 0)
		return false;
	close(s->fd);
	if (waitpid(s->pid, &status, 0) < 0)
		err(1, "waitpid");
	loop_check(status);
	return true;
}

static void loop_captured(int ops, int parallel, char **argv)
{
	struct slot slots[SLOTS_MAX];
	struct pollfd fds[SLOTS_MAX];
	int started = 0, running = 0;

	while (started < ops || running > 0) {
		for (; running < parallel && started < ops; running++, started++)
			slot_start(&slots[running], argv);
		for (int i = 0; i < running; i++)
			fds[i] = (struct pollfd){ .fd = slots[i].fd, .events = POLLIN };
		if (poll(fds, running, -1) < 0)
			err(1, "poll");
		for (int i = running - 1; i >= 0; i--) /* the last one moves into a hole */
			if (fds[i].revents != 0 && slot_read(&slots[i]))
				slots[i] = slots[--running];
	}
}

static int loop_share(int total, int among, int which)
{
	return total / among + (which < total % among ? 1 : 0);
}

int main(int argc, char **argv)
{
	bool captured = argc > 1 && argv[1][0] == '-';
	char **arg = argv + 1 + captured;

	if (argc - captured < 5)
		errx(2, "usage: loop [-o] OPS PARALLEL FORKERS PROGRAM [ARG...]");
	int ops = atoi(arg[0]), parallel = atoi(arg[1]), forkers = atoi(arg[2]), status;

	if (ops < 1 || forkers < 1 || parallel < forkers || parallel > SLOTS_MAX)
		errx(2, "at least one op and forker, and PARALLEL within FORKERS and %d",
		     SLOTS_MAX);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < forkers; i++) {
		if (fork() != 0)
			continue;
		(captured ? loop_captured : loop_plain)(loop_share(ops, forkers, i),
							loop_share(parallel, forkers, i), arg + 3);
		return 0;
	}
	for (int i = 0; i < forkers; i++) {
		if (wait(&status) < 0)
			err(1, "wait");
		loop_check(status);
	}
	return 0;
}
