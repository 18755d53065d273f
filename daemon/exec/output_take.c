/*
 * From a pipe to the log.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/exec/output_pump.h"

/* An ordinary pipe holds 64 KiB; more than 1 MiB only root may ask for (pipe(7)). */
enum { TAKE_MUCH_BYTES = 32 << 10, TAKE_WIDE_BYTES = 1 << 20 };
/*
 * From so many bytes on at a time it is cheaper to hand them to the disk than to the page cache,
 * which copies them: in the stage, where nobody waits for that, and in the op's own pipe, which it
 * cannot write to meanwhile. */
enum { TAKE_DIRECT_STAGED_BYTES = 64 << 10, TAKE_DIRECT_BYTES = 256 << 10 };
/* A disk that takes longer than that for them is slow, and the op better off with the page cache.
 */
enum { TAKE_SLOW_MS = 3, TAKE_SLOW_BYTES_A_MS = 512 << 10 };
/* So often it is not tried again where it was refused or slow; doubled each time. */
enum { TAKE_REST_MIN = 8, TAKE_REST_MAX = 64 };

/* Bytes that are in our memory already; what cannot be written is held back. */
static int take_store(struct output_fd *f, const char *p, size_t len)
{
	struct output_attempt *a = f->attempt;
	int r = 0;
	while (len > 0) {
		struct runlog_room room;
		r = runlog_reserve(a->run->writer, &a->log, f->stream, (int64_t)len, time_wall_ms(),
				   &room);
		if (r < 0)
			break;
		ssize_t n = pwrite(room.fd, p, (size_t)room.len, room.off);
		r = n < 0 && errno != EINTR ? -errno : 0;
		runlog_wrote(a->run->writer, &a->log, MAX2(n, 0));
		if (r < 0)
			break;
		p += MAX2(n, 0);
		len -= (size_t)MAX2(n, 0);
	}
	if (len == 0)
		return 0;
	f->held = xmalloc(len);
	memcpy(f->held, p, len);
	f->held_len = len;
	return r;
}

static int take_held(struct output_fd *f)
{
	_cleanup_free_ char *held = TAKE_PTR(f->held);
	return held ? take_store(f, held, f->held_len) : 0;
}

/* So many bytes find room in the log (fewer: len), or -errno. */
static int take_make_room(struct output_fd *f, size_t *len)
{
	struct output_attempt *a = f->attempt;
	struct runlog_room room;
	int r = runlog_reserve(a->run->writer, &a->log, f->stream, (int64_t)*len, time_wall_ms(),
			       &room);
	if (r < 0)
		return r;
	*len = (size_t)room.len;
	if (fallocate(room.fd, FALLOC_FL_KEEP_SIZE, room.off, room.len) < 0 && errno != EOPNOTSUPP)
		r = -errno;
	runlog_wrote(a->run->writer, &a->log, 0);
	return r;
}

/*
 * By way of our memory, what one read gives; there must be something. Once read it is nowhere else,
 * should we be killed: while the log takes nothing it stays where it is. A pty whose other side is
 * gone says EIO.
 */
static int take_copy(struct pump *p, struct output_fd *f, int fd)
{
	int there;
	if (ioctl(fd, FIONREAD, &there) < 0)
		there = sizeof(p->block);
	size_t len = MIN2((size_t)MAX2(there, 1), sizeof(p->block)); /* 1: is it at its end? */
	int r = there > 0 ? take_make_room(f, &len) : 0;
	if (r < 0)
		return r;
	ssize_t n = read(fd, p->block, len);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : 1;
	return n == 0 ? 1 : take_store(f, p->block, (size_t)n);
}

/* A pipe that is found full becomes as large as an ordinary user may have it, where the kernel
 * lets us: who prints much then waits less, and is waited for less often. */
static void take_widen(struct output_fd *f)
{
	f->widened = true;
	if (fcntl(f->fd, F_SETPIPE_SZ, TAKE_WIDE_BYTES) < 0)
		errno = 0; /* it stays as it is */
}

static ssize_t take_into(struct output_attempt *a, int fd, const struct runlog_room *room)
{
	loff_t off = room->off;
	ssize_t n = splice(fd, NULL, room->fd, &off, (size_t)room->len,
			   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	int r = n < 0 ? -errno : 0;
	runlog_wrote(a->run->writer, &a->log, MAX2(n, 0));
	return r < 0 ? r : n;
}

static void take_rest_of_direct(struct output_fd *f)
{
	f->direct_rest = f->direct_pause =
		MIN2(MAX2(2 * f->direct_pause, TAKE_REST_MIN), TAKE_REST_MAX);
}

/*
 * What the pipe holds, pages and all, to the disk at once. So many bytes, or 0: not this time. The
 * file system refuses pages that are not full, and then nothing has left the pipe; all else that
 * may be wrong is met once more, and told, by the way through the page cache.
 */
static ssize_t take_direct(struct output_fd *f, int fd, int64_t len, int64_t now)
{
	struct output_attempt *a = f->attempt;
	int64_t least = fd == f->fd ? TAKE_DIRECT_BYTES : TAKE_DIRECT_STAGED_BYTES;
	struct runlog_room room;
	if (len < least || len % RUNLOG_BLOCK != 0)
		return 0;
	if (f->direct_rest > 0) {
		f->direct_rest--;
		return 0;
	}
	if (runlog_reserve_direct(a->run->writer, &a->log, f->stream, len, now, &room) != 0)
		return 0;
	int64_t begin = time_mono_ms();
	ssize_t n = take_into(a, fd, &room);
	if (n <= 0 || time_mono_ms() - begin > TAKE_SLOW_MS + n / TAKE_SLOW_BYTES_A_MS)
		take_rest_of_direct(f);
	else
		f->direct_pause = 0;
	return MAX2(n, 0);
}

/* `len` bytes that are in the pipe `fd`, into the log. */
static int take_splice(struct pump *p, struct output_fd *f, int fd, int64_t len)
{
	struct output_attempt *a = f->attempt;
	int64_t now = time_wall_ms();
	len -= take_direct(f, fd, len, now);
	while (len > 0) {
		struct runlog_room room;
		int r = runlog_reserve(a->run->writer, &a->log, f->stream, len, now, &room);
		if (r < 0)
			return r;
		ssize_t n = take_into(a, fd, &room);
		r = (int)MIN2(n, 0);
		if (r == -EINVAL) {
			f->copy = true;
			return take_copy(p, f, fd);
		}
		/* EAGAIN too: what FIONREAD counted is there and only we read it, so it is the log
		 * that cannot take it now. As "nothing there" it would be lost at the pipe's end.
		 */
		if (r < 0 && r != -EINTR)
			return r == -EAGAIN ? -EIO : r;
		if (n == 0)
			return 1;
		len -= MAX2(n, 0);
	}
	return 0;
}

/* Bytes the log has from an earlier life. */
static int take_skip(struct pump *p, struct output_fd *f)
{
	struct output_attempt *a = f->attempt;
	ssize_t n = read(f->fd, p->block, (size_t)MIN2(a->skip, (int64_t)sizeof(p->block)));
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : 1;
	a->skip -= n;
	return n == 0;
}

int output_take_stage(struct pump *p, struct output_attempt *a)
{
	struct output_fd *f = &a->fds[STAGE_STREAM];
	int r = 0, len = 0;
	while (r == 0 && a->stage.out >= 0 && ioctl(a->stage.out, FIONREAD, &len) == 0 && len > 0) {
		r = take_held(f);
		if (r == 0)
			r = f->copy ? take_copy(p, f, a->stage.out)
				    : take_splice(p, f, a->stage.out, len);
	}
	return MIN2(r, 0);
}

/* *len: how much of that is left, which does not go by the stage. 0 or -errno. */
static int take_staged(struct pump *p, struct output_fd *f, int *len)
{
	struct output_attempt *a = f->attempt;
	int r = 0, n = 0;
	while (r == 0 && *len > 0 && (n = stage_fill(a, f->fd, *len)) > 0) {
		*len -= n;
		r = output_take_stage(p, a);
	}
	return r;
}

int output_take(struct pump *p, struct output_fd *f)
{
	int r = take_held(f);
	if (r < 0)
		return r;
	if (f->attempt->skip > 0 && f->stream == STREAM_STDOUT)
		return take_skip(p, f);
	if (f->copy)
		return take_copy(p, f, f->fd);
	int len = 0;
	if (ioctl(f->fd, FIONREAD, &len) < 0) {
		f->copy = true;
		return take_copy(p, f, f->fd);
	}
	if (len >= TAKE_MUCH_BYTES && !f->widened)
		take_widen(f);
	if (len >= TAKE_MUCH_BYTES && stage_is_for(f))
		r = take_staged(p, f, &len);
	return r < 0 ? r : take_splice(p, f, f->fd, len);
}

/* What poll says of it (0: nothing now), or -errno. */
static int take_poll(const struct output_fd *f)
{
	struct pollfd ready = { .fd = f->fd, .events = POLLIN };
	int r = f->held ? POLLIN : 0;
	while (r == 0 && poll(&ready, 1, 0) < 0)
		if (errno != EINTR)
			r = -errno;
	return r != 0 ? r : ready.revents;
}

int output_take_rest(struct pump *p, struct output_fd *f)
{
	/* What came before the call fits into the pipe; who goes on writing does not keep us here.
	 */
	int64_t before = f->attempt->log.pos;
	do {
		int ready = take_poll(f);
		if (ready <= 0)
			return ready;
		int r = output_take(p, f);
		if (r != 0)
			return r;
		if (!(ready & POLLIN))
			return 1;
	} while ((f->copy || f->attempt->skip > 0) &&
		 f->attempt->log.pos - before < 16 * PUMP_BLOCK_BYTES);
	return 0;
}
