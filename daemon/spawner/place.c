#include "daemon/spawner/place.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/paths.h"

static const char *path; /* NULL: the socket is not of our making */
static struct stat ours;
static int lock_fd = -1, watch_fd = -1;
static bool asked;

int place_listen(const char *socket, int lock)
{
	int fd = unix_listen(socket, SOCK_SEQPACKET, 16);
	if (fd >= 0)
		place_take(socket, lock);
	return fd;
}

/* While the lock stands beside it, nobody else binds there. */
static bool place_has_lock(void)
{
	struct stat st;
	return fstat(lock_fd, &st) == 0 && st.st_nlink > 0;
}

void place_take(const char *socket, int lock)
{
	path = socket;
	lock_fd = lock;
	if (!place_has_lock() || lstat(path, &ours) < 0)
		memset(&ours, 0, sizeof(ours));
}

int place_watch(void)
{
	if (watch_fd >= 0)
		close(watch_fd);
	watch_fd = path ? unix_watch_gone(path) : -ENOENT;
	return watch_fd;
}

static bool place_is_ours(void)
{
	struct stat st;
	return path && ours.st_ino != 0 && lstat(path, &st) == 0 && st.st_ino == ours.st_ino &&
	       st.st_dev == ours.st_dev;
}

int place_changed(void)
{
	char events[4096];
	while (read(watch_fd, events, sizeof(events)) > 0)
		;
	if (place_is_ours() || !place_has_lock())
		return -1;
	int fd = place_listen(path, lock_fd);
	if (fd >= 0)
		log_warn("the socket '%s' was removed: listening there again", path);
	return fd >= 0 ? fd : -1;
}

void place_ask(void)
{
	asked = true;
}

bool place_is_asked(void)
{
	bool was = asked;
	asked = false;
	return was && path && !place_is_ours() && !place_has_lock();
}

bool place_is_lost(void)
{
	return path && !place_is_ours();
}

void place_leave(void)
{
	if (place_is_ours())
		unlink(path);
}
