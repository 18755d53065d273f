/*
 * File descriptors: whole reads and writes, folders. Every fd is close-on-exec at birth. int
 * results: 0 or more fine, negative errno otherwise.
 */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"

/* Writes everything, over EINTR and short writes. */
int fd_write_all(int fd, const void *p, size_t len) _must_check_;
/* Appends all that is left in fd, at most `max` bytes (-EFBIG beyond). */
int fd_read_all(int fd, size_t max, struct buf *b) _must_check_;
/* Appends the file's content, at most `max` bytes. */
int fd_read_file(const char *path, size_t max, struct buf *b) _must_check_;
/* The same of a file of our own that somebody may have put a fifo in the place of: never waits. */
int fd_read_own(const char *path, size_t max, struct buf *b) _must_check_;
/* Puts a new file with that content, mode 0600, in the place of `path`, by way of `path`.new. */
int fd_replace_own(const char *path, const void *p, size_t len) _must_check_;
/* Reads exactly len bytes at offset; the number read may be less only at the end of the file. */
ssize_t fd_pread_all(int fd, void *p, size_t len, off_t offset) _must_check_;
int fd_pwrite_all(int fd, const void *p, size_t len, off_t offset) _must_check_;
/*
 * Wakes whoever polls the eventfd `fd`. Tried again over an error that passes: nobody wakes a
 * thread a second time for what is queued already, so a wake-up that is lost is a hang.
 */
int fd_wake(int fd) _must_check_;
int fd_set_nonblock(int fd, bool on);
int fd_set_cloexec(int fd, bool on);
/*
 * Gives each of fds 0 to 2 that is closed a /dev/null that can only be read: else the next file
 * opened would be taken for it, and writing to it would go there. Writing then fails with EBADF, as
 * it should.
 */
void fd_open_std(void);
/* Open files that batchd must be allowed: it has half of them open all the time, the others are for
 * a few connections and ops. */
#define FD_LEAST 64
/* Raises the soft limit of open files to the hard one; the old soft limit is stored in ret_old when
 * not NULL. */
int fd_raise_limit(uint64_t *ret_old);

#endif
