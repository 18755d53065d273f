#include "common/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int streams_pipe(struct streams *s, int i)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	s->ours[i] = p[0];
	s->theirs[i] = p[1];
	return 0;
}

static int streams_terminal(struct streams *s)
{
	s->ours[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->ours[0] < 0 || grantpt(s->ours[0]) < 0 || unlockpt(s->ours[0]) < 0)
		return -errno;
	s->theirs[0] = ioctl(s->ours[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return s->theirs[0] < 0 ? -errno : 0;
}

int streams_make(bool terminal, struct streams *ret)
{
	struct streams s = STREAMS_NONE;
	int r = terminal ? streams_terminal(&s) : streams_pipe(&s, 0);
	if (r == 0 && !terminal)
		r = streams_pipe(&s, 1);
	if (r < 0)
		streams_done(&s);
	*ret = s;
	return r;
}

void streams_done(struct streams *s)
{
	for (int i = 0; i < 2; i++) {
		cleanup_closep(&s->ours[i]);
		cleanup_closep(&s->theirs[i]);
	}
	*s = STREAMS_NONE;
}
