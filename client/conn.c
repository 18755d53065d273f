#include "client/conn.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/paths.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/errors.h"
#include "proto/mp.h"
#include "proto/pack.h"
#include "proto/scan.h"

#define CONN_READ_BYTES (256u << 10)
#define CONN_LENT_MIN (64u << 10) /* params as long as this are not copied */

/* A frame put aside while a call waited for its reply. */
struct conn_kept {
	struct conn_kept *next;
	struct buf frame;
};

struct conn {
	int fd, signal_fd, input_fd;
	pid_t peer;
	uint32_t next_msgid, hello_msgid;
	int64_t call_ms; /* how long a call may take; negative: for ever */
	bool closed;
	struct buf in, out;
	size_t scanned;	   /* bytes of `in` the scanner has had, counted from `used` */
	size_t used;	   /* bytes of `in` that were frames handed out */
	size_t sent;	   /* bytes of `out` already written */
	struct slice lent; /* what is to follow `out`: its caller's, see conn_call */
	struct scan scan;
	struct conn_kept *kept, **kept_end;
	struct buf frame; /* the frame last handed out from `kept` */
};

static struct conn *conn_new(int fd)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	struct ucred peer;
	socklen_t len = sizeof(peer);
	c->fd = fd;
	c->signal_fd = c->input_fd = -1;
	c->call_ms = -1;
	c->kept_end = &c->kept;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		c->peer = peer.pid;
	fd_set_nonblock(fd, true);
	scan_init(&c->scan);
	return c;
}

struct conn *conn_free(struct conn *c)
{
	if (!c)
		return NULL;
	while (c->kept) {
		struct conn_kept *k = c->kept;
		c->kept = k->next;
		buf_done(&k->frame);
		free(k);
	}
	close(c->fd);
	buf_done(&c->in);
	buf_done(&c->out);
	buf_done(&c->frame);
	free(c);
	return NULL;
}

pid_t conn_peer_pid(const struct conn *c)
{
	return c->peer;
}

void conn_watch_signals(struct conn *c, int signal_fd)
{
	c->signal_fd = signal_fd;
}

void conn_watch_input(struct conn *c, int fd)
{
	c->input_fd = fd;
}

static int conn_answer(struct conn *c, uint32_t msgid, const char *method, int64_t ms,
		       struct buf *ret, struct err *e);

static void conn_hello(struct conn *c, const char *cwd)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kstr(&pk, "client", slice_str("batchctl"));
	pk_kint(&pk, "protocol", PROTOCOL_VERSION);
	if (cwd)
		pk_ktext(&pk, "cwd", slice_str(cwd));
	pk_end(&pk);
	c->hello_msgid = conn_send(c, "rpc.hello", buf_slice(&params));
}

int conn_connect(const char *socket, const char *cwd, int64_t ms, struct conn **ret)
{
	int fd = unix_connect_within(socket, SOCK_STREAM, ms);
	if (fd < 0)
		return fd;
	*ret = conn_new(fd);
	conn_hello(*ret, cwd);
	return 0;
}

int conn_greet(struct conn *c, int64_t ms, struct err *e)
{
	return conn_answer(c, c->hello_msgid, "rpc.hello", ms, NULL, e);
}

int conn_open(const char *socket, const char *cwd, struct conn **ret, struct err *e)
{
	return conn_open_within(socket, cwd, -1, ret, e);
}

int conn_open_within(const char *socket, const char *cwd, int64_t ms, struct conn **ret,
		     struct err *e)
{
	struct conn *c;
	int r = conn_connect(socket, cwd, ms, &c);
	if (r < 0)
		return r;
	c->call_ms = ms;
	r = conn_greet(c, ms, e);
	if (r != 0) {
		conn_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static void conn_queue(struct conn *c, const uint32_t *msgid, const char *method,
		       struct slice params)
{
	struct pk pk = PK_INIT(&c->out);
	pk_array(&pk);
	pk_int(&pk, msgid ? 0 : 2);
	if (msgid)
		pk_int(&pk, *msgid);
	pk_str(&pk, slice_str(method));
	pk_array(&pk);
	if (params.p)
		pk_raw(&pk, params);
	pk_end(&pk);
	pk_end(&pk);
}

uint32_t conn_send(struct conn *c, const char *method, struct slice params)
{
	uint32_t msgid = c->next_msgid++;
	conn_queue(c, &msgid, method, params);
	return msgid;
}

/* Long params are the last of a frame and are sent from where they are, until conn_take_lent. */
static uint32_t conn_lend(struct conn *c, const char *method, struct slice params)
{
	if (params.len < CONN_LENT_MIN)
		return conn_send(c, method, params);
	static const char nil[] = "\xc0";
	uint32_t msgid = conn_send(c, method, slice_of(nil, 1));
	c->out.len--;
	c->lent = params;
	return msgid;
}

/* What is left of them is copied: they are their caller's again. */
static void conn_take_lent(struct conn *c)
{
	buf_addslice(&c->out, c->lent);
	c->lent = SLICE_NONE;
}

void conn_notify(struct conn *c, const char *method, struct slice params)
{
	conn_queue(c, NULL, method, params);
}

int conn_fd(const struct conn *c)
{
	return c->fd;
}

bool conn_wants_write(const struct conn *c)
{
	return c->sent < c->out.len || c->lent.len > 0;
}

/* As much as the socket takes, stepping over it. */
static void conn_write(struct conn *c, struct slice *rest)
{
	while (rest->len > 0) {
		ssize_t n = send(c->fd, rest->p, rest->len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		/* What batchd said before it hung up is still to be read: reading finds the end. */
		size_t done = n < 0 ? rest->len : (size_t)n;
		*rest = slice_of(rest->p + done, rest->len - done);
	}
}

static void conn_flush(struct conn *c)
{
	if (c->sent < c->out.len) {
		struct slice rest = slice_of(c->out.p + c->sent, c->out.len - c->sent);
		conn_write(c, &rest);
		c->sent = c->out.len - rest.len;
	}
	if (c->sent < c->out.len)
		return;
	buf_clear(&c->out);
	c->sent = 0;
	conn_write(c, &c->lent);
}

static void conn_fill(struct conn *c)
{
	if (c->used) {
		buf_consume(&c->in, c->used);
		c->used = 0;
	}
	buf_reserve(&c->in, CONN_READ_BYTES);
	ssize_t n = recv(c->fd, c->in.p + c->in.len, CONN_READ_BYTES, 0);
	if (n > 0)
		c->in.len += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		c->closed = true;
}

/* The next whole frame among the bytes we have, or SLICE_NONE. */
static struct slice conn_cut(struct conn *c)
{
	size_t start = c->used, taken;
	size_t at = start + c->scanned;
	enum scan_result r = scan_feed(&c->scan, c->in.p + at, c->in.len - at, &taken);
	c->scanned += taken;
	if (r == SCAN_MORE)
		return SLICE_NONE;
	size_t len = c->scanned;
	c->scanned = 0;
	scan_init(&c->scan);
	if (r == SCAN_REFUSED) {
		c->closed = true;
		return SLICE_NONE;
	}
	c->used = start + len;
	return slice_of(c->in.p + start, len);
}

/* [0|1, "E_SYMBOL: text"]; anything else keeps what can be shown. */
static void conn_read_error(struct slice error, struct err *e)
{
	struct mp m = mp_of(error);
	struct mp_value v = mp_next(&m);
	struct slice text = SLICE_NONE;
	if (v.type == MP_ARRAY && v.count == 2) {
		mp_skip(&m);
		v = mp_next(&m);
	}
	if (v.type == MP_STR || v.type == MP_BIN)
		text = v.bytes;
	int sym = E_INTERNAL;
	for (int i = E_NONE + 1; i < E_SYMBOL_MAX; i++) {
		struct slice name = slice_str(err_symbol_name(i));
		if (text.len > name.len && text.p[name.len] == ':' &&
		    memcmp(text.p, name.p, name.len) == 0)
			sym = i;
	}
	err_set(e, sym, "%.*s", SLICE_FMT(text));
}

static bool conn_read_event(struct mp *m, struct conn_in *ret)
{
	struct mp_value method = mp_next(m);
	*ret = (struct conn_in){ .got = CONN_EVENT, .method = method.bytes, .args = mp_skip(m) };
	struct mp args = mp_of(ret->args);
	struct mp_value v = mp_next(&args);
	if (v.type == MP_ARRAY && v.count == 1 && mp_peek(&args) == MP_MAP)
		ret->body = mp_skip(&args);
	return method.type == MP_STR && v.type == MP_ARRAY;
}

/* What a frame says; false for what is neither reply nor event. */
static bool conn_read(struct slice frame, struct conn_in *ret)
{
	struct mp m = mp_of(frame);
	struct mp_value v = mp_next(&m);
	uint32_t count = v.type == MP_ARRAY ? v.count : 0;
	struct mp_value kind = mp_next(&m);
	if (kind.type != MP_INT)
		return false;
	if (kind.i == 1 && count == 4) {
		struct mp_value id = mp_next(&m);
		struct slice error = mp_skip(&m);
		struct mp peek = mp_of(error);
		*ret = (struct conn_in){ .got = CONN_REPLY, .msgid = (uint32_t)id.i };
		ret->failed = mp_peek(&peek) != MP_NIL;
		if (ret->failed)
			conn_read_error(error, &ret->error);
		ret->body = mp_skip(&m);
		return id.type == MP_INT;
	}
	return kind.i == 2 && count == 3 && conn_read_event(&m, ret);
}

static bool conn_signalled(struct conn *c, struct conn_in *ret)
{
	struct signalfd_siginfo info;
	if (c->signal_fd < 0 || read(c->signal_fd, &info, sizeof(info)) != sizeof(info))
		return false;
	*ret = (struct conn_in){ .got = CONN_SIGNAL, .signal = (int)info.ssi_signo };
	return true;
}

/* Waits for the socket or, where asked for, a signal or input. 1: one of these came; 0: look at the
 * socket again; -1: the deadline passed. */
static int conn_poll(struct conn *c, int64_t deadline_ms, bool signals, struct conn_in *ret)
{
	struct pollfd fds[] = {
		{ .fd = c->fd, .events = (short)(POLLIN | (conn_wants_write(c) ? POLLOUT : 0)) },
		{ .fd = signals ? c->signal_fd : -1, .events = POLLIN },
		{ .fd = signals ? c->input_fd : -1, .events = POLLIN },
	};
	int64_t left = deadline_ms < 0 ? -1 : MAX2(deadline_ms - time_mono_ms(), 0);
	int n = poll(fds, ARRAY_SIZE(fds), left > INT32_MAX ? INT32_MAX : (int)left);
	if (n == 0 && left >= 0 && left <= INT32_MAX)
		return -1;
	if (n > 0 && (fds[1].revents & POLLIN) && conn_signalled(c, ret))
		return 1;
	if (n > 0 && fds[2].revents) {
		*ret = (struct conn_in){ .got = CONN_INPUT };
		return 1;
	}
	if (n > 0 && (fds[0].revents & POLLOUT))
		conn_flush(c);
	if (n > 0 && (fds[0].revents & (POLLIN | POLLHUP | POLLERR)))
		conn_fill(c);
	return 0;
}

/* The next frame from the socket, past any kept ones. */
static enum conn_got conn_receive(struct conn *c, int64_t deadline_ms, bool signals,
				  struct conn_in *ret)
{
	conn_flush(c);
	for (;;) {
		struct slice frame = conn_cut(c);
		if (frame.p && conn_read(frame, ret))
			return ret->got;
		if (frame.p)
			continue;
		if (c->closed)
			return (*ret = (struct conn_in){ .got = CONN_CLOSED }).got;
		int r = conn_poll(c, deadline_ms, signals, ret);
		if (r > 0)
			return ret->got;
		if (r < 0)
			return (*ret = (struct conn_in){ .got = CONN_TIMEOUT }).got;
	}
}

enum conn_got conn_next(struct conn *c, int64_t deadline_ms, struct conn_in *ret)
{
	struct conn_kept *k = c->kept;
	if (!k)
		return conn_receive(c, deadline_ms, true, ret);
	buf_done(&c->frame);
	c->frame = k->frame;
	c->kept = k->next;
	if (!c->kept)
		c->kept_end = &c->kept;
	free(k);
	conn_read(buf_slice(&c->frame), ret);
	return ret->got;
}

/* Keeps an event for conn_next: packed again as the frame it came in. */
static void conn_keep(struct conn *c, const struct conn_in *event)
{
	struct conn_kept *k = xcalloc(1, sizeof(*k));
	struct pk pk = PK_INIT(&k->frame);
	pk_array(&pk);
	pk_int(&pk, 2);
	pk_str(&pk, event->method);
	pk_raw(&pk, event->args);
	pk_end(&pk);
	*c->kept_end = k;
	c->kept_end = &k->next;
}

static int conn_answer(struct conn *c, uint32_t msgid, const char *method, int64_t ms,
		       struct buf *ret, struct err *e)
{
	int64_t deadline = ms < 0 ? -1 : time_mono_ms() + ms;
	struct conn_in in;
	for (;;) {
		enum conn_got got = conn_receive(c, deadline, false, &in);
		if (got == CONN_EVENT)
			conn_keep(c, &in);
		if (got == CONN_TIMEOUT) {
			err_set(e, E_INTERNAL, "batchd did not answer '%s' in time", method);
			return -ETIMEDOUT;
		}
		if (got == CONN_CLOSED) {
			err_set(e, E_INTERNAL, "batchd went away while '%s' was under way", method);
			return -ECONNRESET;
		}
		if (got == CONN_REPLY && in.msgid == msgid)
			break;
	}
	if (in.failed) {
		*e = in.error;
		return 1;
	}
	if (ret) {
		buf_clear(ret);
		buf_addslice(ret, in.body);
	}
	return 0;
}

int conn_call(struct conn *c, const char *method, struct slice params, struct buf *ret,
	      struct err *e)
{
	int r = conn_answer(c, conn_lend(c, method, params), method, c->call_ms, ret, e);
	conn_take_lent(c);
	return r;
}
