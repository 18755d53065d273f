#include "common/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"

/* Appends the components of path to the normal form begun at `start`. */
static void path_add_components(struct buf *b, size_t start, struct slice path)
{
	size_t i = 0;
	while (i < path.len) {
		size_t end = i;
		while (end < path.len && path.p[end] != '/')
			end++;
		struct slice part = slice_of(path.p + i, end - i);
		i = end + 1;
		if (part.len == 0 || slice_is(part, "."))
			continue;
		if (slice_is(part, "..")) {
			while (b->len > start && b->p[--b->len] != '/')
				;
			continue;
		}
		buf_addc(b, '/');
		buf_addslice(b, part);
	}
}

void path_normal(struct buf *b, struct slice base, struct slice path)
{
	size_t start = b->len;
	if (path.len == 0 || path.p[0] != '/')
		path_add_components(b, start, base);
	path_add_components(b, start, path);
	if (b->len == start)
		buf_addc(b, '/');
}

/* The name of a new folder is durable when its parent is; where that cannot be, it is as it is. */
static void path_sync_parent(char *path)
{
	char *slash = strrchr(path, '/');
	*slash = '\0';
	_cleanup_close_ int fd = open(*path ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*slash = '/';
	if (fd >= 0 && fsync(fd) < 0)
		return;
}

int path_mkdirs(const char *path, unsigned mode)
{
	_cleanup_free_ char *copy = xstrdup(path);
	for (char *p = copy + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char end = *p;
		*p = '\0';
		if (mkdir(copy, end ? 0777 : mode) == 0)
			path_sync_parent(copy);
		else if (errno != EEXIST && errno != EROFS)
			return -errno;
		if (!end)
			break;
		*p = end;
	}
	struct stat st;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

char *path_project(const char *cwd)
{
	static const char *const marks[] = { ".batchd", ".git", ".jj", ".hg" };
	_cleanup_free_ char *dir = xstrdup(cwd);
	for (;;) {
		for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
			_cleanup_free_ char *mark = xasprintf("%s/%s", dir, marks[i]);
			if (access(mark, F_OK) == 0)
				return *dir ? TAKE_PTR(dir) : xstrdup("/");
		}
		char *slash = strrchr(dir, '/');
		if (!slash)
			return NULL;
		*slash = '\0';
	}
}

char *path_todo_list(const char *cwd)
{
	struct buf name = BUF_INIT;
	_cleanup_free_ char *project = path_project(cwd);
	if (!project)
		return xstrdup("default");
	bool plain = utf8_valid(slice_str(project));
	for (const char *p = project; *p; p++) {
		unsigned char c = (unsigned char)*p;
		if (c < 0x20 || c == 0x7f || (c >= 0x80 && !plain))
			buf_addf(&name, "\\x%02x", c);
		else
			buf_addc(&name, *p);
	}
	return buf_steal(&name);
}

/* The value of an environment variable that must be an absolute path to count (XDG base directory
 * specification). */
static const char *env_path(const char *name)
{
	const char *v = getenv(name);
	return v && v[0] == '/' ? v : NULL;
}

char *path_default_socket(void)
{
	const char *named = getenv("BATCHD_SOCKET");
	if (named && *named) {
		if (named[0] == '/')
			return xstrdup(named);
		char cwd[PATH_MAX];
		struct buf b = BUF_INIT;
		path_normal(&b, slice_str(getcwd(cwd, sizeof(cwd)) ? cwd : "/"), slice_str(named));
		return buf_steal(&b);
	}
	const char *runtime = env_path("XDG_RUNTIME_DIR");
	if (runtime)
		return xasprintf("%s/batchd/socket", runtime);
	return xasprintf("/tmp/batchd-%u/socket", (unsigned)getuid());
}

static char *path_xdg(const char *variable, const char *under_home, const char *rest)
{
	const char *base = env_path(variable);
	if (base)
		return xasprintf("%s/%s", base, rest);
	const char *home = env_path("HOME");
	return home ? xasprintf("%s/%s/%s", home, under_home, rest) : NULL;
}

char *path_default_state(struct err *e)
{
	char *path = path_xdg("XDG_STATE_HOME", ".local/state", "batchd");
	if (!path)
		err_set(e, 0, "no place for state: set HOME or XDG_STATE_HOME");
	return path;
}

char *path_default_config(void)
{
	return path_xdg("XDG_CONFIG_HOME", ".config", "batchd/batchd.conf");
}

const char *const path_spawner_places[] = { "batchd-spawner", "spawner/batchd-spawner",
					    "../libexec/batchd/batchd-spawner", NULL };

static bool path_is_program(const char *path)
{
	struct stat st;
	return access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* The program if it is in that folder; malloced. */
static char *path_program_in(const char *folder, const char *rest)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", folder, rest);
	return path_is_program(path) ? TAKE_PTR(path) : NULL;
}

char *path_in_path(const char *name)
{
	const char *path = getenv("PATH");
	for (const char *p = path ? path : ""; *p; p += strspn(p, ":")) {
		size_t len = strcspn(p, ":");
		_cleanup_free_ char *dir = xslicedup(slice_of(p, len));
		char *found = dir[0] == '/' ? path_program_in(dir, name) : NULL;
		if (found)
			return found;
		p += len;
	}
	return NULL;
}

char *path_find_program(const char *beside, const char *const *places, const char *installed)
{
	char self[PATH_MAX] = "";
	char *found = NULL;
	if (beside)
		snprintf(self, sizeof(self), "%s", beside);
	else if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		self[0] = '\0';
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; slash && !found && places[i]; i++)
		found = path_program_in(self, places[i]);
	if (!found && installed && path_is_program(installed))
		found = xstrdup(installed);
	if (found)
		return found;
	const char *name = strrchr(places[0], '/');
	return path_in_path(name ? name + 1 : places[0]);
}

int path_check_private(const char *socket, struct err *e)
{
	_cleanup_free_ char *dir = xstrdup(socket);
	char *slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return err_set(e, 0, "cannot use socket '%s': name one in a folder of your own",
			       socket);
	*slash = '\0';
	if (mkdir(dir, 0700) < 0 && errno == ENOENT)
		path_mkdirs(dir, 0700);
	struct stat st;
	if (lstat(dir, &st) < 0)
		return err_set(e, 0,
			       "cannot use folder '%s': %s: name a socket in a folder of your own"
			       " (--socket, BATCHD_SOCKET), or unset XDG_RUNTIME_DIR if it is"
			       " another's",
			       dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, 0, "'%s' is not a folder: remove it, or name another socket",
			       dir);
	if (st.st_uid != getuid())
		return err_set(
			e, 0,
			"folder '%s' belongs to uid %u: name a socket in a folder of your own", dir,
			(unsigned)st.st_uid);
	if (st.st_mode & 0077)
		return err_set(e, 0, "folder '%s' is open to others (mode %04o): chmod 700 '%s'",
			       dir, (unsigned)st.st_mode & 07777, dir);
	return 0;
}

/*
 * Fills sun for path. A path longer than sun_path goes through /proc/self/fd of its folder, whose
 * fd is returned (to be closed after use), else -1; -errno below -1.
 */
static int sun_fill(const char *path, struct sockaddr_un *sun)
{
	*sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) < sizeof(sun->sun_path)) {
		memcpy(sun->sun_path, path, strlen(path) + 1);
		return -1;
	}
	_cleanup_free_ char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');
	*slash = '\0';
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == EPERM ? -EACCES : -errno;
	int n = snprintf(sun->sun_path, sizeof(sun->sun_path), "/proc/self/fd/%d/%s", fd,
			 slash + 1);
	if (n < 0 || (size_t)n >= sizeof(sun->sun_path)) {
		close(fd);
		return -ENAMETOOLONG;
	}
	return fd;
}

/* unix(7) does not say it: a connect(2) that waits for room takes the time to send as its own. */
static int sun_connect(int fd, const struct sockaddr_un *sun, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	int r;
	if (ms >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
		return -errno;
	do
		r = connect(fd, (const struct sockaddr *)sun, sizeof(*sun));
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return 0;
	return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

int unix_connect(const char *path, int type)
{
	return unix_connect_within(path, type, -1);
}

int unix_connect_within(const char *path, int type, int64_t ms)
{
	struct sockaddr_un sun;
	int dir = sun_fill(path, &sun);
	if (dir < -1)
		return dir;
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -errno : 0;
	if (r == 0)
		r = sun_connect(fd, &sun, ms == 0 ? 1 : ms); /* to the kernel 0 is for ever */
	if (dir >= 0)
		close(dir);
	if (r == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return r;
}

static int unix_watch_for(const char *path, uint32_t events)
{
	_cleanup_free_ char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');
	if (!slash)
		return -EINVAL;
	*(slash == dir ? slash + 1 : slash) = '\0';
	_cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0 || inotify_add_watch(fd, dir, events) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int unix_watch(const char *path)
{
	return unix_watch_for(path, IN_MOVED_TO | IN_CREATE);
}

int unix_watch_gone(const char *path)
{
	return unix_watch_for(path, IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |
					    IN_MOVE_SELF);
}

char *unix_bound_path(int fd)
{
	struct sockaddr_un sun = { 0 };
	socklen_t len = sizeof(sun);
	if (getsockname(fd, (struct sockaddr *)&sun, &len) < 0 || sun.sun_path[0] != '/')
		return NULL;
	return xslicedup(slice_of(sun.sun_path, strnlen(sun.sun_path, sizeof(sun.sun_path))));
}

bool unix_is_bound(const char *path)
{
	/* The kernel finds a socket of another type than ours, or none at all (unix(7),
	 * connect(2)). */
	int fd = unix_connect(path, SOCK_DGRAM);
	if (fd >= 0)
		close(fd);
	return fd == -EPROTOTYPE || fd >= 0;
}

int unix_listen(const char *path, int type, int backlog)
{
	_cleanup_free_ char *temp = xasprintf("%s.%d", path, (int)getpid());
	struct sockaddr_un sun;
	struct stat st;
	/* A file of somebody's, or a link to one, is not ours to replace. */
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	int dir = sun_fill(temp, &sun);
	if (dir < -1)
		return dir;
	_cleanup_close_ _unused_ int dir_fd = dir;
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	unlink(temp);
	mode_t old = umask(0177);
	int r = bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ? -errno : 0;
	umask(old);
	if (r == 0 && (listen(fd, backlog) < 0 || rename(temp, path) < 0))
		r = -errno;
	if (r < 0) {
		unlink(temp);
		return r;
	}
	return TAKE_FD(fd);
}
