#include "common/trouble.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/timeutil.h"

static struct {
	int64_t until_ms; /* monotonic */
	char text[1024];
} troubles[TROUBLE_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

bool trouble_say(enum trouble which, int64_t valid_ms, const char *fmt, ...)
{
	int64_t now = time_mono_ms();
	va_list ap;
	pthread_mutex_lock(&lock);
	bool first = troubles[which].until_ms <= now;
	troubles[which].until_ms = now + valid_ms;
	va_start(ap, fmt);
	vsnprintf(troubles[which].text, sizeof(troubles[which].text), fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&lock);
	return first;
}

bool trouble_over(enum trouble which)
{
	pthread_mutex_lock(&lock);
	bool held = troubles[which].until_ms > time_mono_ms();
	troubles[which].until_ms = 0;
	pthread_mutex_unlock(&lock);
	return held;
}

bool trouble_get(enum trouble which, struct buf *ret)
{
	pthread_mutex_lock(&lock);
	bool holds = troubles[which].until_ms > time_mono_ms();
	if (holds)
		buf_adds(ret, troubles[which].text);
	pthread_mutex_unlock(&lock);
	return holds;
}

const char *trouble_mend(int err)
{
	switch (err) {
	case ENOSPC:
	case EDQUOT:
		return "make room there";
	case EFBIG:
		return "raise the limit of a file's size (ulimit -f, LimitFSIZE=)";
	case EROFS:
		return "mount its file system for writing again";
	case EMFILE:
	case ENFILE:
		return "raise the limit of open files (ulimit -Hn, LimitNOFILE=)";
	case EAGAIN:
		return "raise the limit of processes (ulimit -u, LimitNPROC=, TasksMax=)";
	case ENOMEM:
		return "give the machine more memory";
	case EACCES:
	case EPERM:
	case ELOOP:
	case ENOTDIR:
	case EISDIR:
	case ENOTSOCK:
		return "look at its owner and mode, and what stands in its place";
	default:
		return "see the system's log";
	}
}
