/*
 * Making a process of a START frame: its pipes or terminal where none came with it, environment,
 * pointers; then child_vfork or child_fork.
 */
#ifndef DAEMON_SPAWNER_START_H
#define DAEMON_SPAWNER_START_H

#include "common/slice.h"
#include "common/streams.h"
#include "daemon/spawner/child.h"
#include "daemon/spawner/op.h"

enum start_result {
	START_RUNS,   /* executed */
	START_FORKED, /* op->error_fd will tell */
	START_ASKED,  /* of the warm shell: keep_answered will tell; there may be no pid yet */
	START_FAILED, /* nothing was executed; *ret says why */
	START_BUSY,   /* no process, fd or memory to be had now */
};

/* What came with the frame. */
struct start_fds {
	int stdin_fd; /* -1: none */
	struct streams streams;
};

/* 0 or -errno. */
int start_init(uint64_t nofile_soft) _must_check_;
/* Is the frame whole: lengths, counts and final NULs as it says? */
bool start_is_whole(const struct sw_start *start);
/* Fills the op's fds and its record's pid. Takes our ends of the streams, leaves the rest. */
enum start_result start_op(struct op *op, const struct sw_start *start, struct start_fds *fds,
			   struct child_error *ret);
/* The extra environment of the frame. */
struct slice start_extra(const struct sw_start *start);

#endif
