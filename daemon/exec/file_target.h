/*
 * A file about to be changed, as its opened folder and its name in it, and the atomic replacement
 * of it. Private to file_*.c.
 */
#ifndef DAEMON_EXEC_FILE_TARGET_H
#define DAEMON_EXEC_FILE_TARGET_H

#include <sys/stat.h>

#include "daemon/exec/file_folders.h"
#include "daemon/exec/file_ops.h"

/* How a replacement treats what stands there when it comes to it. */
enum replace_when { REPLACE_ALWAYS, REPLACE_ABSENT, REPLACE_UNCHANGED };

struct target {
	struct folder *folder; /* of the group's folders; NULL: there is none */
	char *name;	       /* no slash in it, and no symbolic link */
	bool exists;	       /* a regular file */
	struct stat st;
	/* What is to replace it, while it is not there yet. */
	int temp_fd; /* -1: nothing */
	char temp[40];
	bool nameless; /* temp is not there: it has no name yet (O_TMPFILE) */
	int link_fd;   /* what had none and is in place: its link count is not durable yet. -1: none
			*/
	enum replace_when when;
};

#define TARGET_INIT                                                                                \
	{                                                                                          \
		.temp_fd = -1, .link_fd = -1                                                       \
	}

void target_done(struct target *t);
/* What was to replace it and has not is removed. */
void target_drop(struct target *t);

/* The path as errors show it: on one line, and not so long that no room is left for the reason.
 * Valid until the thread's next call. */
const char *file_shown(const struct file_op *op);
/* "cannot write '/x': ..." with errno's text; returns CAUSE_IO. */
int file_io_error(const struct file_op *op, int error, struct err *e);

/* Follows final links; makes missing folders when `make`, else a file in none is just not there. 0,
 * or a cause with e. */
int target_open(const struct file_op *op, struct folders *folders, bool make, struct target *t,
		struct err *e) _must_check_;
/* The file for reading, or -errno. */
int target_read_fd(const struct target *t);
/* Gives the new file its mode: op's, or that of the file it replaces; a new one has the umask's
 * already. 0 or -errno. */
int target_set_mode(const struct file_op *op, const struct target *t, int fd);
/* Mode to create it with. */
mode_t target_birth_mode(const struct file_op *op, const struct target *t);

/* Content beside it; temp_fd is to be synced before it is moved into place. 0, or a cause with e.
 */
int target_fill(const struct file_op *op, struct target *t, enum replace_when when,
		struct slice content, struct err *e) _must_check_;
/* In place, once the folder, and link_fd, are synced, or nothing changed. 0, or a cause with e. */
int target_move(const struct file_op *op, struct target *t, struct err *e) _must_check_;

#endif
