#include "daemon/own_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/paths.h"
#include "common/trouble.h"

#define LISTEN_BACKLOG 4096

int own_socket_bind(struct own_socket *s, const char *path, int *ret_fd, struct err *e)
{
	if (unix_is_bound(path))
		return err_set(e, 0,
			       "somebody listens at '%s': systemd for batchd.service (`batchctl "
			       "daemon start` starts that one), or the batchd of another state "
			       "folder; name another --socket",
			       path);
	int fd = unix_listen(path, SOCK_STREAM, LISTEN_BACKLOG);
	if (fd < 0 || lstat(path, &s->st) < 0) {
		int r = fd < 0 ? -fd : errno;
		return err_set(e, 0, "cannot listen at '%s': %s: %s", path, strerror(r),
			       trouble_mend(r));
	}
	*ret_fd = fd;
	return 0;
}

bool own_socket_is_there(const struct own_socket *s, const char *path)
{
	struct stat now;
	return s->st.st_ino != 0 && lstat(path, &now) == 0 && now.st_ino == s->st.st_ino &&
	       now.st_dev == s->st.st_dev;
}

void own_socket_unlink(const struct own_socket *s, const char *path)
{
	if (own_socket_is_there(s, path))
		unlink(path);
}
