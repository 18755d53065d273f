/* What stands in the file system of a database in use. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/store/sql_write.h"
#include "proto/errors.h"

enum found { FOUND, REMOVED, OTHER };

static void file_keep(struct file_kept *f, const char *path, const char *suffix)
{
	_cleanup_free_ char *name = xasprintf("%s%s", path, suffix);

	if (f->fd >= 0)
		close(f->fd);
	/* SQLite's locks on the file would go with the close of any other descriptor. */
	f->fd = open(name, O_PATH | O_CLOEXEC);
}

static enum found file_find(const struct file_kept *f, const char *path, const char *suffix)
{
	_cleanup_free_ char *name = xasprintf("%s%s", path, suffix);
	struct stat there, kept;

	if (f->fd < 0 || fstat(f->fd, &kept) < 0)
		return OTHER;
	if (stat(name, &there) < 0)
		return errno == ENOENT && kept.st_nlink == 0 ? REMOVED : OTHER;
	return there.st_dev == kept.st_dev && there.st_ino == kept.st_ino ? FOUND : OTHER;
}

int writer_guard(struct writer *w)
{
	int64_t n;
	int code = sql_open_reader(&w->guard, w->path, NULL);

	/* It joins the others only when it reads. */
	if (code == SQLITE_OK)
		code = sql_look(&w->guard, "SELECT count(*) FROM sqlite_master", &n);
	if (code != SQLITE_ROW) {
		sql_close(&w->guard);
		return code;
	}
	file_keep(&w->database, w->path, "");
	file_keep(&w->wal, w->path, "-wal");
	return SQLITE_OK;
}

void writer_forget_files(struct writer *w)
{
	if (w->database.fd >= 0)
		close(w->database.fd);
	if (w->wal.fd >= 0)
		close(w->wal.fd);
	w->database.fd = w->wal.fd = -1;
}

/* All that the connection sees, durable in a file of its own. 0 or 1 with e. */
static int files_copy(struct writer *w, const char *to, struct err *e)
{
	char *text = sqlite3_mprintf("VACUUM INTO %Q", to);
	_cleanup_close_ int fd = -1;
	int code;

	unlink(to);
	fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	code = fd < 0 ? SQLITE_OK : text ? sql_exec(&w->guard, text) : SQLITE_NOMEM;
	sqlite3_free(text);
	if (code != SQLITE_OK)
		return sql_error(&w->guard, code, "make the removed database anew", to, e);
	if (fd < 0 || fsync(fd) < 0)
		return err_set(e, E_STORAGE,
			       "cannot store: '%s' was removed while in use, and cannot be made "
			       "anew: '%s': %s: %s",
			       w->path, to, strerror(errno), trouble_mend(errno));
	return 0;
}

/* Frames of the old log would be taken for the new database's. */
static void files_remove_old(struct writer *w)
{
	static const char *const suffixes[] = { "-wal", "-shm" };

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		_cleanup_free_ char *name = xasprintf("%s%s", w->path, suffixes[i]);
		unlink(name);
	}
}

/* The new name is durable before anything is stored under it. */
static int files_rename(struct writer *w, const char *copy)
{
	_cleanup_free_ char *runs_parent = xasprintf("%s/..", w->runs_dir);
	_cleanup_close_ int dir = open(runs_parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || rename(copy, w->path) < 0 || fsync(dir) < 0)
		return -errno;
	return 0;
}

static int files_make_anew(struct writer *w, struct err *e)
{
	_cleanup_free_ char *copy = xasprintf("%s.new", w->path);
	int r;

	if (files_copy(w, copy, e)) {
		unlink(copy);
		return 1;
	}
	sql_close(&w->guard);
	sql_close(&w->sql);
	files_remove_old(w);
	r = files_rename(w, copy);
	if (r < 0)
		return err_set(e, E_STORAGE, "cannot store: cannot rename '%s' to '%s': %s: %s",
			       copy, w->path, strerror(-r), trouble_mend(-r));
	log_warn("'%s' was removed while in use, and has been made anew", w->path);
	atomic_fetch_add(&w->files, 1);
	return 0;
}

int writer_see_to_files(struct writer *w, struct err *e)
{
	if (!w->guard.db) /* nothing is open */
		return 0;
	enum found database = file_find(&w->database, w->path, "");
	enum found wal = file_find(&w->wal, w->path, "-wal");
	if (database == FOUND && wal == FOUND)
		return 0;
	if (database != OTHER && wal != OTHER)
		return files_make_anew(w, e);
	return err_set(e, E_STORAGE,
		       "cannot store: '%s' or its -wal was moved or replaced while in use: move "
		       "away what stands there now and put back what stood there (what was removed "
		       "batchd makes anew)",
		       w->path);
}
