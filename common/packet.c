#include "common/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int packet_send(int fd, const void *p, size_t len, const int *fds, unsigned n_fds)
{
	char control[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)] __attribute__((aligned(8)));
	struct iovec iov = { (void *)p, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (n_fds > 0) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		memset(control, 0, msg.msg_controllen);
		struct cmsghdr *m = CMSG_FIRSTHDR(&msg);
		*m = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int) * n_fds),
				       .cmsg_level = SOL_SOCKET,
				       .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(m), fds, sizeof(int) * n_fds);
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

ssize_t packet_receive(int fd, void *p, size_t size, struct packet_fds *fds, int *ret_flags)
{
	char control[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)] __attribute__((aligned(8)));
	struct iovec iov = { p, size };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	fds->n = fds->used = 0;
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	/* The peer closed with something of ours unread: said once, before what it had sent. */
	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *m = CMSG_FIRSTHDR(&msg); m; m = CMSG_NXTHDR(&msg, m)) {
		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
			continue;
		fds->n = (unsigned)((m->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds->fd, CMSG_DATA(m), fds->n * sizeof(int));
	}
	*ret_flags = msg.msg_flags;
	return n;
}

int packet_take_fd(struct packet_fds *fds)
{
	return fds->used < fds->n ? fds->fd[fds->used++] : -1;
}

void packet_close_fds(struct packet_fds *fds)
{
	for (int fd; (fd = packet_take_fd(fds)) >= 0;)
		close(fd);
}
