#include "client/self.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "common/fd.h"

#define SELF_WORDS 8
#define SELF_SAID_MAX (64 << 10)

extern char **environ;

static int self_spawn(struct ctx *c, const char *const *argv, int out, pid_t *ret)
{
	const char *words[SELF_WORDS + 4] = { "batchctl", "--socket", c->socket };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	for (int i = 0; i < SELF_WORDS && argv[i]; i++)
		words[3 + i] = argv[i];
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&actions);
	if (out >= 0) {
		posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
		posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
	}
	int r = posix_spawn(ret, "/proc/self/exe", &actions, &attr, (char *const *)(uintptr_t)words,
			    environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return -r;
}

static int self_wait(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_RUN;
	return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

/* What the child is not told by the terminal itself. */
static void self_pass_on(pid_t pid, int signal, int *ends)
{
	if (signal == SIGTSTP)
		raise(SIGSTOP);
	if (signal != SIGTERM && signal != SIGHUP)
		return;
	*ends = signal;
	kill(pid, signal);
}

int self_run(struct ctx *c, const char *const *argv, int signal_fd)
{
	struct signalfd_siginfo info;
	int ends = 0;
	pid_t pid;
	if (self_spawn(c, argv, -1, &pid) < 0)
		return EXIT_RUN;
	_cleanup_close_ int pid_fd = pidfd_open(pid, 0);
	struct pollfd fds[] = { { .fd = pid_fd, .events = POLLIN },
				{ .fd = signal_fd, .events = POLLIN } };
	while (pid_fd >= 0 && !fds[0].revents) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			break;
		if (read(signal_fd, &info, sizeof(info)) == sizeof(info))
			self_pass_on(pid, (int)info.ssi_signo, &ends);
	}
	if (ends)
		raise(ends);
	return self_wait(pid);
}

int self_capture(struct ctx *c, const char *const *argv, struct buf *said)
{
	_cleanup_close_ int in = -1;
	int ends[2];
	pid_t pid;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return EXIT_RUN;
	in = ends[0];
	int r = self_spawn(c, argv, ends[1], &pid);
	close(ends[1]);
	if (r < 0)
		return EXIT_RUN;
	if (fd_read_all(in, SELF_SAID_MAX, said) < 0)
		buf_clear(said);
	return self_wait(pid);
}

/* What was typed was for the verb that ran; what ends us still does. */
static void self_drop_typed(int signal_fd)
{
	struct signalfd_siginfo info;
	int ends = 0;
	while (read(signal_fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGHUP)
			ends = (int)info.ssi_signo;
	if (ends)
		raise(ends);
}

/* Keys are read as they are typed and not shown; what was typed before is for the verb that ran. */
static bool self_take_keys(struct termios *found)
{
	struct termios keys;
	if (tcgetattr(STDIN_FILENO, found) < 0)
		return false;
	keys = *found;
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	return tcsetattr(STDIN_FILENO, TCSAFLUSH, &keys) == 0;
}

static void self_await_key(int signal_fd)
{
	struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
				{ .fd = signal_fd, .events = POLLIN } };
	for (char c = 0; c != '\n' && c != '\r' && c != ' ' && c != 'q';) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents || (fds[0].revents && read(STDIN_FILENO, &c, 1) <= 0))
			return;
	}
}

void self_pause(int signal_fd, const char *prompt)
{
	struct termios found;
	self_drop_typed(signal_fd);
	bool taken = self_take_keys(&found);
	if (fd_write_all(STDOUT_FILENO, prompt, strlen(prompt)) >= 0)
		self_await_key(signal_fd);
	if (taken)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &found);
}
