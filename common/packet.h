/*
 * Packets of a SOCK_SEQPACKET Unix socket and the file descriptors that go with them (SCM_RIGHTS,
 * unix(7)). Nothing here blocks.
 */
#ifndef COMMON_PACKET_H
#define COMMON_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/cleanup.h"

#define PACKET_FDS_MAX 253 /* SCM_MAX_FD of Linux */

/* The fds that came with a packet, in their order. */
struct packet_fds {
	int fd[PACKET_FDS_MAX];
	unsigned n, used;
};

/* The fds stay the caller's. 0, or -errno with nothing sent: the whole packet goes or none of it.
 */
int packet_send(int fd, const void *p, size_t len, const int *fds, unsigned n_fds) _must_check_;
/*
 * One packet of at most `size` bytes; the fds are close-on-exec and the caller's. The length, 0 at
 * the end of the connection, or -errno. *ret_flags: MSG_TRUNC where it was longer, MSG_CTRUNC where
 * there was no room for fds of it. What a peer had sent before it died is received before its end
 * is told.
 */
ssize_t packet_receive(int fd, void *p, size_t size, struct packet_fds *fds,
		       int *ret_flags) _must_check_;
/* The next, or -1. */
int packet_take_fd(struct packet_fds *fds);
/* Closes what nobody took. */
void packet_close_fds(struct packet_fds *fds);

#endif
