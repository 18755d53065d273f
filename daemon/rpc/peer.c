#include "daemon/rpc/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "common/xalloc.h"
#include "proto/scan.h"

#define PRIORITY_CLIENTS 1
#define WRITE_BYTES (256 << 10)	   /* handed to one writev */
#define SHARED_MIN_BYTES 512	   /* smaller ones are cheaper copied */
#define LONG_FRAME_BYTES (1 << 20) /* see peer_reserve */
#define KEPT_IN_BYTES 4096	   /* an empty buffer above this is given back */

struct peer {
	struct peer_hub *hub;
	struct list list; /* hub->peers or hub->dead */
	void *user;
	int fd;
	struct event *ev_read, *ev_write, *ev_more;
	struct event *ev_gone; /* after a half close: the other half; NULL: not needed */
	int gone_fd; /* ours again, since epoll knows edge and level for different descriptors only
		      */
	struct buf in;	/* from the first byte of the frame at hand */
	size_t in_used; /* bytes of it that ever held something: what it takes of memory */
	size_t scanned; /* bytes of `in` that the scanner has seen */
	size_t proved;	/* length of the frame at the beginning of `in` when it is whole, else 0 */
	struct scan scan;
	struct evbuffer *out;
	uint64_t queued, written;
	uint64_t answered; /* where in `queued` the last answer ends: events alone keep no frame out
			    */
	size_t owed;	   /* bytes that wait elsewhere until they may be queued */
	size_t charged;	   /* what hub->held has of us */
	int must_read_s;
	bool reading; /* ev_read is pending */
	bool write_armed, put_off, eof, dead;
	bool deaf; /* the kernel would not watch it: closed as soon as may be */
};

/* Bytes as they are looked at: the peer's own buffer, or what was just read when that is empty. */
struct input {
	const char *p;
	size_t len;
	size_t start; /* of the frame at hand */
	size_t at;    /* how far the scanner has come */
};

static const char no_memory[] = "there is no memory for its frame";

static void on_read(evutil_socket_t fd, short what, void *arg);
static void on_write(evutil_socket_t fd, short what, void *arg);
static void on_more(evutil_socket_t fd, short what, void *arg);

/* --- hub --- */

static void peer_free(struct peer *p)
{
	list_del(&p->list);
	event_free(p->ev_read);
	event_free(p->ev_write);
	event_free(p->ev_more);
	if (p->ev_gone)
		event_free(p->ev_gone);
	evbuffer_free(p->out);
	buf_done(&p->in);
	free(p);
}

/* All peers together hold too much: the largest goes. */
static void hub_shed(struct peer_hub *hub)
{
	struct peer *largest = NULL;
	list_for (&hub->peers, node) {
		struct peer *p = list_entry(node, struct peer, list);
		if (!largest || p->charged > largest->charged)
			largest = p;
	}
	if (largest)
		peer_close(largest,
			   "all connections together hold too many bytes, and this one the most");
}

/* Closing others and freeing happens here, between turns, so that nobody loses what he stands on.
 */
static void on_reap(evutil_socket_t fd, short what, void *arg)
{
	struct peer_hub *hub = arg;
	(void)fd;
	(void)what;
	while (hub->held > PEER_HELD_MAX_BYTES && !list_empty(&hub->peers))
		hub_shed(hub);
	list_for_safe (&hub->dead, node)
		peer_free(list_entry(node, struct peer, list));
}

void peer_hub_init(struct peer_hub *hub)
{
	list_init(&hub->peers);
	list_init(&hub->dead);
	hub->held = 0;
	hub->scratch = xmalloc(PEER_READ_BYTES);
	hub->reaper = evtimer_new(hub->base, on_reap, hub);
}

void peer_hub_done(struct peer_hub *hub)
{
	list_for_safe (&hub->peers, node) {
		struct peer *p = list_entry(node, struct peer, list);
		while (evbuffer_get_length(p->out) > 0 && evbuffer_write(p->out, p->fd) > 0)
			;
		peer_close(p, NULL);
	}
	on_reap(-1, 0, hub);
	event_free(hub->reaper);
	free(hub->scratch);
}

/* Once: to add a timer that is due takes it off the list of what is run next, and while peers are
 * busy it would never come to its turn. */
static void hub_reap_soon(struct peer_hub *hub)
{
	struct timeval now = { 0, 0 };
	if (!evtimer_pending(hub->reaper, NULL))
		event_add(hub->reaper, &now);
}

static void peer_charge(struct peer *p)
{
	struct peer_hub *hub = p->hub;
	p->in_used = p->in.cap ? MAX2(p->in_used, p->in.len) : 0;
	size_t now = p->in_used + evbuffer_get_length(p->out) + p->owed;
	hub->held = hub->held - p->charged + now;
	p->charged = now;
	if (hub->held > PEER_HELD_MAX_BYTES)
		hub_reap_soon(hub);
}

/* --- life --- */

static void peer_more_soon(struct peer *p)
{
	struct timeval now = { 0, 0 };
	event_add(p->ev_more, &now);
}

static void peer_watch(struct peer *p, struct event *ev, const struct timeval *timeout)
{
	if (event_add(ev, timeout) == 0)
		return;
	p->deaf = true;
	peer_more_soon(p);
}

struct peer *peer_new(struct peer_hub *hub, int fd, void *user)
{
	struct peer *p = xcalloc(1, sizeof(*p));
	p->hub = hub;
	p->fd = fd;
	p->user = user;
	scan_init(&p->scan);
	p->scan.max_bytes = hub->max_frame;
	p->out = evbuffer_new();
	p->ev_read = event_new(hub->base, fd, EV_READ | EV_PERSIST, on_read, p);
	p->ev_write = event_new(hub->base, fd, EV_WRITE, on_write, p);
	p->ev_more = evtimer_new(hub->base, on_more, p);
	event_priority_set(p->ev_read, PRIORITY_CLIENTS);
	event_priority_set(p->ev_write, PRIORITY_CLIENTS);
	event_priority_set(p->ev_more, PRIORITY_CLIENTS);
	list_add_tail(&hub->peers, &p->list);
	peer_watch(p, p->ev_read, NULL);
	p->reading = true;
	return p;
}

void peer_close(struct peer *p, const char *why)
{
	if (p->dead)
		return;
	p->dead = true;
	if (why && evbuffer_get_length(p->out) > 0)
		evbuffer_write(p->out, p->fd); /* what was answered before it went wrong */
	event_del(p->ev_read);
	event_del(p->ev_write);
	event_del(p->ev_more);
	if (p->ev_gone)
		event_del(p->ev_gone);
	list_del(&p->list);
	list_add_tail(&p->hub->dead, &p->list);
	p->hub->held -= p->charged;
	p->charged = 0;
	hub_reap_soon(p->hub);
	p->hub->closed(p->user, why); /* who sees the end finds it in the log */
	if (p->ev_gone)
		close(p->gone_fd);
	close(p->fd);
	p->fd = -1;
}

/* --- in --- */

/* Not too much of what it asked for waits to be read by it. What it only follows does not count: it
 * may come faster than it is read, and then no frame would ever be taken. */
static bool peer_has_room(const struct peer *p)
{
	size_t unread = p->written < p->answered ? evbuffer_get_length(p->out) : 0;
	return unread + p->owed <= PEER_BACKLOG_BYTES;
}

/* Frames may be taken, and none was put off. */
static bool peer_open(const struct peer *p)
{
	return !p->dead && !p->put_off && !p->hub->quiet && peer_has_room(p);
}

/*
 * Reading goes on while frames may be taken. Within a frame there is a deadline; between frames
 * there is none. A peer that sends while we hold a frame of its for later is left in its socket's
 * buffer.
 */
static void peer_arm_read(struct peer *p)
{
	static const struct timeval idle = { PEER_HALF_FRAME_S, 0 };
	if (p->dead)
		return;
	if (p->eof || p->proved || !peer_open(p)) {
		if (p->reading)
			event_del(p->ev_read);
		p->reading = false;
		return;
	}
	peer_watch(p, p->ev_read, p->in.len ? &idle : NULL);
	if (!p->in.len)
		event_remove_timer(p->ev_read);
	p->reading = true;
}

/* A whole frame stands at in->start. A large one is offered at the beginning of the peer's own
 * buffer, where it can stay. False: stop here. */
static bool peer_offer(struct peer *p, struct input *in, unsigned *budget)
{
	const char *why = NULL;
	if (!peer_open(p))
		return false;
	if (*budget == 0 || (p->proved > PEER_LARGE_BYTES && in->start > 0)) {
		peer_more_soon(p);
		return false;
	}
	--*budget;
	switch (p->hub->frame(p->user, slice_of(in->p + in->start, p->proved), &why)) {
	case PEER_TAKEN:
		in->start += p->proved;
		p->proved = 0;
		return !p->dead;
	case PEER_LATER:
		p->put_off = true;
		return false;
	case PEER_BAD:
		peer_close(p, why);
		return false;
	}
	return false;
}

/* The scanner's next step. False: it needs more bytes, or the peer is closed. */
static bool peer_scan(struct peer *p, struct input *in)
{
	size_t used = 0;
	enum scan_result r = scan_feed(&p->scan, in->p + in->at, in->len - in->at, &used);
	in->at += used;
	if (r == SCAN_MORE)
		return false;
	if (r == SCAN_REFUSED) {
		peer_close(p, p->scan.why);
		return false;
	}
	p->proved = in->at - in->start;
	scan_init(&p->scan);
	p->scan.max_bytes = p->hub->max_frame;
	return true;
}

static void peer_take(struct peer *p, struct input *in)
{
	unsigned budget = PEER_FRAMES_PER_TURN;
	while (p->proved || in->at < in->len) {
		if (!p->proved && !peer_scan(p, in))
			break;
		if (!peer_offer(p, in, &budget))
			break;
	}
}

static void peer_drop_in(struct peer *p, size_t n)
{
	if (n == p->in.len)
		buf_clear(&p->in);
	else if (n)
		buf_consume(&p->in, n);
	if (p->in.len == 0 && p->in.cap > KEPT_IN_BYTES)
		buf_done(&p->in);
}

/* Keeps what was not taken. False: there is no memory for it. */
static bool peer_keep(struct peer *p, const struct input *in)
{
	if (in->p == p->in.p) {
		peer_drop_in(p, in->start);
	} else if (in->start < in->len) {
		if (buf_try_reserve(&p->in, in->len - in->start) < 0)
			return false;
		buf_add(&p->in, in->p + in->start, in->len - in->start);
	}
	p->scanned = in->at - in->start;
	return true;
}

static void peer_process(struct peer *p, struct input *in)
{
	peer_take(p, in);
	if (p->dead)
		return;
	if (!peer_keep(p, in)) {
		peer_close(p, no_memory);
		return;
	}
	peer_charge(p);
	peer_arm_read(p);
}

/* What is already here; used again when something that stood in the way is gone. */
static void peer_process_kept(struct peer *p)
{
	struct input in = { .p = p->in.p, .len = p->in.len, .at = p->scanned };
	if (p->in.len)
		peer_process(p, &in);
	else
		peer_arm_read(p);
}

static bool peer_gone(const struct peer *p)
{
	struct pollfd pfd = { .fd = p->fd };
	return poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLHUP | POLLERR));
}

static void on_gone(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;
	(void)fd;
	(void)what;
	if (peer_gone(p))
		peer_close(p, NULL);
}

/*
 * The peer sends no more, but replies and events may still be read: `printf REQUEST | nc -N` does
 * that. Nothing but the edge tells when it closes for good: a level-triggered read would be ready
 * all the time from now on.
 */
static void peer_watch_gone(struct peer *p)
{
	p->gone_fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
	if (p->gone_fd < 0) {
		peer_close(p, NULL);
		return;
	}
	p->ev_gone = event_new(p->hub->base, p->gone_fd, EV_READ | EV_ET | EV_PERSIST, on_gone, p);
	peer_watch(p, p->ev_gone, NULL);
}

static void peer_eof(struct peer *p)
{
	p->eof = true;
	if (peer_gone(p) || p->in.len ||
	    (evbuffer_get_length(p->out) == 0 && !p->hub->expects(p->user))) {
		peer_close(p, NULL);
		return;
	}
	peer_arm_read(p);
	peer_watch_gone(p);
}

/*
 * Room for one more read. A frame that has become long gets address space for the longest at once:
 * to be moved again and again while it grows costs more than reading it. 0 or -ENOMEM.
 */
static int peer_reserve(struct peer *p)
{
	size_t most = p->hub->max_frame + (size_t)PEER_READ_BYTES;
	if (p->in.len >= LONG_FRAME_BYTES && p->in.cap < most &&
	    buf_try_reserve(&p->in, most - p->in.len) == 0)
		return 0;
	return buf_try_reserve(&p->in, PEER_READ_BYTES);
}

/* Reads once: into the scratch buffer where nothing is kept, so that an idle connection owns no
 * buffer; else behind what is kept. */
static void peer_read(struct peer *p)
{
	char *into = p->hub->scratch;
	size_t room = PEER_READ_BYTES;
	if (p->in.len) {
		if (peer_reserve(p) < 0) {
			peer_close(p, no_memory);
			return;
		}
		into = p->in.p + p->in.len;
		room = p->in.cap - p->in.len - 1;
	}
	ssize_t n = read(p->fd, into, room);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		peer_close(p, NULL);
	else if (n == 0)
		peer_eof(p);
	else if (p->in.len) {
		p->in.len += (size_t)n;
		peer_process_kept(p);
	} else {
		struct input in = { .p = into, .len = (size_t)n };
		peer_process(p, &in);
	}
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;
	(void)fd;
	if (what & EV_READ)
		peer_read(p);
	else if (what & EV_TIMEOUT)
		peer_close(p, "it sent a part of a frame and then nothing");
}

static void on_more(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;
	(void)fd;
	(void)what;
	if (p->deaf)
		peer_close(p, "the system cannot watch it");
	else if (peer_open(p))
		peer_process_kept(p);
}

void peer_resume(struct peer *p)
{
	if (p->dead || !p->put_off)
		return;
	p->put_off = false;
	peer_more_soon(p);
}

void peer_took(struct peer *p)
{
	if (p->dead)
		return;
	peer_drop_in(p, p->proved);
	p->proved = p->scanned = 0;
	peer_charge(p);
	p->put_off = false;
	peer_more_soon(p);
}

void peer_take_in(struct peer *p, struct buf *ret)
{
	*ret = p->in;
	p->in = (struct buf)BUF_INIT;
}

void peer_hub_quiet(struct peer_hub *hub)
{
	hub->quiet = true;
	list_for (&hub->peers, node)
		peer_arm_read(list_entry(node, struct peer, list));
}

/* --- out --- */

static void peer_arm_write(struct peer *p)
{
	struct timeval tv = { p->must_read_s, 0 };
	peer_watch(p, p->ev_write, p->must_read_s ? &tv : NULL);
	if (!p->must_read_s)
		event_remove_timer(p->ev_write);
}

/* What was written makes room: for frames put off by the backlog, for events, or for the end. */
static void peer_wrote(struct peer *p, size_t n)
{
	p->written += n;
	peer_charge(p);
	if (p->dead || !peer_has_room(p))
		return;
	if (evbuffer_get_length(p->out) == 0) {
		p->hub->drained(p->user);
		if (p->dead)
			return;
	}
	if (p->eof && evbuffer_get_length(p->out) == 0 && !p->hub->expects(p->user))
		peer_close(p, NULL);
	else if (!p->reading)
		peer_more_soon(p);
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;
	(void)fd;
	p->write_armed = false;
	if (what & EV_TIMEOUT) {
		peer_close(p, "it does not read what it subscribed to");
		return;
	}
	int n = evbuffer_write_atmost(p->out, p->fd, WRITE_BYTES);
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
		peer_close(p, NULL);
		return;
	}
	if (n > 0)
		peer_wrote(p, (size_t)n);
	if (!p->dead && evbuffer_get_length(p->out) > 0 && !p->write_armed) {
		p->write_armed = true;
		peer_arm_write(p);
	}
}

/* The write happens once, after what else this turn has to say: one system call for many small
 * answers. */
static void peer_write_soon(struct peer *p)
{
	if (!p->write_armed) {
		p->write_armed = true;
		event_active(p->ev_write, EV_WRITE, 0);
	}
	peer_charge(p);
}

void peer_answered(struct peer *p)
{
	p->answered = p->queued;
}

void peer_owe(struct peer *p, int64_t bytes)
{
	if (p->dead)
		return;
	p->owed = (size_t)((int64_t)p->owed + bytes);
	peer_charge(p);
	if (bytes < 0 && !p->reading)
		peer_more_soon(p);
}

void peer_send(struct peer *p, struct slice s)
{
	if (p->dead)
		return;
	evbuffer_add(p->out, s.p, s.len);
	p->queued += s.len;
	peer_write_soon(p);
}

static void free_reference(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	free(arg);
}

void peer_send_buf(struct peer *p, struct buf *b)
{
	size_t len = b->len;
	if (p->dead || len < SHARED_MIN_BYTES) {
		peer_send(p, buf_slice(b));
		buf_clear(b);
		return;
	}
	char *bytes = TAKE_PTR(b->p);
	*b = (struct buf)BUF_INIT;
	evbuffer_add_reference(p->out, bytes, len, free_reference, bytes);
	p->queued += len;
	peer_write_soon(p);
}

struct shared *shared_new(struct slice s)
{
	struct shared *n = xmalloc(sizeof(*n) + s.len);
	*n = (struct shared){ .refs = 1, .len = s.len };
	memcpy(n->bytes, s.p, s.len);
	return n;
}

struct shared *shared_ref(struct shared *s)
{
	s->refs++;
	return s;
}

struct shared *shared_unref(struct shared *s)
{
	if (s && --s->refs == 0)
		free(s);
	return NULL;
}

static void unref_reference(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	shared_unref(arg);
}

void peer_send_shared(struct peer *p, struct shared *s)
{
	if (p->dead || s->len < SHARED_MIN_BYTES) {
		peer_send(p, slice_of(s->bytes, s->len));
		return;
	}
	evbuffer_add_reference(p->out, s->bytes, s->len, unref_reference, shared_ref(s));
	p->queued += s->len;
	peer_write_soon(p);
}

size_t peer_backlog(const struct peer *p)
{
	return evbuffer_get_length(p->out);
}

uint64_t peer_queued(const struct peer *p)
{
	return p->queued;
}

uint64_t peer_written(const struct peer *p)
{
	return p->written;
}

void peer_must_read(struct peer *p, int seconds)
{
	p->must_read_s = seconds;
	if (!p->dead && evbuffer_get_length(p->out) > 0 && p->write_armed)
		peer_arm_write(p);
}
