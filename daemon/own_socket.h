/*
 * The socket that batchd binds by itself, where systemd hands it none. Its path is taken away only
 * as long as it leads to that very socket: systemd may have put one of its own there meanwhile.
 */
#ifndef DAEMON_OWN_SOCKET_H
#define DAEMON_OWN_SOCKET_H

#include <stdbool.h>
#include <sys/stat.h>

#include "common/err.h"

struct own_socket {
	struct stat st; /* as we bound it; st_ino 0: it is not of our making */
};

/* Listens at `path`, where nobody may listen yet. 0 with the fd, or 1 with e. */
int own_socket_bind(struct own_socket *s, const char *path, int *ret_fd,
		    struct err *e) _must_check_;
/* Does the path lead to it? */
bool own_socket_is_there(const struct own_socket *s, const char *path);
void own_socket_unlink(const struct own_socket *s, const char *path);

#endif
