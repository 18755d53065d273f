#include "common/notify.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"

#define LISTEN_FDS_START 3 /* sd_listen_fds(3) */

static char *taken; /* NOTIFY_SOCKET as it stood in the environment */

bool notify_take(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	if (path && !taken)
		taken = xstrdup(path);
	unsetenv("NOTIFY_SOCKET");
	return taken != NULL;
}

bool notify_wanted(void)
{
	return taken || getenv("NOTIFY_SOCKET");
}

void notify_send(const char *state)
{
	const char *path = taken ? taken : getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(sun.sun_path))
		return;
	memcpy(sun.sun_path, path, strlen(path));
	if (path[0] == '@')
		sun.sun_path[0] = '\0';
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (fd >= 0 &&
	    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sun, len) < 0)
		return;
}

int notify_listen_fd(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int64_t n = 0, who = 0;
	bool ours = pid && fds && parse_int(slice_str(pid), 1, INT32_MAX, &who) &&
		    who == getpid() && parse_int(slice_str(fds), 1, 64, &n);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (!ours)
		return -1;
	for (int fd = LISTEN_FDS_START; fd < LISTEN_FDS_START + n; fd++)
		fd_set_cloexec(fd, true);
	return LISTEN_FDS_START;
}
