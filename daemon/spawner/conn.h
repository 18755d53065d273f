/*
 * The connection to batchd: frames in, reports out. One at a time is served; one that says HELLO
 * replaces the one before. Reports wait in a list of ops (nothing is copied, nothing allocated)
 * until the socket takes them; all of a turn go in one packet.
 */
#ifndef DAEMON_SPAWNER_CONN_H
#define DAEMON_SPAWNER_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/spawner/op.h"

void conn_init(int epoll);
/* Takes the fd; a peer of another user is turned away. */
void conn_add(int fd);
/* All that wait at the listening socket. */
void conn_accept(int listen_fd);
/* Connection n of epoll's data is readable, writable or gone. */
void conn_event(uint32_t n);
/* Adds to what is to be told of the op (REPORT_*). */
void conn_report(struct op *op, unsigned reports);
/* Sends what waits, as far as the socket takes it. */
void conn_flush(void);
/* When to flush again although the socket is writable (too many fds under way); 0: no need. */
int64_t conn_deadline_ms(void);
/* The connection that is served, -1: none; and one that was served goes on after an exec of
 * ourselves. Between the two nothing may wait to be sent. */
int conn_served_fd(void);
void conn_serve(int fd);
bool conn_has_said_all(void);
/* We end, and keep nothing. */
void conn_bye(void);
/* Tells whoever is at the other end of fd why we end without serving it. */
void conn_say_refused(int fd, const char *why);
/* Is anybody connected? Was anybody ever? */
bool conn_any(void);
bool conn_ever(void);

#endif
