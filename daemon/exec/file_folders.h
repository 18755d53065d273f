/*
 * The folders that the file ops of one group change (file_ops.h): opened once each, and made
 * durable together when all that changes in them has been done. Private to file_*.c; a group is one
 * thread's.
 *
 * A folder that was made here is not durable before the one it is in was synced, and other groups
 * may write into it meanwhile: what is being made is known to all threads, and each syncs it before
 * it tells of what it wrote.
 */
#ifndef DAEMON_EXEC_FILE_FOLDERS_H
#define DAEMON_EXEC_FILE_FOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct file_op;
struct sync_item;

struct folder {
	int fd; /* O_PATH */
	dev_t dev;
	int from;     /* what path is relative to */
	char *path;   /* NULL: come to by a link */
	bool named;   /* new files in it have a name from the beginning: see file_target.c */
	bool made;    /* by this group, and so empty but for what comes while it is at it */
	bool changed; /* to be synced */
	int error;    /* 0, or -errno: it could not be */
};

struct folders {
	struct folder **list;
	size_t n, cap;
	bool few;		 /* files: not worth doing without names */
	struct making **makings; /* in which this group made folders, or others did meanwhile */
	size_t n_makings;
};

#define FOLDERS_INIT                                                                               \
	{                                                                                          \
		.n = 0                                                                             \
	}

void folders_done(struct folders *fs);
/* `path` relative to `from`, "" for that itself; makes missing ones when `make`. What is returned
 * lives until folders_done. 0 or -errno. */
int folders_open(struct folders *fs, const struct file_op *op, int from, const char *path,
		 bool make, struct folder **ret);
/* What was changed, and the items, are durable, or have an error. 0, or -errno: a folder that
 * others are in could not be synced, so that nothing of this group is known to be there after a
 * power cut. */
int folders_sync(struct folders *fs, const struct sync_item *more, size_t n_more);

/* Gives this thread a umask (the rest of the process keeps its own), so that the kernel makes files
 * as it does for anyone: default ACLs, setgid folders. */
void file_thread_umask(unsigned mask);
/* False: where it may not have one (a strict seccomp filter), modes are set after making. */
bool file_thread_has_umask(void);

#endif
