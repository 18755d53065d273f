#include "daemon/spawner/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/log_limit.h"
#include "common/packet.h"
#include "common/timeutil.h"
#include "daemon/spawner/env.h"
#include "daemon/spawner/hold.h"
#include "daemon/spawner/keep.h"
#include "daemon/spawner/loop.h"
#include "daemon/spawner/place.h"
#include "daemon/spawner/report.h"
#include "daemon/spawner/warm.h"

#define CONN_MAX 8
#define CONN_RETRY_MS 50

struct conn {
	int fd; /* -1: free */
	uint32_t interest;
};

static int epoll_fd;
static struct conn conns[CONN_MAX];
static struct conn *active; /* has said HELLO */
static bool ever, blocked;
static int64_t retry_ms;
static struct log_limit strangers = { .what = "connections" };

static bool may_log(void)
{
	return log_limit_take(&strangers, time_mono_ms());
}

void conn_init(int epoll)
{
	epoll_fd = epoll;
	for (unsigned i = 0; i < CONN_MAX; i++)
		conns[i].fd = -1;
	report_init();
}

static void conn_close(struct conn *c)
{
	close(c->fd);
	c->fd = -1;
	if (c == active) {
		active = NULL;
		hold_drop(false);
		blocked = false;
		retry_ms = 0;
		report_clear();
	}
}

/* Listens for what the connection can use now. */
static void conn_update(struct conn *c)
{
	uint32_t want = (c != active || report_has_room() ? EPOLLIN : 0) |
			(c == active && blocked ? EPOLLOUT : 0);
	struct epoll_event ev = { .events = want, .data.u64 = LOOP_CONN | (uint64_t)(c - conns) };
	if (want != c->interest && epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) == 0)
		c->interest = want;
}

static bool conn_is_ours(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.uid == getuid() || peer.uid == 0;
}

void conn_add(int fd)
{
	struct conn *c = NULL;
	for (unsigned i = 0; i < CONN_MAX && !c; i++)
		if (conns[i].fd < 0)
			c = &conns[i];
	if (!c || !conn_is_ours(fd)) {
		if (may_log())
			log_warn("a connection was turned away: %s",
				 c ? "it is another user's" : "there are too many");
		close(fd);
		return;
	}
	struct epoll_event ev = { .events = EPOLLIN,
				  .data.u64 = LOOP_CONN | (uint64_t)(c - conns) };
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		log_error("cannot watch a connection: %s", strerror(errno));
		close(fd);
		return;
	}
	*c = (struct conn){ .fd = fd, .interest = EPOLLIN };
	ever = true;
}

void conn_accept(int listen_fd)
{
	int fd;
	while ((fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		conn_add(fd);
}

int conn_served_fd(void)
{
	return active ? active->fd : -1;
}

void conn_serve(int fd)
{
	conn_add(fd);
	for (unsigned i = 0; i < CONN_MAX; i++)
		if (conns[i].fd == fd)
			active = &conns[i];
}

void conn_bye(void)
{
	struct sw_head bye = { sizeof(bye), SW_BYE, SW_VERSION, 0 };
	if (active && report_is_empty() && send(active->fd, &bye, sizeof(bye), MSG_NOSIGNAL) < 0)
		log_debug("nobody heard the end: %s", strerror(errno));
}

bool conn_has_said_all(void)
{
	return !active || report_is_empty();
}

bool conn_any(void)
{
	for (unsigned i = 0; i < CONN_MAX; i++)
		if (conns[i].fd >= 0)
			return true;
	return false;
}

bool conn_ever(void)
{
	return ever;
}

/* --- frames in --- */

void conn_say_refused(int fd, const char *why)
{
	struct sw_refused f = { .head = { sizeof(f), SW_REFUSED, SW_VERSION, 0 } };
	snprintf(f.why, sizeof(f.why), "%s", why);
	if (send(fd, &f, sizeof(f), MSG_NOSIGNAL) < 0)
		log_debug("nobody heard it: %s", strerror(errno));
}

static bool conn_refuse(struct conn *c, const char *why)
{
	if (may_log())
		log_warn("refused a connection: %s", why);
	conn_say_refused(c->fd, why);
	return false;
}

/* The table is of another folder, and nothing runs: it is forgotten. True: with results in it. */
static bool conn_take_over(uint64_t store_id)
{
	uint32_t results = table_used();
	for (uint32_t i = 0; i < table_end(); i++)
		if (table_at(i)->state != SW_FREE)
			op_done(op_at(i));
	env_drop_all();
	keep_forget();
	table_reset(store_id);
	if (results > 0)
		log_warn("a batchd of another state folder or database came: how %u op%s ended is "
			 "forgotten",
			 results, results == 1 ? "" : "s");
	return results > 0;
}

static bool conn_hello(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	const struct sw_hello *hello = (const struct sw_hello *)head;
	char why[200];
	uint64_t can = SW_CAN;
	(void)fds;
	if (hello->protocol != SW_PROTOCOL) {
		snprintf(
			why, sizeof(why),
			"the running batchd-spawner (pid %d) speaks protocol %u, not %u: `kill -HUP "
			"%d` replaces it by the one installed now, or let its ops end first",
			(int)getpid(), SW_PROTOCOL, hello->protocol, (int)getpid());
		return conn_refuse(c, why);
	}
	if (table_store_id() != hello->store_id) {
		if (active && active != c)
			return conn_refuse(c, "a batchd of another state folder is served at this "
					      "socket: name another socket, or stop it first");
		if (keep_live() > 0) {
			snprintf(why, sizeof(why),
				 "%u op%s of another state folder or database still run%s at this "
				 "socket: let them end, end them with `kill -INT %d`, or name "
				 "another socket",
				 keep_live(), keep_live() == 1 ? "" : "s",
				 keep_live() == 1 ? "s" : "", (int)getpid());
			return conn_refuse(c, why);
		}
		if (conn_take_over(hello->store_id))
			can |= SW_FORGOT;
	}
	if (active && active != c)
		conn_close(active);
	active = c;
	/* Who has not asked for it could not tell what a BUSY is about. */
	warm_settle();
	report_clear();
	report_with_stages(hello->takes & SW_TAKES_STAGE);
	struct sw_hello_ok ok = { .head = { sizeof(ok), SW_HELLO_OK, SW_VERSION, can },
				  .protocol = SW_PROTOCOL,
				  .pid = (int32_t)getpid(),
				  .capacity = table_capacity(),
				  .used = table_used(),
				  .table_id = table_id() };
	memcpy(ok.boot_id, table_boot_id(), sizeof(ok.boot_id));
	return send(c->fd, &ok, sizeof(ok), MSG_NOSIGNAL) == sizeof(ok);
}

/* False: some are lacking, for which we had no room (MSG_CTRUNC). */
static bool conn_start_fds(uint32_t flags, struct packet_fds *fds, struct start_fds *ret)
{
	struct start_fds f = { -1, STREAMS_NONE };
	int *wanted[1 + STREAMS_FDS], *last = NULL;
	unsigned n = 0;
	if (flags & SW_START_STDIN_FD)
		wanted[n++] = &f.stdin_fd;
	for (unsigned i = 0; i < (flags & SW_START_STREAMS ? STREAMS_FDS : 0); i++)
		if (i % 2 == 0 || !(flags & SW_START_PTY))
			wanted[n++] = i < 2 ? &f.streams.theirs[i] : &f.streams.ours[i - 2];
	for (unsigned i = 0; i < n; i++)
		*(last = wanted[i]) = packet_take_fd(fds);
	*ret = f;
	return !last || *last >= 0;
}

static bool conn_start(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	const struct sw_start *start = (const struct sw_start *)head;
	(void)c;
	if (!start_is_whole(start))
		return false;
	struct start_fds with;
	struct child_error why = { 0 };
	if (!conn_start_fds(start->flags, fds, &with))
		report_busy(head->token, (struct child_error){ EMFILE, SW_STEP_PIPE });
	else if (!hold_start(start, &with, &why))
		report_busy(head->token, why);
	cleanup_closep(&with.stdin_fd);
	streams_done(&with.streams);
	return true;
}

static bool conn_after(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c, (void)fds;
	hold_next(head->token, ((const struct sw_after *)head)->after);
	return true;
}

static bool conn_recall(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c, (void)fds;
	hold_recall(head->token);
	return true;
}

static bool conn_stop(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c, (void)fds;
	keep_stop(head->token, ((const struct sw_stop *)head)->grace_ms);
	return true;
}

static bool conn_signal(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c, (void)fds;
	keep_signal(head->token, ((const struct sw_signal *)head)->signal);
	return true;
}

static bool conn_note(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c, (void)fds;
	keep_note(head->token, ((const struct sw_note *)head)->note);
	return true;
}

static bool conn_pipes(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c;
	uint32_t n = ((const struct sw_pipes *)head)->n_fds;
	int out = n > 0 ? packet_take_fd(fds) : -1, err = n > 1 ? packet_take_fd(fds) : -1;
	/* Fewer than n: we had no room for them (MSG_CTRUNC), and half of them are of no use. */
	bool whole = n == 1 ? out >= 0 : n == 2 && err >= 0;
	if (whole && keep_pipes(head->token, out, err))
		return true;
	cleanup_closep(&out);
	cleanup_closep(&err);
	return true;
}

static bool conn_stage(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c;
	int fd = packet_take_fd(fds);
	struct op *op = fd >= 0 ? op_keep_stage(head->token, fd) : NULL;
	if (op)
		conn_report(op, REPORT_STAGED);
	else
		cleanup_closep(&fd);
	return true;
}

static bool conn_ack(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c, (void)fds;
	keep_ack(head->token);
	return true;
}

static bool conn_env_drop(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c, (void)fds;
	env_drop(head->token);
	return true;
}

static bool conn_place(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c, (void)head, (void)fds;
	place_ask();
	return true;
}

static bool conn_query(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	(void)c, (void)head, (void)fds;
	report_query();
	return true;
}

/* False from a handler: the connection ends. */
static const struct {
	uint16_t type;
	uint32_t size; /* at least; exactly but for START */
	uint64_t can;  /* else it is as one that has never heard of it */
	bool (*run)(struct conn *c, const struct sw_head *head, struct packet_fds *fds);
} frames[] = {
	{ SW_HELLO, sizeof(struct sw_hello), 0, conn_hello },
	{ SW_ENV_DROP, sizeof(struct sw_head), 0, conn_env_drop },
	{ SW_START, sizeof(struct sw_start), 0, conn_start },
	{ SW_STOP, sizeof(struct sw_stop), 0, conn_stop },
	{ SW_SIGNAL, sizeof(struct sw_signal), 0, conn_signal },
	{ SW_ACK, sizeof(struct sw_head), 0, conn_ack },
	{ SW_QUERY, sizeof(struct sw_head), 0, conn_query },
	{ SW_NOTE, sizeof(struct sw_note), SW_CAN_KEEP, conn_note },
	{ SW_PIPES, sizeof(struct sw_pipes), SW_CAN_KEEP, conn_pipes },
	{ SW_PLACE, sizeof(struct sw_head), SW_CAN_PLACE, conn_place },
	{ SW_AFTER, sizeof(struct sw_after), SW_CAN_AFTER, conn_after },
	{ SW_RECALL, sizeof(struct sw_head), SW_CAN_AFTER, conn_recall },
	{ SW_STAGE, sizeof(struct sw_head), SW_CAN_STAGE, conn_stage },
};

static bool conn_frame(struct conn *c, const struct sw_head *head, struct packet_fds *fds)
{
	for (unsigned i = 0; i < ARRAY_SIZE(frames); i++) {
		if (frames[i].type != head->type || frames[i].can & ~SW_CAN)
			continue;
		bool fits = head->type == SW_START ? head->size >= frames[i].size
						   : head->size == frames[i].size;
		/* HELLO keeps its shape for ever, so that an answer can be given to any version. */
		bool in_turn =
			head->type == SW_HELLO || (c == active && head->version == SW_VERSION);
		return fits && in_turn && frames[i].run(c, head, fds);
	}
	return false;
}

static bool conn_packet(struct conn *c, const char *p, size_t len, struct packet_fds *fds)
{
	for (size_t at = 0; at < len;) {
		const struct sw_head *head = (const struct sw_head *)(p + at);
		if (len - at < sizeof(*head) || head->size < sizeof(*head) || head->size % 8 != 0 ||
		    head->size > len - at) {
			if (may_log())
				log_warn("a packet that is no frames came; its connection is "
					 "closed");
			return false;
		}
		if (!conn_frame(c, head, fds)) {
			if (head->type != SW_HELLO && may_log())
				log_warn("a frame of type %u was not to be understood; its "
					 "connection is closed",
					 head->type);
			return false;
		}
		at += head->size;
	}
	return true;
}

/* One packet: 1 taken, 0 nothing there, -1 the connection is over. */
static int conn_receive(struct conn *c)
{
	static char buf[SW_PACKET_BYTES] __attribute__((aligned(8)));
	struct packet_fds fds;
	int flags;
	ssize_t n = packet_receive(c->fd, buf, sizeof(buf), &fds, &flags);
	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0)
		return -1;
	bool fine = !(flags & MSG_TRUNC) && conn_packet(c, buf, (size_t)n, &fds);
	packet_close_fds(&fds);
	return fine ? 1 : -1;
}

void conn_event(uint32_t n)
{
	struct conn *c = &conns[n % CONN_MAX];
	if (c->fd < 0)
		return; /* replaced earlier in this turn */
	if (c == active)
		blocked = false;
	if ((c != active || report_has_room()) && conn_receive(c) < 0)
		conn_close(c);
}

/* --- reports out --- */

void conn_report(struct op *op, unsigned reports)
{
	if (active)
		report_add(op, reports);
}

int64_t conn_deadline_ms(void)
{
	return retry_ms > 0 || blocked || !active ? retry_ms : report_due_ms();
}

void conn_flush(void)
{
	const struct report_packet *p;
	if (!active || blocked || (retry_ms > 0 && time_mono_ms() < retry_ms))
		return;
	retry_ms = 0;
	if (report_due_ms() > time_mono_ms())
		return;
	while ((p = report_next()) != NULL) {
		int r = packet_send(active->fd, p->bytes, p->len, p->fds, p->n_fds);
		if (r == 0) {
			report_sent();
			continue;
		}
		report_unsent();
		if (r == -EAGAIN || r == -ENOBUFS) {
			blocked = true;
		} else if (r == -ETOOMANYREFS || r == -ENOMEM) {
			retry_ms = time_mono_ms() + CONN_RETRY_MS;
		} else if (r == -EPIPE || r == -ECONNRESET) {
			/* Nobody hears more; what the peer sent before it left, acknowledgements
			 * perhaps, is still to be read. Should it be there all the same, it sees
			 * that this is over, connects again and asks for what it missed. */
			shutdown(active->fd, SHUT_WR);
			report_clear();
			blocked = true;
		} else {
			log_error("cannot answer batchd: %s", strerror(-r));
			conn_close(active);
			return;
		}
		break;
	}
	conn_update(active);
}
