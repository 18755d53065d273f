/*
 * Runs a command and says what it took: timed FILE TIMES PROGRAM [ARG...]
 *
 * A line in FILE for each time: wall in ns, CPU of it and its children in us (user, system), its
 * peak of resident memory in KiB, exit status. A program of its own, because what Python adds is
 * more than what is measured, and because a child's peak of memory begins with its parent's.
 */
#include <err.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t timed_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static long timed_us(struct timeval t)
{
	return t.tv_sec * 1000000L + t.tv_usec;
}

static void timed_once(FILE *to, char **argv)
{
	struct rusage used;
	int status;
	int64_t begun = timed_now();
	pid_t pid = vfork();

	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &used) < 0)
		err(1, "cannot run %s", argv[0]);
	fprintf(to, "%jd %ld %ld %ld %d\n", (intmax_t)(timed_now() - begun),
		timed_us(used.ru_utime), timed_us(used.ru_stime), used.ru_maxrss,
		WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(int argc, char **argv)
{
	if (argc < 4)
		errx(2, "usage: timed FILE TIMES PROGRAM [ARG...]");
	FILE *to = fopen(argv[1], "we");

	if (to == NULL)
		err(1, "%s", argv[1]);
	for (int i = atoi(argv[2]); i > 0; i--)
		timed_once(to, argv + 3);
	if (fclose(to) != 0)
		err(1, "%s", argv[1]);
	return 0;
}
