/* A service is ready when something listens on a port, of 127.0.0.1 or of ::1. */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "daemon/exec/ready_impl.h"

#define WAIT_FIRST_MS 20
#define WAIT_MOST_MS 1000

static void port_close(struct ready_watch *w, int i)
{
	if (w->events[i])
		event_free(w->events[i]);
	w->events[i] = NULL;
	cleanup_closep(&w->fds[i]);
	w->fds[i] = -1;
}

void ready_port_end(struct ready_watch *w)
{
	port_close(w, 0);
	port_close(w, 1);
	if (w->retry)
		event_free(w->retry);
	w->retry = NULL;
}

static int port_connect(int fd, int i, int port)
{
	const struct sockaddr_in v4 = { .sin_family = AF_INET,
					.sin_port = htons((uint16_t)port),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
					 .sin6_port = htons((uint16_t)port),
					 .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	if (i == 0)
		return connect(fd, (const struct sockaddr *)&v4, sizeof(v4));
	return connect(fd, (const struct sockaddr *)&v6, sizeof(v6));
}

/* A port may be given to whoever connects to it without listening: then both ends are one, and
 * nobody listens. */
static bool port_is_own(int fd)
{
	struct sockaddr_storage own = { 0 }, other = { 0 };
	socklen_t own_len = sizeof(own), other_len = sizeof(other);
	if (getsockname(fd, (struct sockaddr *)&own, &own_len) < 0 ||
	    getpeername(fd, (struct sockaddr *)&other, &other_len) < 0)
		return true; /* not connected any more */
	return own_len == other_len && memcmp(&own, &other, own_len) == 0;
}

static bool port_answered(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0 &&
	       !port_is_own(fd);
}

/* On to the next try when both have come to nothing. */
static void port_settle(struct ready_watch *w)
{
	if (w->fds[0] >= 0 || w->fds[1] >= 0)
		return;
	const struct timeval tv = { .tv_sec = w->wait_ms / 1000,
				    .tv_usec = w->wait_ms % 1000 * 1000 };
	event_add(w->retry, &tv);
	w->wait_ms = MIN2(2 * w->wait_ms, WAIT_MOST_MS);
}

static void port_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct ready_watch *w = arg;
	int i = fd == w->fds[0] ? 0 : 1;
	if (what & EV_WRITE && port_answered(fd)) {
		ready_tell(w);
		return;
	}
	port_close(w, i);
	port_settle(w);
}

/* Also what is connected at once is told by its event: never before ready_watch has returned. */
static void port_try(struct ready_watch *w, int i)
{
	const struct timeval patience = { .tv_sec = WAIT_MOST_MS / 1000 };
	int fd = socket(i == 0 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (port_connect(fd, i, w->port) < 0 && errno != EINPROGRESS) {
		close(fd);
		return;
	}
	w->fds[i] = fd;
	w->events[i] = event_new(w->owner->base, fd, EV_WRITE, port_on_event, w);
	if (!w->events[i] || event_add(w->events[i], &patience) < 0)
		port_close(w, i);
}

static void port_on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct ready_watch *w = arg;
	(void)fd;
	(void)what;
	port_try(w, 0);
	port_try(w, 1);
	port_settle(w);
}

void ready_port_begin(struct ready_watch *w)
{
	w->wait_ms = WAIT_FIRST_MS;
	w->retry = event_new(w->owner->base, -1, 0, port_on_retry, w);
	port_on_retry(-1, 0, w);
}
