/*
 * A file about to be changed, as its opened folder and its name in it, and the atomic replacement
 * of it. Private to file_*.c.
 */
#ifndef DAEMON_EXEC_FILE_TARGET_H
#define DAEMON_EXEC_FILE_TARGET_H

#include <sys/stat.h>

#include "daemon/exec/file_ops.h"

struct target {
	int folder_fd; /* O_PATH */
	char *name;    /* no slash in it, and no symbolic link */
	bool exists;   /* a regular file */
	struct stat st;
};

#define TARGET_INIT                                                                                \
	{                                                                                          \
		.folder_fd = -1                                                                    \
	}

void target_done(struct target *t);

/* The path as errors show it: on one line, and not so long that no room is left for the reason.
 * Valid until the thread's next call. */
const char *file_shown(const struct file_op *op);
/* "cannot write '/x': ..." with errno's text; returns CAUSE_IO. */
int file_io_error(const struct file_op *op, int error, struct err *e);

/* Follows final links; makes missing folders when `make`, else a file in none is just not there. 0,
 * or a cause with e. */
int target_open(const struct file_op *op, bool make, struct target *t, struct err *e) _must_check_;
/* The file for reading, or -errno. */
int target_read_fd(const struct target *t);
/* Gives the new file its mode: op's, or that of the file it replaces; a new one has the umask's
 * already. 0 or -errno. */
int target_set_mode(const struct file_op *op, const struct target *t, int fd);
/* Mode to create it with. */
mode_t target_birth_mode(const struct file_op *op, const struct target *t);
/* The folder's entries durable. 0 or -errno. */
int target_sync(const struct target *t);

/* How a replacement treats what stands there when it comes to it. */
enum replace_when { REPLACE_ALWAYS, REPLACE_ABSENT, REPLACE_UNCHANGED };
/* Content in place and durable, or nothing changed. 0, or a cause with e. */
int target_replace(const struct file_op *op, const struct target *t, enum replace_when when,
		   struct slice content, struct err *e) _must_check_;

/* Gives this thread a umask of its own (the rest of the process keeps its own), so that the kernel
 * makes files as it does for anyone: default ACLs, setgid folders. */
void file_thread_umask(uint32_t mask);

#endif
