#include "daemon/takeover.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"

#define TAKEOVER_WAIT_MS 60000

/* What the lock says of its holder is a hint: nobody else is to be ended by it. */
static bool takeover_is_batchd(pid_t pid)
{
	char path[64];
	_cleanup_buf_ struct buf b = BUF_INIT;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	return fd_read_file(path, 64, &b) == 0 && strcmp(buf_str(&b), "batchd\n") == 0;
}

int takeover_ask(pid_t holder, struct err *e)
{
	_cleanup_close_ int process = holder > 1 ? (int)syscall(SYS_pidfd_open, holder, 0) : -1;
	if (process < 0 || !takeover_is_batchd(holder))
		return err_set(
			e, 0,
			"the state folder is in use by another batchd, and it cannot be told "
			"which (pid %d?): stop it",
			(int)holder);
	if (syscall(SYS_pidfd_send_signal, process, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
		return err_set(e, 0, "cannot ask the other batchd (pid %d) to stop: %s",
			       (int)holder, strerror(errno));
	log_info("the batchd that was started by hand (pid %d) is asked to stop", (int)holder);
	struct pollfd p = { .fd = process, .events = POLLIN };
	int n = poll(&p, 1, TAKEOVER_WAIT_MS);
	if (n > 0)
		return 0;
	return err_set(e, 0, "%s while the other batchd (pid %d) was stopping",
		       n < 0 ? "told to stop" : "nothing happened", (int)holder);
}
