#include "daemon/exec/file_target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "daemon/record.h"
#include "proto/batch.h"
#include "proto/errors.h"

enum { LINKS_MAX = 40, SHOWN_MAX_BYTES = 200 };

void target_drop(struct target *t)
{
	if (t->temp_fd < 0)
		return;
	if (!t->nameless)
		unlinkat(t->folder->fd, t->temp, 0);
	close(TAKE_FD(t->temp_fd));
}

void target_done(struct target *t)
{
	target_drop(t);
	if (t->link_fd >= 0)
		close(t->link_fd);
	free(t->name);
}

const char *file_shown(const struct file_op *op)
{
	static _Thread_local char text[SHOWN_MAX_BYTES + 8];
	_cleanup_buf_ struct buf b = BUF_INIT;
	text_one_line(&b, op->path, SHOWN_MAX_BYTES);
	snprintf(text, sizeof(text), "%s", buf_str(&b));
	return text;
}

int file_io_error(const struct file_op *op, int error, struct err *e)
{
	const char *verb = op->kind == KIND_EDIT   ? "edit"
			   : op->kind == KIND_READ ? "read"
						   : "write";
	error = error < 0 ? -error : error;
	err_set(e, error == EMFILE || error == ENFILE ? E_BUSY : 0, "cannot %s '%s': %s", verb,
		file_shown(op), errno_text(error));
	return CAUSE_IO;
}

/* --- finding --- */

/* Opens the folder of `path` and sets the name; path is relative to `from`. 0 or -errno. */
static int target_step(const struct file_op *op, struct folders *folders, bool make,
		       struct target *t, int from, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EISDIR;
	_cleanup_free_ char *in = xslicedup(slice_of(path, slash ? (size_t)(slash - path) : 0));
	int r = folders_open(folders, op, from, in, make, &t->folder);
	if (r < 0)
		return r;
	free(t->name);
	t->name = xstrdup(name);
	t->exists = false;
	if (t->folder->made) /* what has come there since is met when this is to appear */
		return 0;
	t->exists = fstatat(t->folder->fd, t->name, &t->st, AT_SYMLINK_NOFOLLOW) == 0;
	return t->exists || errno == ENOENT ? 0 : -errno;
}

static const char *path_in_root(const char *path)
{
	return path + strspn(path, "/");
}

/* Through links at the end: a link stays, what it points to is the target, there or not. */
static int target_find(const struct file_op *op, struct folders *folders, bool make,
		       struct target *t)
{
	char link[PATH_MAX];
	int r = target_step(op, folders, make, t, op->root_fd, path_in_root(op->path.p));
	for (int i = 0; r == 0 && t->exists && S_ISLNK(t->st.st_mode); i++) {
		ssize_t n = readlinkat(t->folder->fd, t->name, link, sizeof(link) - 1);
		if (n < 0)
			return -errno;
		link[n] = '\0';
		if (i >= LINKS_MAX)
			return -ELOOP;
		r = link[0] == '/'
			    ? target_step(op, folders, make, t, op->root_fd, path_in_root(link))
			    : target_step(op, folders, make, t, t->folder->fd, link);
	}
	return r;
}

int target_open(const struct file_op *op, struct folders *folders, bool make, struct target *t,
		struct err *e)
{
	int r = target_find(op, folders, make, t);
	if (r == -ENOENT && !make) {
		t->exists = false; /* not even its folder */
		return 0;
	}
	if (r == 0 && t->exists && S_ISDIR(t->st.st_mode))
		r = -EISDIR;
	if (r < 0)
		return file_io_error(op, r, e);
	if (!t->exists || S_ISREG(t->st.st_mode))
		return 0;
	err_set(e, 0, "'%s' is not a regular file: only such files are %s", file_shown(op),
		op->kind == KIND_EDIT ? "edited" : "written");
	return CAUSE_IO;
}

int target_read_fd(const struct target *t)
{
	int fd = openat(t->folder->fd, t->name,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* --- replacing --- */

mode_t target_birth_mode(const struct file_op *op, const struct target *t)
{
	/* Until it has its final mode, nobody else looks in. */
	return op->mode >= 0 || t->exists ? 0600 : 0666;
}

int target_set_mode(const struct file_op *op, const struct target *t, int fd)
{
	mode_t mode = 0666 & ~op->umask;
	if (t->exists) {
		struct stat st;
		if (fstat(fd, &st) < 0)
			return -errno;
		mode = t->st.st_mode & 07777;
		/* Owner and group where we may; the bits that lend them only to the right ones. */
		if (st.st_gid != t->st.st_gid && fchown(fd, (uid_t)-1, t->st.st_gid) < 0)
			mode &= ~(mode_t)S_ISGID;
		if (st.st_uid != t->st.st_uid && fchown(fd, t->st.st_uid, (gid_t)-1) < 0)
			mode &= ~(mode_t)S_ISUID;
	} else if (op->mode < 0 && file_thread_has_umask()) {
		return 0;
	}
	if (op->mode >= 0)
		mode = (mode_t)op->mode;
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

/* The name is the attempt's own: what stands there is left from a crash of it. */
static const char *temp_name(const struct file_op *op, struct target *t)
{
	snprintf(t->temp, sizeof(t->temp), ".batchd-%08" PRIx32 "-%" PRIx64, op->store, op->token);
	return t->temp;
}

static int temp_open(const struct file_op *op, struct target *t)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	const char *name = temp_name(op, t);
	int fd = openat(t->folder->fd, name, flags, target_birth_mode(op, t));
	if (fd < 0 && errno == EEXIST && unlinkat(t->folder->fd, name, 0) == 0)
		fd = openat(t->folder->fd, name, flags, target_birth_mode(op, t));
	t->temp_fd = fd;
	t->nameless = false;
	return fd < 0 ? -errno : 0;
}

/* Without a name, which is less work than to change one; where that can be had. Not when done
 * again: what stands there with the attempt's name is to be swept up. */
static bool temp_open_nameless(const struct file_op *op, struct target *t)
{
	if (op->again || t->exists || t->folder->named)
		return false;
	t->temp_fd = openat(t->folder->fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC,
			    target_birth_mode(op, t));
	t->nameless = t->temp_fd >= 0;
	t->folder->named = !t->nameless;
	return t->nameless;
}

static int temp_write(const struct file_op *op, const struct target *t, struct slice content)
{
	int r = target_set_mode(op, t, t->temp_fd);
	return r == 0 ? fd_write_all(t->temp_fd, content.p, content.len) : r;
}

int target_fill(const struct file_op *op, struct target *t, enum replace_when when,
		struct slice content, struct err *e)
{
	int r = temp_open_nameless(op, t) ? 0 : temp_open(op, t);
	if (r < 0) {
		int cause = file_io_error(op, r, e);
		size_t len = strlen(e->text);
		snprintf(e->text + len, sizeof(e->text) - len,
			 " (making a new file in its folder)");
		return cause;
	}
	t->when = when;
	r = temp_write(op, t, content);
	return r < 0 ? file_io_error(op, r, e) : 0;
}

static bool target_unchanged(const struct target *t)
{
	struct stat st;
	if (fstatat(t->folder->fd, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return !t->exists && errno == ENOENT;
	return t->exists && st.st_dev == t->st.st_dev && st.st_ino == t->st.st_ino &&
	       st.st_size == t->st.st_size &&
	       memcmp(&st.st_mtim, &t->st.st_mtim, sizeof(st.st_mtim)) == 0 &&
	       memcmp(&st.st_ctim, &t->st.st_ctim, sizeof(st.st_ctim)) == 0;
}

/* Something stands there; something else than before stands there. */
enum { MOVE_EXISTS = 1, MOVE_CHANGED = 2 };

/* 0, -errno, or one of the above. */
static int temp_move(const struct target *t)
{
	int in = t->folder->fd;
	if (t->when == REPLACE_UNCHANGED && !target_unchanged(t))
		return MOVE_CHANGED;
	if (t->when != REPLACE_ABSENT)
		return renameat(in, t->temp, in, t->name) < 0 ? -errno : 0;
	if (renameat2(in, t->temp, in, t->name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return errno == EEXIST ? MOVE_EXISTS : -errno;
	/* The file system does not know that flag; link(2) replaces nothing either. */
	if (linkat(in, t->temp, in, t->name, 0) < 0)
		return errno == EEXIST ? MOVE_EXISTS : -errno;
	unlinkat(in, t->temp, 0);
	return 0;
}

/* linkat(2) of a file without a name: before Linux 6.10 only root may do it by the descriptor
 * alone. */
static int temp_link(const struct target *t, const char *name)
{
	static _Thread_local bool by_path;
	int in = t->folder->fd;
	char path[32];
	if (!by_path) {
		if (linkat(t->temp_fd, "", in, name, AT_EMPTY_PATH) == 0)
			return 0;
		if (errno != ENOENT)
			return -errno;
		by_path = true;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", t->temp_fd);
	return linkat(AT_FDCWD, path, in, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* With a name after all, and durable. 0 or -errno. */
static int temp_again(const struct file_op *op, struct target *t)
{
	close(TAKE_FD(t->temp_fd));
	t->folder->named = true;
	file_thread_umask(op->umask);
	int r = temp_open(op, t);
	if (r == 0)
		r = temp_write(op, t, op->content);
	if (r == 0 && fsync(t->temp_fd) < 0)
		r = -errno;
	return r;
}

/* As temp_move. What has come to stand there meanwhile is replaced by way of a name beside it. */
static int temp_appear(const struct file_op *op, struct target *t)
{
	int r = temp_link(t, t->name);
	if (r == 0)
		return 0;
	if (r == -EEXIST && t->when == REPLACE_ABSENT)
		return MOVE_EXISTS;
	if (r == -EEXIST)
		r = temp_link(t, temp_name(op, t));
	t->nameless = r < 0;
	if (r < 0)
		r = temp_again(op, t);
	return r < 0 ? r : temp_move(t);
}

int target_move(const struct file_op *op, struct target *t, struct err *e)
{
	bool nameless = t->nameless;
	int r = nameless ? temp_appear(op, t) : temp_move(t);
	if (r == MOVE_EXISTS) {
		err_set(e, 0, "'%s' exists already: leave out create_only to replace it",
			file_shown(op));
		return CAUSE_CONFLICT;
	}
	if (r == MOVE_CHANGED) {
		err_set(e, 0, "'%s' was changed by another meanwhile: read it again",
			file_shown(op));
		return CAUSE_CONFLICT;
	}
	if (r < 0)
		return file_io_error(op, r, e);
	if (nameless)
		t->link_fd = TAKE_FD(t->temp_fd);
	else
		close(TAKE_FD(t->temp_fd));
	t->folder->changed = true;
	return 0;
}
