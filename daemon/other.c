#include "daemon/other.h"

#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/lock.h"
#include "common/paths.h"
#include "common/timeutil.h"

#define OTHER_WAIT_MS 15000

/* [0, 1, "rpc.hello", []] */
static const char hello[] = "\x94\x00\x01\xa9rpc.hello\x90";

/* A connection on which an answer will come if anybody lives there, or -1. */
static int other_ask(const char *socket)
{
	int fd = unix_connect(socket, SOCK_STREAM);
	if (fd >= 0 && fd_write_all(fd, hello, sizeof(hello) - 1) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

enum other other_look(const char *state_dir, const char *socket)
{
	_cleanup_(lock_holder_done) struct lock_holder h;
	if (!lock_look(state_dir, &h))
		return OTHER_GONE;
	bool elsewhere = h.socket && strcmp(h.socket, socket) != 0;
	_cleanup_close_ int watch = unix_watch(socket);
	_cleanup_close_ int holder = h.pid > 1 ? (int)syscall(SYS_pidfd_open, h.pid, 0) : -1;
	_cleanup_close_ int asked = -1;
	for (int64_t end = time_mono_ms() + OTHER_WAIT_MS;;) {
		if (!elsewhere && asked < 0)
			asked = other_ask(socket);
		struct pollfd p[] = { { .fd = watch, .events = POLLIN },
				      { .fd = holder, .events = POLLIN },
				      { .fd = asked, .events = POLLIN } };
		char bytes[4096];
		if (poll(p, ARRAY_SIZE(p), elsewhere ? 0 : (int)MAX2(end - time_mono_ms(), 0)) <= 0)
			return OTHER_SILENT;
		if (p[2].revents && read(asked, bytes, sizeof(bytes)) > 0)
			return OTHER_SERVES;
		if (p[1].revents)
			return OTHER_GONE;
		if (p[2].revents) {
			close(asked);
			asked = -1;
		}
		if (p[0].revents && read(watch, bytes, sizeof(bytes)) < 0)
			return OTHER_SILENT;
	}
}
