#include "daemon/exec/output_stage.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/timeutil.h"
#include "daemon/exec/output_pump.h"

/* Who prints so much in that time is as fast as a disk. */
enum { STAGE_FAST_MS = 20, STAGE_FAST_BYTES = 6 << 20 };
/* One that is smaller would be waited for as often as it is worth. */
enum { STAGE_LEAST_BYTES = 256 << 10 };
/* A pump has no more of them: several fast ops keep each other's disk busy, and what all pipes of a
 * user may hold is limited (pipe(7)). */
enum { STAGES_MAX = 4 };

static bool stage_make(struct output_attempt *a)
{
	struct pump *p = a->run->pump;
	int size = fcntl(a->fds[STAGE_STREAM].fd, F_GETPIPE_SZ);
	int ends[2];
	if (size < STAGE_LEAST_BYTES || pipe2(ends, O_CLOEXEC) < 0)
		return false;
	if (fcntl(ends[1], F_SETPIPE_SZ, size) < size) {
		close(ends[0]);
		close(ends[1]);
		return false;
	}
	p->n_stages++;
	pthread_mutex_lock(&p->close_lock);
	a->stage.out = ends[0];
	a->stage.in = ends[1];
	pthread_mutex_unlock(&p->close_lock);
	return true;
}

bool stage_wanted(struct output_attempt *a, int64_t bytes)
{
	struct output_stage *s = &a->stage;
	const struct output_fd *f = &a->fds[STAGE_STREAM];
	if (s->asked || f->fd < 0 || a->again || a->finishing || f->copy || !f->widened)
		return false;
	int64_t now = time_mono_ms();
	if (now - s->since_ms > STAGE_FAST_MS) {
		s->since_ms = now;
		s->lately = 0;
	}
	s->lately += bytes;
	if (s->lately < STAGE_FAST_BYTES || a->run->pump->n_stages >= STAGES_MAX)
		return false;
	s->asked = true;
	stage_close(a); /* what an earlier life left is empty by now */
	return stage_make(a);
}

bool stage_is_for(const struct output_fd *f)
{
	const struct output_attempt *a = f->attempt;
	return f == &a->fds[STAGE_STREAM] && a->stage.in >= 0 &&
	       atomic_load_explicit(&a->stage.kept, memory_order_acquire);
}

int stage_fill(struct output_attempt *a, int fd, int len)
{
	ssize_t n =
		splice(fd, NULL, a->stage.in, NULL, (size_t)len, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	return (int)MAX2(n, 0);
}

void stage_close(struct output_attempt *a)
{
	struct output_stage *s = &a->stage;
	struct pump *p = a->run->pump;
	if (s->out < 0)
		return;
	pthread_mutex_lock(&p->close_lock);
	close(s->out);
	if (s->in >= 0) {
		close(s->in);
		p->n_stages--;
	}
	s->in = s->out = -1;
	pthread_mutex_unlock(&p->close_lock);
}
