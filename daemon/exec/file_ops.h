/*
 * What write, edit and read ops do to files; worker threads only. Paths are absolute; the process's own cwd and umask are never
 * used. A file is replaced by a temporary beside it, synced and renamed over it, so that nobody ever sees half of one.
 */
#ifndef DAEMON_EXEC_FILE_OPS_H
#define DAEMON_EXEC_FILE_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/slice.h"

struct file_op {
	int kind; /* enum op_kind: write, edit, read */
	struct slice path; /* all slices are NUL-terminated */
	struct slice content, expect, old_text, new_text;
	int64_t mode, offset, limit; /* -1: not given */
	uint32_t umask;
	bool create_only, append, all;
	int pipe_fd;	/* read: where the bytes go; -1: none */
	int pipe_error; /* read: why there is none */
};

/* 0, or CAUSE_CONFLICT or CAUSE_IO with e: "cannot write '/x': permission denied". */
int file_op_run(const struct file_op *op, struct err *e);

#endif
