/*
 * Finding and starting batchd. Races are batchd's to settle: it holds a lock in its state folder,
 * and of two started at once the second reports success as soon as the first listens.
 */
#ifndef CLIENT_DAEMON_START_H
#define CLIENT_DAEMON_START_H

#include <stdbool.h>

#include "common/err.h"

/*
 * Is a batchd serving this socket? Answered without connecting, which would start one where systemd
 * holds the socket: by the lock in our state folder, and for one whose state is elsewhere by who
 * holds the listening socket.
 */
bool daemon_is_running(const char *socket);
/* Does anybody, systemd as well, listen at the socket? Told without connecting. */
bool daemon_socket_bound(const char *socket);
/* Is who listens there known to be neither a batchd nor systemd? */
bool daemon_socket_is_strangers(const char *socket);
/* Starts one and returns when it listens (or another does). 0, or 1 with e filled. */
int daemon_start(const char *socket, struct err *e) _must_check_;
/* The program: beside ourselves, in the build folder, where it was installed, in PATH. Malloced;
 * NULL: nowhere. */
char *daemon_program(void);

#endif
