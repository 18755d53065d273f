#include "daemon/exec/file_folders.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/list.h"
#include "common/xalloc.h"
#include "daemon/exec/file_ops.h"
#include "daemon/exec/file_sync.h"

/* --- umask --- */

static _Thread_local enum { UMASK_UNKNOWN, UMASK_OWN, UMASK_SHARED } thread_umask;

void file_thread_umask(unsigned mask)
{
	static _Thread_local unsigned now;
	if (thread_umask == UMASK_OWN && mask == now)
		return;
	if (thread_umask == UMASK_UNKNOWN)
		thread_umask = unshare(CLONE_FS) == 0 ? UMASK_OWN : UMASK_SHARED;
	if (thread_umask == UMASK_OWN)
		umask(now = mask);
}

bool file_thread_has_umask(void)
{
	return thread_umask == UMASK_OWN;
}

/* --- folders in which folders are being made --- */

struct making {
	struct list node; /* in all_makings, until it is synced */
	unsigned refs;
	const struct folders *by;
	int fd;
	dev_t dev;
	ino_t ino;
};

static pthread_mutex_t making_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list all_makings = { &all_makings, &all_makings };

static void making_keep(struct folders *fs, struct making *m)
{
	fs->makings = xrealloc(fs->makings, fs->n_makings + 1, sizeof(fs->makings[0]));
	fs->makings[fs->n_makings++] = m;
	m->refs++;
}

/* To be called before the folder is made in it: whoever finds that is to find this. 0 or -errno. */
static int making_begin(struct folders *fs, int in)
{
	struct stat st;
	if (fstat(in, &st) < 0)
		return -errno;
	for (size_t i = 0; i < fs->n_makings; i++)
		if (fs->makings[i]->dev == st.st_dev && fs->makings[i]->ino == st.st_ino)
			return 0;
	int fd = fcntl(in, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	struct making *m = xmalloc(sizeof(*m));
	*m = (struct making){ .by = fs, .fd = fd, .dev = st.st_dev, .ino = st.st_ino };
	pthread_mutex_lock(&making_lock);
	list_add_tail(&all_makings, &m->node);
	making_keep(fs, m);
	pthread_mutex_unlock(&making_lock);
	return 0;
}

static void makings_of_others(struct folders *fs)
{
	pthread_mutex_lock(&making_lock);
	list_for (&all_makings, node) {
		struct making *m = list_entry(node, struct making, node);
		if (m->by != fs)
			making_keep(fs, m);
	}
	pthread_mutex_unlock(&making_lock);
}

static void makings_end(struct folders *fs)
{
	pthread_mutex_lock(&making_lock);
	for (size_t i = 0; i < fs->n_makings; i++) {
		struct making *m = fs->makings[i];
		if (m->by == fs)
			list_del(&m->node);
		if (--m->refs > 0)
			continue;
		close(m->fd);
		free(m);
	}
	pthread_mutex_unlock(&making_lock);
	free(fs->makings);
}

/* --- opening --- */

void folders_done(struct folders *fs)
{
	for (size_t i = 0; i < fs->n; i++) {
		close(fs->list[i]->fd);
		free(fs->list[i]->path);
		free(fs->list[i]);
	}
	free(fs->list);
	makings_end(fs);
}

/*
 * As it can be synced later: what has been moved there by then is not to wait for one more
 * descriptor. One that may be entered and written, but not read, is held all the same.
 */
static int folder_at(int in, const char *name)
{
	int fd = openat(in, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 && errno == EACCES ? openat(in, name, O_PATH | O_DIRECTORY | O_CLOEXEC) : fd;
}

/* mkdirat with 0777 less the op's umask; *ret_made: it was not there. */
static int folder_make(struct folders *fs, const struct file_op *op, int in, const char *name,
		       bool *ret_made)
{
	int r = making_begin(fs, in);
	if (r < 0)
		return r;
	*ret_made = mkdirat(in, name, 0777) == 0;
	if (!*ret_made)
		return errno == EEXIST ? 0 : -errno;
	if (!file_thread_has_umask()) {
		struct stat st;
		_cleanup_close_ int fd =
			openat(in, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0 ||
		    fchmod(fd, (st.st_mode & 07000) | (0777 & ~op->umask)) < 0)
			return -errno;
	}
	return 0;
}

/* One folder after the other, making those that are missing; *ret_made: the last one was. The fd or
 * -errno. */
static int folder_walk(struct folders *fs, const struct file_op *op, int from, const char *path,
		       bool *ret_made)
{
	_cleanup_free_ char *copy = xstrdup(path);
	_cleanup_close_ int at = folder_at(from, ".");
	char *save = NULL;
	if (at < 0)
		return -errno;
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int next = folder_at(at, name);
		*ret_made = false;
		if (next < 0 && errno == ENOENT) {
			int r = folder_make(fs, op, at, name, ret_made);
			if (r < 0)
				return r;
			next = folder_at(at, name);
		}
		if (next < 0)
			return -errno;
		close(at);
		at = next;
	}
	return TAKE_FD(at);
}

/* The latest first: files of one folder come together. */
static struct folder *folders_find(const struct folders *fs, int from, const char *path)
{
	for (size_t i = fs->n; i-- > 0;) {
		struct folder *f = fs->list[i];
		if (f->path && f->from == from && strcmp(f->path, path) == 0)
			return f;
	}
	return NULL;
}

static int folders_add(struct folders *fs, int fd, int from, const char *path, struct folder **ret)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (fs->n == fs->cap) {
		fs->cap = fs->cap ? fs->cap * 2 : 4;
		fs->list = xrealloc(fs->list, fs->cap, sizeof(fs->list[0]));
	}
	struct folder *f = *ret = fs->list[fs->n++] = xmalloc(sizeof(*f));
	*f = (struct folder){
		.fd = fd,
		.dev = st.st_dev,
		.from = from,
		.path = path ? xstrdup(path) : NULL,
		.named = fs->few,
	};
	return 0;
}

int folders_open(struct folders *fs, const struct file_op *op, int from, const char *path,
		 bool make, struct folder **ret)
{
	bool by_path = from == op->root_fd;
	if (by_path && (*ret = folders_find(fs, from, path)))
		return 0;
	int fd = folder_at(from, *path ? path : ".");
	bool made = false;
	if (fd < 0)
		fd = errno == ENOENT && make ? folder_walk(fs, op, from, path, &made) : -errno;
	if (fd < 0)
		return fd;
	int r = folders_add(fs, fd, from, by_path ? path : NULL, ret);
	if (r < 0)
		close(fd);
	else
		(*ret)->made = made;
	return r;
}

/* --- syncing --- */

int folders_sync(struct folders *fs, const struct sync_item *more, size_t n_more)
{
	size_t n = 0;
	int r = 0;
	makings_of_others(fs);
	_cleanup_free_ struct sync_item *items =
		xcalloc(fs->n + fs->n_makings + n_more + 1, sizeof(items[0]));
	for (size_t i = 0; i < fs->n_makings; i++)
		items[n++] = (struct sync_item){ .fd = fs->makings[i]->fd,
						 .dev = fs->makings[i]->dev,
						 .folder = true };
	for (size_t i = 0; i < fs->n; i++)
		if (fs->list[i]->changed)
			items[n++] = (struct sync_item){ .fd = fs->list[i]->fd,
							 .dev = fs->list[i]->dev,
							 .folder = true,
							 .result = &fs->list[i]->error };
	for (size_t i = 0; i < fs->n_makings; i++)
		items[i].result = &r;
	if (n_more)
		memcpy(items + n, more, n_more * sizeof(more[0]));
	sync_items(items, n + n_more);
	return r;
}
