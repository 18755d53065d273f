/*
 * Preloaded into a program whose wall clock is to be set while it runs: by as many nanoseconds as a
 * file (FAULT_CLOCK) says, that whoever tests may write to at any time. The clocks that nobody sets
 * are left alone.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000

static _Atomic int64_t *set_by;

__attribute__((constructor)) static void clock_open(void)
{
	const char *path = getenv("FAULT_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	void *p = mmap(NULL, sizeof(*set_by), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	set_by = p == MAP_FAILED ? NULL : p;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	if (syscall(SYS_clock_gettime, id, t) < 0)
		return -1;
	if (set_by && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
		int64_t ns = (int64_t)t->tv_sec * SECOND + t->tv_nsec + *set_by;
		t->tv_sec = ns / SECOND;
		t->tv_nsec = ns % SECOND;
	}
	return 0;
}

int gettimeofday(struct timeval *restrict v, void *restrict zone)
{
	struct timespec t;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &t);
	*v = (struct timeval){ .tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000 };
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	if (ret)
		*ret = t.tv_sec;
	return t.tv_sec;
}
