#include "daemon/leave_op.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/cgroup.h"
#include "common/cleanup.h"

/* Takes off the mark that the processes of an op carry (spawner/mark.h); was there one? */
static bool leave_mark(void)
{
	struct rlimit lim;
	if (getrlimit(RLIMIT_LOCKS, &lim) < 0 || lim.rlim_cur == lim.rlim_max)
		return false;
	lim.rlim_cur = lim.rlim_max;
	return setrlimit(RLIMIT_LOCKS, &lim) == 0;
}

void leave_op(char **argv)
{
	char self[PATH_MAX];
	const char *run = getenv("BATCHD_RUN");
	bool marked = leave_mark();
	if (run ? strcmp(run, "0") == 0 : !marked)
		return;
	cgroup_leave_op();
	unsetenv("BATCHD_OWNER");
	unsetenv("BATCHD_OP");
	unsetenv("BATCHD_ATTEMPT");
	/* By its path: the process is named after it. */
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[MAX2(n, 0)] = '\0';
	if (setenv("BATCHD_RUN", "0", 1) == 0)
		execv(self, argv);
	fprintf(stderr, "batchd: cannot leave the op it was started in: %s\n", strerror(errno));
}
