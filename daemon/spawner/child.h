/*
 * From fork to exec. Two ways: the child borrows our memory and we wait until it has executed (the
 * vfork way, the cost of a spawn at its lowest), or a plain fork that ends a pipe while we go on,
 * for whatever may hang (a dead network mount, a FIFO as stdin). Either way the child does the same
 * list of stages, each of which can fail with an errno and a step, and leaves those in its record:
 * where we are killed before we have heard of it, our successor finds them there.
 *
 * The caller blocks all signals and leaves every disposition at its default; the child starts with
 * none blocked.
 */
#ifndef DAEMON_SPAWNER_CHILD_H
#define DAEMON_SPAWNER_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "daemon/spawner/table_file.h"
#include "proto/spawn_wire.h"

struct child_spec {
	const struct sw_stage *stages;
	unsigned n_stages;
	const char *cwd;
	/* NULL-terminated; argv[-1] is ours to overwrite. */
	char **argv, **env;
	mode_t umask;
	uint64_t nofile_soft; /* soft limit of open files that the op gets */
	uint64_t mark;	      /* mark.h */
	int stdin_fd;	      /* -1: stdin_path is opened */
	const char *stdin_path;
	int stdout_fd, stderr_fd;
	bool tty;      /* stdout_fd becomes the controlling terminal */
	int cgroup_fd; /* folder of its cgroup, -1: none */
};

/* Once, before the first start. */
int child_init(void) _must_check_;
/* Both write r->pid before the child runs, and the child r->failed; r is in shared memory. */
/* Waits until the program is executed or has failed (then the child is reaped). 0, or -errno: there
 * is no child. */
int child_vfork(const struct child_spec *spec, struct record *r) _must_check_;
/* Returns at once with the read end of a pipe, which ends when the program is executed or has
 * failed. Or -errno: there is no child. */
int child_fork(const struct child_spec *spec, struct record *r) _must_check_;

#endif
