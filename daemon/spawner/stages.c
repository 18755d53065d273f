#include "daemon/spawner/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

static struct rlimit nofile, locks;

int stages_init(void)
{
	if (getrlimit(RLIMIT_NOFILE, &nofile) < 0 || getrlimit(RLIMIT_LOCKS, &locks) < 0)
		return -errno;
	return 0;
}

/* --- each in the child, async-signal-safe calls only, 0 or -errno --- */

static int stage_session(const struct child_spec *spec)
{
	if (setsid() < 0)
		return -errno;
	return spec->tty && ioctl(spec->stdout_fd, TIOCSCTTY, 0) < 0 ? -errno : 0;
}

static int stage_cgroup(const struct child_spec *spec)
{
	if (spec->cgroup_fd < 0)
		return 0;
	int fd = openat(spec->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (write(fd, "0", 1) < 0)
		errno = 0; /* without, then */
	close(fd);
	return 0;
}

static int stage_limits(const struct child_spec *spec)
{
	struct rlimit lim = nofile, mark = { .rlim_cur = spec->mark, .rlim_max = locks.rlim_max };
	umask(spec->umask);
	/* Where we may not go that high it is done without. */
	if (mark.rlim_cur < mark.rlim_max && setrlimit(RLIMIT_LOCKS, &mark) < 0)
		errno = 0;
	if (lim.rlim_cur == spec->nofile_soft)
		return 0;
	lim.rlim_cur = spec->nofile_soft;
	return setrlimit(RLIMIT_NOFILE, &lim) < 0 ? -errno : 0;
}

static int stage_cwd(const struct child_spec *spec)
{
	return chdir(spec->cwd) < 0 ? -errno : 0;
}

static int stage_stdin(const struct child_spec *spec)
{
	int fd = spec->stdin_fd >= 0 ? spec->stdin_fd
				     : open(spec->stdin_path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(spec->stdout_fd, STDOUT_FILENO) < 0 ||
	    dup2(spec->stderr_fd, STDERR_FILENO) < 0)
		return -errno;
	return 0;
}

/* --- */

static const struct {
	enum sw_step step;
	int (*run)(const struct child_spec *spec); /* NULL: the caller's */
} stages[] = {
	[0] = { SW_STEP_STAGE, NULL },
	[SW_STAGE_SESSION] = { SW_STEP_SETSID, stage_session },
	[SW_STAGE_CGROUP] = { SW_STEP_CGROUP, stage_cgroup },
	[SW_STAGE_LIMITS] = { SW_STEP_LIMITS, stage_limits },
	[SW_STAGE_CWD] = { SW_STEP_CHDIR, stage_cwd },
	[SW_STAGE_STDIN] = { SW_STEP_STDIN, stage_stdin },
	[SW_STAGE_EXEC] = { SW_STEP_EXEC, NULL },
};
static_assert(ARRAY_SIZE(stages) == SW_STAGE_MAX, "a stage without a row");

struct child_error stages_run(const struct child_spec *spec)
{
	for (unsigned i = 0; i < spec->n_stages; i++) {
		const struct sw_stage *s = &spec->stages[i];
		if (s->kind == 0 || s->kind >= SW_STAGE_MAX || s->version != 1)
			return (struct child_error){ ENOTSUP, SW_STEP_STAGE };
		if (s->kind == SW_STAGE_EXEC)
			return (struct child_error){ 0 };
		int r = stages[s->kind].run(spec);
		if (r < 0)
			return (struct child_error){ -r, stages[s->kind].step };
	}
	return (struct child_error){ EINVAL, SW_STEP_STAGE };
}
