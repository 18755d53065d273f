#include "daemon/socket_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/paths.h"
#include "common/trouble.h"
#include "common/xalloc.h"

/* For who removes it to be done: rm -r with the folder, systemd with a socket of its own. */
#define SETTLE_MS 100

struct socket_watch {
	struct socket_watch_config config;
	int fd; /* inotify */
	struct event *changed, *settled;
};

static void watch_on_change(evutil_socket_t fd, short what, void *arg)
{
	struct socket_watch *w = arg;
	char events[4096];
	(void)what;
	while (read(fd, events, sizeof(events)) > 0)
		;
	if (!evtimer_pending(w->settled, NULL))
		evtimer_add(w->settled, &(struct timeval){ .tv_usec = SETTLE_MS * 1000 });
}

static void watch_end(struct socket_watch *w)
{
	if (w->changed)
		event_free(w->changed);
	w->changed = NULL;
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

/* The folder may be another by now. */
static void watch_begin(struct socket_watch *w)
{
	watch_end(w);
	w->fd = unix_watch_gone(w->config.path);
	if (w->fd < 0) {
		log_warn("the folder of '%s' cannot be watched: %s: %s; a socket that is removed "
			 "stays so",
			 w->config.path, strerror(-w->fd), trouble_mend(-w->fd));
		return;
	}
	w->changed = event_new(w->config.base, w->fd, EV_READ | EV_PERSIST, watch_on_change, w);
	event_add(w->changed, NULL);
}

/* Its folder is made again if need be, but not what that is in: who took that away, a log-out
 * perhaps, does not want it back. */
static int watch_folder(const char *path, struct err *e)
{
	_cleanup_free_ char *dir = xstrdup(path);
	*strrchr(dir, '/') = '\0';
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set(e, 0, "cannot make folder '%s': %s", dir, strerror(errno));
	return path_check_private(path, e);
}

static void watch_on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct socket_watch *w = arg;
	struct err e = ERR_INIT;
	int again = -1;
	(void)fd;
	(void)what;
	if (own_socket_is_there(w->config.own, w->config.path))
		return;
	int r = watch_folder(w->config.path, &e);
	if (r == 0) {
		watch_begin(w);
		r = own_socket_bind(w->config.own, w->config.path, &again, &e);
	}
	if (r) {
		log_warn("the socket '%s' was removed, and nobody reaches this batchd: %s",
			 w->config.path, e.text);
		return;
	}
	log_warn("the socket '%s' was removed: batchd listens there again", w->config.path);
	w->config.again(w->config.arg, again);
}

struct socket_watch *socket_watch_new(const struct socket_watch_config *config)
{
	struct socket_watch *w = xcalloc(1, sizeof(*w));
	w->config = *config;
	w->fd = -1;
	w->settled = evtimer_new(config->base, watch_on_settled, w);
	watch_begin(w);
	return w;
}

struct socket_watch *socket_watch_free(struct socket_watch *w)
{
	if (!w)
		return NULL;
	watch_end(w);
	event_free(w->settled);
	free(w);
	return NULL;
}
