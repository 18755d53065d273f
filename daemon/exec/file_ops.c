#include "daemon/exec/file_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sha2.h>

#include "common/buf.h"
#include "common/fd.h"
#include "common/paths.h"
#include "common/xalloc.h"
#include "daemon/record.h"
#include "proto/batch.h"

#define FILE_MAX_BYTES (SIZE_MAX / 4)
#define COPY_BYTES (64u << 10)
#define TEMP_TRIES 100

/* A file that is being replaced: its folder, opened, and its name in it; what stands there now. */
struct target {
	char *folder, *name;
	int folder_fd;
	bool exists;
	struct stat st;
};

#define TARGET_INIT { .folder_fd = -1 }

static void target_done(struct target *t)
{
	if (t->folder_fd >= 0)
		close(t->folder_fd);
	free(t->folder);
	free(t->name);
}

static int io_error(struct err *e, const char *what, const struct file_op *op, int error)
{
	err_set(e, 0, "cannot %s '%.*s': %s", what, SLICE_FMT(op->path), strerror(error));
	return CAUSE_IO;
}

static const char *op_verb(const struct file_op *op)
{
	return op->kind == KIND_EDIT ? "edit" : op->kind == KIND_READ ? "read" : "write";
}

/* Missing parents, with 0777 less the op's umask: mkdir alone would take the process's. */
static int make_folders(const char *folder, uint32_t mask)
{
	struct stat st;
	if (stat(folder, &st) == 0)
		return S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
	_cleanup_free_ char *parent = xstrdup(folder);
	char *slash = strrchr(parent, '/');
	if (slash && slash != parent) {
		*slash = '\0';
		int r = make_folders(parent, mask);
		if (r)
			return r;
	}
	if (mkdir(folder, 0700) < 0)
		return errno == EEXIST ? 0 : errno;
	return chmod(folder, 0777 & ~mask) < 0 ? errno : 0;
}

/* The path behind symbolic links at its end, so that the link stays and its target is replaced. */
static char *follow_links(const char *path)
{
	char *at = xstrdup(path);
	for (int depth = 0; depth < 40; depth++) {
		char link[PATH_MAX];
		ssize_t n = readlink(at, link, sizeof(link) - 1);
		if (n < 0)
			return at;
		struct buf b = BUF_INIT;
		struct slice folder = slice_of(at, (size_t)(strrchr(at, '/') - at));
		if (link[0] != '/') {
			buf_addslice(&b, folder);
			buf_addc(&b, '/');
		}
		buf_add(&b, link, (size_t)n);
		free(at);
		at = buf_steal(&b);
	}
	free(at);
	return NULL;
}

static int target_open(const struct file_op *op, bool make, struct target *t, struct err *e)
{
	_cleanup_free_ char *path = follow_links(op->path.p);
	if (!path)
		return io_error(e, op_verb(op), op, ELOOP);
	char *slash = strrchr(path, '/');
	t->name = xstrdup(slash + 1);
	*slash = '\0';
	t->folder = xstrdup(*path ? path : "/");
	if (!*t->name)
		return io_error(e, op_verb(op), op, EISDIR);
	int r = make ? make_folders(t->folder, op->umask) : 0;
	if (r)
		return io_error(e, op_verb(op), op, r);
	t->folder_fd = open(t->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->folder_fd < 0)
		return io_error(e, op_verb(op), op, errno);
	t->exists = fstatat(t->folder_fd, t->name, &t->st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!t->exists && errno != ENOENT)
		return io_error(e, op_verb(op), op, errno);
	if (t->exists && !S_ISREG(t->st.st_mode)) {
		err_set(e, 0, "cannot %s '%.*s': not a regular file", op_verb(op), SLICE_FMT(op->path));
		return CAUSE_IO;
	}
	return 0;
}

static int target_read(const struct file_op *op, const struct target *t, struct buf *b, struct err *e)
{
	_cleanup_close_ int fd = openat(t->folder_fd, t->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return io_error(e, op_verb(op), op, errno);
	int r = fd_read_all(fd, FILE_MAX_BYTES, b);
	return r < 0 ? io_error(e, op_verb(op), op, -r) : 0;
}

/* --- replacing --- */

static int temp_open(const struct target *t, char *name, size_t size)
{
	static _Atomic unsigned serial;
	for (int i = 0; i < TEMP_TRIES; i++) {
		snprintf(name, size, ".batchd.%d.%u", (int)getpid(), atomic_fetch_add(&serial, 1));
		int fd = openat(t->folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd >= 0 || errno != EEXIST)
			return fd;
	}
	errno = EEXIST;
	return -1;
}

static mode_t new_mode(const struct file_op *op, const struct target *t)
{
	if (op->mode >= 0)
		return (mode_t)op->mode;
	return t->exists ? t->st.st_mode & 07777 : 0666 & ~op->umask;
}

static int folder_sync(const struct target *t)
{
	_cleanup_close_ int fd = openat(t->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || (fsync(fd) < 0 && errno != EINVAL) ? errno : 0;
}

static int temp_fill(int fd, const struct file_op *op, const struct target *t, struct slice content)
{
	int r = fd_write_all(fd, content.p, content.len);
	if (r < 0)
		return -r;
	if (t->exists && geteuid() == 0 && fchown(fd, t->st.st_uid, t->st.st_gid) < 0)
		return errno;
	if (fchmod(fd, new_mode(op, t)) < 0 || fsync(fd) < 0)
		return errno;
	return 0;
}

static int target_replace(const struct file_op *op, const struct target *t, struct slice content, struct err *e)
{
	char temp[64];
	_cleanup_close_ int fd = temp_open(t, temp, sizeof(temp));
	if (fd < 0)
		return io_error(e, op_verb(op), op, errno);
	int r = temp_fill(fd, op, t, content);
	if (r == 0 && op->create_only) {
		/* link(2) fails where rename would replace what came meanwhile */
		r = linkat(t->folder_fd, temp, t->folder_fd, t->name, 0) < 0 ? errno : 0;
		unlinkat(t->folder_fd, temp, 0);
	} else if (r == 0) {
		r = renameat(t->folder_fd, temp, t->folder_fd, t->name) < 0 ? errno : 0;
	}
	if (r == 0)
		r = folder_sync(t);
	else
		unlinkat(t->folder_fd, temp, 0);
	if (r == EEXIST) {
		err_set(e, 0, "'%.*s' exists already: leave out create_only to replace it", SLICE_FMT(op->path));
		return CAUSE_CONFLICT;
	}
	return r ? io_error(e, op_verb(op), op, r) : 0;
}

/* --- write --- */

static void sha256_hex(struct slice s, char hex[SHA256_DIGEST_STRING_LENGTH])
{
	SHA2_CTX ctx;
	SHA256Init(&ctx);
	SHA256Update(&ctx, (const uint8_t *)s.p, s.len);
	SHA256End(&ctx, hex);
}

/* Whether what stands there allows the write; *ret_same: it is there already (done before a crash). */
static int write_allowed(const struct file_op *op, const struct target *t, bool *ret_same, struct err *e)
{
	_cleanup_buf_ struct buf now = BUF_INIT;
	char hex[SHA256_DIGEST_STRING_LENGTH] = "";
	*ret_same = false;
	if (!op->create_only && !op->expect.p)
		return 0;
	if (t->exists && target_read(op, t, &now, e))
		return CAUSE_IO;
	if (t->exists && slice_eq(buf_slice(&now), op->content) && !op->append) {
		*ret_same = true;
		return 0;
	}
	if (op->create_only && t->exists) {
		err_set(e, 0, "'%.*s' exists already: leave out create_only to replace it", SLICE_FMT(op->path));
		return CAUSE_CONFLICT;
	}
	if (!op->expect.p)
		return 0;
	if (t->exists)
		sha256_hex(buf_slice(&now), hex);
	if (strlen(hex) == op->expect.len && strncasecmp(hex, op->expect.p, op->expect.len) == 0)
		return 0;
	err_set(e, 0, "'%.*s' is not what was expected (sha256 %.12s, expected %.12s): read it again", SLICE_FMT(op->path),
		t->exists ? hex : "none, no such file", op->expect.p);
	return CAUSE_CONFLICT;
}

static int append_to(const struct file_op *op, const struct target *t, struct err *e)
{
	_cleanup_close_ int fd =
		openat(t->folder_fd, t->name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return io_error(e, "write", op, errno);
	int r = fd_write_all(fd, op->content.p, op->content.len);
	if (r == 0 && (!t->exists || op->mode >= 0) && fchmod(fd, new_mode(op, t)) < 0)
		r = -errno;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && !t->exists)
		r = -folder_sync(t);
	return r ? io_error(e, "write", op, -r) : 0;
}

static int run_write(const struct file_op *op, struct err *e)
{
	_cleanup_(target_done) struct target t = TARGET_INIT;
	bool same;
	int cause = target_open(op, true, &t, e);
	if (!cause)
		cause = write_allowed(op, &t, &same, e);
	if (cause || same)
		return cause;
	return op->append ? append_to(op, &t, e) : target_replace(op, &t, op->content, e);
}

/* --- edit --- */

/* Puts `now` with the replacements into `b`; how many there were. */
static size_t edit_text(struct slice now, struct slice old, struct slice with, struct buf *b)
{
	size_t count = 0;
	const char *at = now.p, *end = now.p + now.len;
	for (;;) {
		const char *hit = memmem(at, (size_t)(end - at), old.p, old.len);
		if (!hit)
			break;
		buf_add(b, at, (size_t)(hit - at));
		buf_addslice(b, with);
		at = hit + old.len;
		count++;
	}
	buf_add(b, at, (size_t)(end - at));
	return count;
}

static int run_edit(const struct file_op *op, struct err *e)
{
	_cleanup_(target_done) struct target t = TARGET_INIT;
	_cleanup_buf_ struct buf now = BUF_INIT, then = BUF_INIT;
	int cause = target_open(op, false, &t, e);
	if (!cause && !t.exists)
		cause = io_error(e, "edit", op, ENOENT);
	if (!cause)
		cause = target_read(op, &t, &now, e);
	if (cause)
		return cause;
	size_t count = edit_text(buf_slice(&now), op->old_text, op->new_text, &then);
	if (count == 1 || (count > 1 && op->all))
		return target_replace(op, &t, buf_slice(&then), e);
	if (count == 0)
		err_set(e, 0, "the text to replace is not in '%.*s': read it again", SLICE_FMT(op->path));
	else
		err_set(e, 0, "the text to replace is %zu times in '%.*s': give more of it, or all: true", count,
			SLICE_FMT(op->path));
	return CAUSE_CONFLICT;
}

/* --- read --- */

static int copy_out(int from, int to, int64_t left)
{
	_cleanup_free_ char *bytes = xmalloc(COPY_BYTES);
	while (left != 0) {
		size_t want = left < 0 || left > COPY_BYTES ? COPY_BYTES : (size_t)left;
		ssize_t n = read(from, bytes, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : 0;
		int r = fd_write_all(to, bytes, (size_t)n);
		if (r < 0)
			return -r;
		left -= left < 0 ? 0 : n;
	}
	return 0;
}

static int run_read(const struct file_op *op, struct err *e)
{
	if (op->pipe_fd < 0)
		return io_error(e, "read", op, -op->pipe_error);
	_cleanup_close_ int fd = open(op->path.p, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return io_error(e, "read", op, errno);
	struct stat st;
	if (fstat(fd, &st) < 0)
		return io_error(e, "read", op, errno);
	if (!S_ISREG(st.st_mode)) {
		err_set(e, 0, "cannot read '%.*s': not a regular file", SLICE_FMT(op->path));
		return CAUSE_IO;
	}
	if (op->offset > 0 && lseek(fd, op->offset, SEEK_SET) < 0)
		return io_error(e, "read", op, errno);
	int r = copy_out(fd, op->pipe_fd, op->limit);
	return r ? io_error(e, "read", op, r) : 0;
}

int file_op_run(const struct file_op *op, struct err *e)
{
	switch ((enum op_kind)op->kind) {
	case KIND_WRITE:
		return run_write(op, e);
	case KIND_EDIT:
		return run_edit(op, e);
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
