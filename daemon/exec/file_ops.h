/*
 * What write, edit and read ops do to files; worker threads only (a thread that runs one gets a
 * umask of its own). The process's cwd and umask are never used.
 *
 * write and edit never leave half a file: the content goes to a temporary beside the target, which
 * is synced, renamed over it, and the folder synced. A final symbolic link is followed and stays. A
 * temporary has its name from the attempt, so that the same op done again after a crash sweeps up.
 * New files of a large group have no name until they are whole (O_TMPFILE), where the file system
 * can do that: linked into place they cost less than renamed, and a crash leaves nothing. A write
 * with create_only or expect that is done again is content with what it finds done already.
 *
 * Waiting for the disk is what takes the time, so ops are done in groups: all temporaries are
 * written, then synced together, then renamed, then the folders synced together. An op's result is
 * its own; only when its file is durable does it come to be.
 *
 * append adds to the file in place, since others may have it open: in one go for those who append
 * too, taken back when the disk is full; a crash in the middle of it may leave a part. Neither
 * append nor edit can be told apart from not done when done again: the caller does not do that (it
 * says `interrupted`).
 */
#ifndef DAEMON_EXEC_FILE_OPS_H
#define DAEMON_EXEC_FILE_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/slice.h"

struct file_op {
	int kind;	   /* enum op_kind: write, edit, read */
	int root_fd;	   /* the folder that is '/' for it */
	uint64_t token;	   /* of the attempt */
	uint32_t store;	   /* tells the temporaries of one batchd from another's */
	struct slice path; /* absolute, NUL-terminated */
	struct slice content, expect, old_text, new_text;
	int64_t mode, offset, limit; /* -1: not given */
	uint32_t umask;
	bool create_only, append, all;
	bool again;  /* it may have been done before a crash */
	int pipe_fd; /* read: where the bytes go; -1: none */
};

struct file_task {
	const struct file_op *op;
	int cause; /* 0, or CAUSE_CONFLICT, CAUSE_LIMIT or CAUSE_IO with error; set before: the op
		      is not done */
	struct err *error; /* "cannot write '/x': permission denied" */
	bool again;	   /* nothing was done, for want of descriptors: it may be done later */
};
/* Sets what came of each. */
void file_ops_run(struct file_task *tasks, size_t n);

#endif
