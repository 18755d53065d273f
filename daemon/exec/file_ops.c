#include "daemon/exec/file_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <sha2.h>

#include "common/buf.h"
#include "common/fd.h"
#include "common/xalloc.h"
#include "daemon/exec/file_sync.h"
#include "daemon/exec/file_target.h"
#include "daemon/record.h"
#include "proto/batch.h"
#include "proto/errors.h"

enum { BLOCK_BYTES = 64 << 10 };
/* An edited file is in memory, before and after. */
#define EDIT_MAX_BYTES (INT64_C(256) << 20)

/* --- write --- */

/* What stands there: its SHA-256, and whether it is the content already. 0 or -errno. */
static int write_look(const struct target *t, struct slice content, bool *ret_same,
		      char hex[SHA256_DIGEST_STRING_LENGTH])
{
	_cleanup_close_ int fd = target_read_fd(t);
	_cleanup_free_ char *block = malloc(BLOCK_BYTES);
	SHA2_CTX sum;
	size_t at = 0;
	if (fd < 0 || !block)
		return fd < 0 ? fd : -ENOMEM;
	bool same = true;
	SHA256Init(&sum);
	for (;;) {
		ssize_t n = read(fd, block, BLOCK_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		SHA256Update(&sum, (const uint8_t *)block, (size_t)n);
		same = same && content.len - at >= (size_t)n &&
		       memcmp(content.p + at, block, (size_t)n) == 0;
		at += (size_t)n;
	}
	SHA256End(&sum, hex);
	*ret_same = same && at == content.len;
	return 0;
}

static int write_unexpected(const struct file_op *op, const char *hex, struct err *e)
{
	if (*hex)
		err_set(e, 0,
			"'%s' is not what was expected: its SHA-256 is %.12s..., not %.12s...: "
			"read it again",
			file_shown(op), hex, op->expect.p);
	else
		err_set(e, 0, "'%s' is not there, but a file with SHA-256 %.12s... was expected",
			file_shown(op), op->expect.p);
	return CAUSE_CONFLICT;
}

/* Whether what stands there allows the write; *ret_same: it is done already (before a crash). */
static int write_allowed(const struct file_op *op, const struct target *t, bool *ret_same,
			 struct err *e)
{
	char hex[SHA256_DIGEST_STRING_LENGTH] = "";
	*ret_same = false;
	if (!op->create_only && !op->expect.p)
		return 0;
	if (t->exists) {
		bool same = false;
		int r = write_look(t, op->content, &same, hex);
		if (r < 0)
			return file_io_error(op, r, e);
		*ret_same = same && op->again && !op->append;
		if (*ret_same)
			return 0;
	}
	if (op->create_only && t->exists) {
		err_set(e, 0, "'%s' exists already: leave out create_only to replace it",
			file_shown(op));
		return CAUSE_CONFLICT;
	}
	if (op->expect.p &&
	    (op->expect.len != strlen(hex) || strncasecmp(hex, op->expect.p, op->expect.len) != 0))
		return write_unexpected(op, hex, e);
	return 0;
}

/* Everything, or as if nothing (unless somebody else wrote behind it). */
static int append_bytes(int fd, struct slice content)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	int r = fd_write_all(fd, content.p, content.len);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	struct stat now;
	if (r < 0 && fstat(fd, &now) == 0 && now.st_size > st.st_size &&
	    now.st_size - st.st_size < (off_t)content.len && ftruncate(fd, st.st_size) < 0)
		return r;
	return r;
}

static int append_to(const struct file_op *op, struct target *t, struct err *e)
{
	int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	if (op->create_only)
		flags |= O_EXCL;
	_cleanup_close_ int fd = openat(t->folder->fd, t->name, flags, target_birth_mode(op, t));
	if (fd < 0 && errno == EEXIST) {
		err_set(e, 0, "'%s' exists already: leave out create_only to replace it",
			file_shown(op));
		return CAUSE_CONFLICT;
	}
	if (fd < 0)
		return file_io_error(op, errno, e);
	int r = 0;
	if (!t->exists || op->mode >= 0)
		r = target_set_mode(op, t, fd);
	if (r == 0)
		r = append_bytes(fd, op->content);
	t->folder->changed = t->folder->changed || !t->exists;
	return r < 0 ? file_io_error(op, r, e) : 0;
}

static int run_write(const struct file_op *op, struct folders *folders, struct target *t,
		     struct err *e)
{
	bool same = false;
	/* What must be there already is in a folder that is there: a refusal leaves none behind. */
	int cause = target_open(op, folders, !op->expect.p, t, e);
	if (!cause)
		cause = write_allowed(op, t, &same, e);
	if (cause)
		return cause;
	if (same) {
		t->folder->changed = true; /* before the crash, and perhaps not synced */
		return 0;
	}
	if (op->append)
		return append_to(op, t, e);
	enum replace_when when = op->create_only ? REPLACE_ABSENT
				 : op->expect.p	 ? REPLACE_UNCHANGED
						 : REPLACE_ALWAYS;
	return target_fill(op, t, when, op->content, e);
}

/* --- edit --- */

static int edit_error(const struct file_op *op, int r, struct err *e)
{
	if (r != -EFBIG)
		return file_io_error(op, r, e);
	err_set(e, 0, "'%s' is too large to edit: more than %d MiB, before or after: use a command",
		file_shown(op), (int)(EDIT_MAX_BYTES >> 20));
	return CAUSE_LIMIT;
}

/* The whole file; its size was looked at. 0 or -errno. */
static int edit_load(const struct target *t, struct buf *b)
{
	_cleanup_close_ int fd = target_read_fd(t);
	if (fd < 0)
		return fd;
	if (t->st.st_size > EDIT_MAX_BYTES)
		return -EFBIG;
	for (;;) {
		if (buf_try_reserve(
			    b, MAX2((size_t)t->st.st_size - MIN2(b->len, (size_t)t->st.st_size),
				    4096)) < 0)
			return -ENOMEM;
		ssize_t n = read(fd, b->p + b->len, b->cap - b->len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		b->len += (size_t)n;
		if ((int64_t)b->len > EDIT_MAX_BYTES)
			return -EFBIG;
	}
}

static size_t edit_count(struct slice text, struct slice old)
{
	size_t count = 0;
	const char *at = text.p, *end = text.p + text.len, *hit;
	while ((hit = memmem(at, (size_t)(end - at), old.p, old.len))) {
		at = hit + old.len;
		count++;
	}
	return count;
}

/* Every occurrence (there are `count`) replaced. 0 or -errno. */
static int edit_apply(struct slice text, struct slice old, struct slice with, size_t count,
		      struct buf *b)
{
	int64_t size = (int64_t)(text.len - count * old.len);
	if (with.len > 0 &&
	    (int64_t)count > (EDIT_MAX_BYTES - MIN2(size, EDIT_MAX_BYTES)) / (int64_t)with.len)
		return -EFBIG;
	if (buf_try_reserve(b, (size_t)size + count * with.len) < 0)
		return -ENOMEM;
	const char *at = text.p, *end = text.p + text.len, *hit;
	while ((hit = memmem(at, (size_t)(end - at), old.p, old.len))) {
		buf_add(b, at, (size_t)(hit - at));
		buf_addslice(b, with);
		at = hit + old.len;
	}
	buf_add(b, at, (size_t)(end - at));
	return 0;
}

static int edit_text(const struct file_op *op, struct slice now, struct buf *then, struct err *e)
{
	size_t count = edit_count(now, op->old_text);
	if (count == 0) {
		err_set(e, 0, "the text to replace is not in '%s': read it again", file_shown(op));
		return CAUSE_CONFLICT;
	}
	if (count > 1 && !op->all) {
		err_set(e, 0,
			"the text to replace is %zu times in '%s': give more of it, or all: true",
			count, file_shown(op));
		return CAUSE_CONFLICT;
	}
	int r = edit_apply(now, op->old_text, op->new_text, count, then);
	return r < 0 ? edit_error(op, r, e) : 0;
}

static int run_edit(const struct file_op *op, struct folders *folders, struct target *t,
		    struct err *e)
{
	_cleanup_buf_ struct buf now = BUF_INIT, then = BUF_INIT;
	if (op->old_text.len == 0) {
		err_set(e, 0, "the text to replace in '%s' is empty: use write", file_shown(op));
		return CAUSE_CONFLICT;
	}
	int cause = target_open(op, folders, false, t, e);
	if (!cause && !t->exists)
		cause = file_io_error(op, ENOENT, e);
	if (cause)
		return cause;
	int r = edit_load(t, &now);
	if (r < 0)
		return edit_error(op, r, e);
	cause = edit_text(op, buf_slice(&now), &then, e);
	if (cause || slice_eq(buf_slice(&now), buf_slice(&then)))
		return cause;
	return target_fill(op, t, REPLACE_UNCHANGED, buf_slice(&then), e);
}

/* --- read --- */

/* At most `left` bytes (negative: all). 0 or -errno. */
static int read_copy(int from, int to, int64_t left)
{
	_cleanup_free_ char *block = malloc(BLOCK_BYTES);
	if (!block)
		return -ENOMEM;
	while (left != 0) {
		ssize_t n = read(from, block,
				 left < 0 ? BLOCK_BYTES : (size_t)MIN2(left, (int64_t)BLOCK_BYTES));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		int r = fd_write_all(to, block, (size_t)n);
		if (r < 0)
			return r;
		left -= left < 0 ? 0 : n;
	}
	return 0;
}

static int run_read(const struct file_op *op, struct err *e)
{
	const char *path = op->path.p + strspn(op->path.p, "/");
	_cleanup_close_ int fd = openat(op->root_fd, *path ? path : ".",
					O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return file_io_error(op, errno, e);
	if (S_ISDIR(st.st_mode))
		return file_io_error(op, EISDIR, e);
	if (!S_ISREG(st.st_mode)) {
		err_set(e, 0, "'%s' is not a regular file: only such files are read",
			file_shown(op));
		return CAUSE_IO;
	}
	int64_t offset = MAX2(op->offset, 0), left = op->limit;
	/* What is there now, not what is added while we read; files under /proc say 0. */
	if (st.st_size > 0) {
		int64_t there = MAX2(st.st_size - offset, 0);
		left = left < 0 ? there : MIN2(left, there);
	}
	int r = offset > 0 && lseek(fd, offset, SEEK_SET) < 0 ? -errno : 0;
	if (r == 0)
		r = read_copy(fd, op->pipe_fd, left);
	int cause = r < 0 ? file_io_error(op, r, e) : 0;
	e->sym = 0; /* a part may have been read */
	return cause;
}

/* --- groups --- */

/* All of it but what waits for the disk: what stands in the temporary has yet to be moved. */
static int task_begin(const struct file_op *op, struct folders *folders, struct target *t,
		      struct err *e)
{
	file_thread_umask(op->umask);
	switch ((enum op_kind)op->kind) {
	case KIND_WRITE:
		return run_write(op, folders, t, e);
	case KIND_EDIT:
		return run_edit(op, folders, t, e);
	case KIND_READ:
		return run_read(op, e);
	case KIND_BASH:
	case KIND_EXEC:
	case KIND_TODOS:
	case KIND_MAX:
		break;
	}
	err_set(e, 0, "kind %d is not a file op", op->kind);
	return CAUSE_IO;
}

static void task_io_error(struct file_task *task, int r)
{
	if (!task->cause && r < 0)
		task->cause = file_io_error(task->op, r, task->error);
}

/* All the files that `fd` tells of, -1 where there is none; with their folders, or without (NULL).
 */
static int tasks_sync(struct file_task *tasks, const struct target *targets, size_t n,
		      int (*fd)(const struct target *t), struct folders *folders)
{
	_cleanup_free_ struct sync_item *items = xcalloc(n, sizeof(items[0]));
	_cleanup_free_ int *results = xcalloc(n, sizeof(results[0]));
	size_t n_items = 0;
	int r = 0;
	for (size_t i = 0; i < n; i++)
		if (!tasks[i].cause && fd(&targets[i]) >= 0)
			items[n_items++] = (struct sync_item){ .fd = fd(&targets[i]),
							       .dev = targets[i].folder->dev,
							       .result = &results[i] };
	if (folders)
		r = folders_sync(folders, items, n_items);
	else
		sync_items(items, n_items);
	for (size_t i = 0; i < n; i++)
		task_io_error(&tasks[i], results[i]);
	return r;
}

static int file_of_temp(const struct target *t)
{
	return t->temp_fd;
}

static int file_of_link(const struct target *t)
{
	return t->link_fd;
}

/* Once its folder is synced it is what stands there, or has failed. */
static void tasks_move(struct file_task *tasks, struct target *targets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!tasks[i].cause && targets[i].temp_fd >= 0)
			tasks[i].cause = target_move(tasks[i].op, &targets[i], tasks[i].error);
		target_drop(&targets[i]);
	}
}

static void tasks_sync_folders(struct file_task *tasks, const struct target *targets, size_t n,
			       struct folders *folders)
{
	int r = tasks_sync(tasks, targets, n, file_of_link, folders);
	for (size_t i = 0; i < n; i++)
		if (targets[i].folder && tasks[i].op->kind != KIND_READ)
			task_io_error(&tasks[i], r < 0 ? r : targets[i].folder->error);
}

void file_ops_run(struct file_task *tasks, size_t n)
{
	_cleanup_(folders_done) struct folders folders = FOLDERS_INIT;
	_cleanup_free_ struct target *targets = xcalloc(n, sizeof(targets[0]));
	folders.few = n < SYNC_MANY;
	for (size_t i = 0; i < n; i++) {
		targets[i] = (struct target)TARGET_INIT;
		if (!tasks[i].cause)
			tasks[i].cause =
				task_begin(tasks[i].op, &folders, &targets[i], tasks[i].error);
		tasks[i].again = tasks[i].cause == CAUSE_IO && tasks[i].error->sym == E_BUSY;
		if (tasks[i].cause) /* at once: the disk may be full */
			target_drop(&targets[i]);
	}
	tasks_sync(tasks, targets, n, file_of_temp, NULL);
	tasks_move(tasks, targets, n);
	tasks_sync_folders(tasks, targets, n, &folders);
	for (size_t i = 0; i < n; i++)
		target_done(&targets[i]);
}
