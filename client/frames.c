#include "client/frames.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/text.h"
#include "proto/errors.h"
#include "proto/limits.h"

#define FRAMES_READ_BYTES (64u << 10)
#define FRAMES_HEADER_BYTES 4096 /* one line of a header */

void frames_init(struct frames *f, enum framing framing)
{
	*f = (struct frames){ .framing = framing, .length = -1 };
}

void frames_done(struct frames *f)
{
	buf_done(&f->in);
	buf_done(&f->out);
}

size_t frames_backlog(const struct frames *f)
{
	return f->out.len - f->sent;
}

void frames_poll(const struct frames *f, bool reading, struct pollfd fds[2])
{
	bool reads = reading && !f->eof && !f->broken;
	fds[0] = (struct pollfd){ .fd = reads ? STDIN_FILENO : -1, .events = POLLIN };
	/* Without events as well: that nobody reads any more is told unasked. */
	fds[1] = (struct pollfd){ .fd = f->gone ? -1 : STDOUT_FILENO,
				  .events = frames_backlog(f) ? POLLOUT : 0 };
}

static void frames_fill(struct frames *f)
{
	buf_consume(&f->in, f->used);
	f->used = 0;
	buf_reserve(&f->in, FRAMES_READ_BYTES);
	ssize_t n = read(STDIN_FILENO, f->in.p + f->in.len, FRAMES_READ_BYTES);
	if (n > 0)
		f->in.len += (size_t)n;
	else if (n == 0 || (errno != EINTR && errno != EAGAIN))
		f->eof = true;
}

/* A pipe that poll(2) calls writable takes PIPE_BUF bytes; a socket can be told not to wait. */
static ssize_t frames_write_some(const char *p, size_t len)
{
	ssize_t n = send(STDOUT_FILENO, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == ENOTSOCK)
		n = write(STDOUT_FILENO, p, MIN2(len, PIPE_BUF));
	return n;
}

static void frames_flush(struct frames *f)
{
	ssize_t n = frames_write_some(f->out.p + f->sent, frames_backlog(f));
	if (n > 0)
		f->sent += (size_t)n;
	else if (n < 0 && errno != EINTR && errno != EAGAIN)
		f->gone = true;
	if (f->sent == f->out.len) {
		buf_clear(&f->out);
		f->sent = 0;
	}
}

void frames_ready(struct frames *f, const struct pollfd fds[2])
{
	if (fds[0].fd >= 0 && fds[0].revents)
		frames_fill(f);
	if (fds[1].revents & (POLLERR | POLLNVAL))
		f->gone = true;
	else if ((fds[1].revents & (POLLOUT | POLLHUP)) && frames_backlog(f))
		frames_flush(f);
}

static struct slice frames_left(const struct frames *f)
{
	return slice_of(f->in.p + f->used, f->in.len - f->used);
}

static enum frames_got frames_refuse(struct frames *f, bool broken, struct err *e, int sym,
				     const char *why)
{
	f->broken |= broken;
	err_set(e, sym, "%s", why);
	return FRAMES_REFUSED;
}

/* The next line without its end; the last one may lack it. */
static bool frames_line(struct frames *f, struct slice *ret)
{
	struct slice left = frames_left(f);
	const char *end =
		left.len > f->seen ? memchr(left.p + f->seen, '\n', left.len - f->seen) : NULL;
	if (!end && !(f->eof && left.len)) {
		f->seen = left.len;
		return false;
	}
	size_t len = end ? (size_t)(end - left.p) : left.len;
	f->used += len + (end != NULL);
	f->seen = 0;
	*ret = slice_of(left.p, len - (len && left.p[len - 1] == '\r'));
	return true;
}

static bool frames_is_blank(struct slice line)
{
	for (size_t i = 0; i < line.len; i++)
		if (line.p[i] != ' ' && line.p[i] != '\t')
			return false;
	return true;
}

static enum frames_got frames_next_line(struct frames *f, struct slice *ret, struct err *e)
{
	struct slice line;
	while (frames_line(f, &line)) {
		bool rest = f->skip_line;
		f->skip_line = false;
		if (rest || frames_is_blank(line))
			continue;
		*ret = line;
		return FRAMES_ONE;
	}
	if (f->seen <= LIMIT_FRAME_BYTES)
		return FRAMES_NONE;
	bool told = f->skip_line;
	f->used += f->seen;
	f->seen = 0;
	f->skip_line = true;
	return told ? FRAMES_NONE
		    : frames_refuse(f, false, e, E_LIMIT, "a message has at most 64 MiB");
}

/* One line of a header: only the length of the body matters. */
static enum frames_got frames_header(struct frames *f, struct slice line, struct err *e)
{
	static const char name[] = "content-length:";
	size_t n = sizeof(name) - 1;
	size_t named = 0;
	while (named < line.len && (isalnum((unsigned char)line.p[named]) || line.p[named] == '-'))
		named++;
	if (named == 0 || named == line.len || line.p[named] != ':')
		return frames_refuse(f, true, e, E_PARAMS,
				     "not a header: a message begins with 'Content-Length: BYTES' "
				     "and an empty line");
	if (line.len < n || strncasecmp(line.p, name, n) != 0)
		return FRAMES_NONE;
	while (n < line.len && (line.p[n] == ' ' || line.p[n] == '\t'))
		n++;
	if (!parse_int(slice_of(line.p + n, line.len - n), 0, LIMIT_INT, &f->length))
		return frames_refuse(f, true, e, E_PARAMS,
				     "Content-Length is not a number of bytes");
	return FRAMES_NONE;
}

/* Reads header lines up to the empty one. ONE: the body begins here. */
static enum frames_got frames_headers(struct frames *f, struct err *e)
{
	struct slice line;
	while (frames_line(f, &line)) {
		if (line.len == 0 && f->length >= 0)
			return FRAMES_ONE;
		enum frames_got got = line.len ? frames_header(f, line, e) : FRAMES_NONE;
		if (got != FRAMES_NONE)
			return got;
	}
	if (f->seen > FRAMES_HEADER_BYTES)
		return frames_refuse(f, true, e, E_LIMIT,
				     "a line of a header has at most 4096 bytes");
	return FRAMES_NONE;
}

/* A body that is too long is passed over as it comes. */
static enum frames_got frames_body(struct frames *f, struct slice *ret, struct err *e)
{
	size_t len = (size_t)f->length, here = frames_left(f).len;
	if (len <= LIMIT_FRAME_BYTES && here < len)
		return FRAMES_NONE;
	f->in_body = false;
	f->length = -1;
	*ret = slice_of(f->in.p + f->used, len);
	f->used += MIN2(len, here);
	f->skip = len - MIN2(len, here);
	return len <= LIMIT_FRAME_BYTES
		       ? FRAMES_ONE
		       : frames_refuse(f, false, e, E_LIMIT, "a message has at most 64 MiB");
}

static enum frames_got frames_next_lsp(struct frames *f, struct slice *ret, struct err *e)
{
	size_t pass = MIN2(f->skip, frames_left(f).len);
	f->used += pass;
	f->skip -= pass;
	if (f->skip)
		return FRAMES_NONE;
	enum frames_got got = f->in_body ? FRAMES_ONE : frames_headers(f, e);
	f->in_body = got == FRAMES_ONE;
	return f->in_body ? frames_body(f, ret, e) : got;
}

enum frames_got frames_next(struct frames *f, struct slice *ret, struct err *e)
{
	if (f->broken)
		return FRAMES_NONE;
	return f->framing == FRAMING_LSP ? frames_next_lsp(f, ret, e) : frames_next_line(f, ret, e);
}

void frames_put(struct frames *f, struct slice json)
{
	if (f->framing == FRAMING_LSP)
		buf_addf(&f->out, "Content-Length: %zu\r\n\r\n", json.len);
	buf_addslice(&f->out, json);
	if (f->framing == FRAMING_NDJSON)
		buf_addc(&f->out, '\n');
}
