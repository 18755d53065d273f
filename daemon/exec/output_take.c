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
static int take_copy(struct pump *p, struct output_fd *f)
{
	int there;
	if (ioctl(f->fd, FIONREAD, &there) < 0)
		there = sizeof(p->block);
	size_t len = MIN2((size_t)MAX2(there, 1), sizeof(p->block)); /* 1: is it at its end? */
	int r = there > 0 ? take_make_room(f, &len) : 0;
	if (r < 0)
		return r;
	ssize_t n = read(f->fd, p->block, len);
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

static int take_splice(struct pump *p, struct output_fd *f, int64_t len)
{
	struct output_attempt *a = f->attempt;
	int64_t now = time_wall_ms();
	while (len > 0) {
		struct runlog_room room;
		int r = runlog_reserve(a->run->writer, &a->log, f->stream, len, now, &room);
		if (r < 0)
			return r;
		loff_t off = room.off;
		ssize_t n = splice(f->fd, NULL, room.fd, &off, (size_t)room.len,
				   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		r = n < 0 ? -errno : 0;
		runlog_wrote(a->run->writer, &a->log, MAX2(n, 0));
		if (r == -EINVAL) {
			f->copy = true;
			return take_copy(p, f);
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

int output_take(struct pump *p, struct output_fd *f)
{
	int r = take_held(f);
	if (r < 0)
		return r;
	if (f->attempt->skip > 0 && f->stream == STREAM_STDOUT)
		return take_skip(p, f);
	if (f->copy)
		return take_copy(p, f);
	int len = 0;
	if (ioctl(f->fd, FIONREAD, &len) < 0) {
		f->copy = true;
		return take_copy(p, f);
	}
	if (len >= TAKE_MUCH_BYTES && !f->widened)
		take_widen(f);
	return take_splice(p, f, len);
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
