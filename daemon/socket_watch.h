/*
 * Listens again where the file of the socket that we bound was removed, as who tidies up a runtime
 * folder does: till then nobody could reach a batchd that runs. Loop thread only.
 */
#ifndef DAEMON_SOCKET_WATCH_H
#define DAEMON_SOCKET_WATCH_H

#include "daemon/own_socket.h"

struct event_base;
struct socket_watch;

struct socket_watch_config {
	struct event_base *base;
	const char *path;	/* borrowed */
	struct own_socket *own; /* borrowed; bound there */
	/* Bound there again: the fd is the callee's from here on. */
	void (*again)(void *arg, int fd);
	void *arg;
};

/* Where the folder cannot be watched, that is logged, and nothing else comes of it. */
struct socket_watch *socket_watch_new(const struct socket_watch_config *config);
/* NULL is fine; returns NULL. Before the file is removed by ourselves. */
struct socket_watch *socket_watch_free(struct socket_watch *w);

#endif
