#include "daemon/exec/exec_spawner_link.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/packet.h"
#include "common/paths.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/exec/spawner_home.h"

#define LINK_ANSWER_MS 15000 /* for a spawner to come up or to say what it knows */
#define LINK_TRIES 4
#define LINK_COME_MS 5000 /* for one that is just taking another's place */
#define LINK_GONE_MS 5000
#define LINK_RETRY_MIN_MS 10
#define LINK_RETRY_MAX_MS 5000
#define LINK_RETRY_SERVICE_MS 500 /* where a service manager starts it again at once */
#define LINK_AGAIN_MS 20

/* Frames that go out together. */
struct link_packet {
	struct link_packet *next;
	size_t len;
	unsigned n_fds;
	int fds[SW_PACKET_FDS];
	bool is_ours[SW_PACKET_FDS];
	char bytes[SW_PACKET_BYTES] __attribute__((aligned(8)));
};

enum link_state {
	LINK_DOWN,
	LINK_HELLO,   /* said, no answer yet */
	LINK_WELCOME, /* answered */
	LINK_QUERIED, /* QUERY sent */
	LINK_UP,
};

struct spawner_link {
	struct spawner_link_config config;
	char *program, *socket, *home;
	char *at; /* the socket served at: that of the last batchd as long as its spawner lives */
	uint64_t table_id; /* in use; another's as long as what went with that one is not stored */
	uint64_t found_id; /* of the spawner served by */
	bool bye;	   /* it said that it keeps nothing and ends */
	int64_t down_ms;   /* since when there is none, 0: there is */
	enum link_state state;
	int fd;
	struct event *readable, *writable, *flush, *retry;
	int retry_ms;
	uint32_t capacity;
	uint64_t can;	   /* SW_CAN_*, of the spawner served by */
	int32_t pid;	   /* of the spawner served by, 0: none now */
	int32_t last_pid;  /* of the one before */
	char refused[240]; /* why; "" when it was not */
	struct link_packet *first, *last, *spare;
	/* Where a packet that came in is taken apart. */
	char in[SW_PACKET_BYTES] __attribute__((aligned(8)));
};

/* --- packets out --- */

static void link_packet_drop(struct spawner_link *l, struct link_packet *p)
{
	for (unsigned i = 0; i < p->n_fds; i++)
		if (p->is_ours[i])
			close(p->fds[i]);
	if (l->spare)
		free(p);
	else
		l->spare = p;
}

static void link_drop_queue(struct spawner_link *l)
{
	while (l->first) {
		struct link_packet *p = l->first;
		l->first = p->next;
		link_packet_drop(l, p);
	}
	l->last = NULL;
}

static struct link_packet *link_packet_add(struct spawner_link *l)
{
	struct link_packet *p = l->spare ? l->spare : xmalloc(sizeof(*p));
	l->spare = NULL;
	p->next = NULL;
	p->len = p->n_fds = 0;
	if (l->last)
		l->last->next = p;
	else
		l->first = p;
	l->last = p;
	return p;
}

static bool link_packet_has_room(const struct link_packet *p, uint32_t size, unsigned n_fds)
{
	return p && p->len + size <= sizeof(p->bytes) && p->n_fds + n_fds <= SW_PACKET_FDS;
}

void *spawner_link_add(struct spawner_link *l, uint32_t size, const int *fds, unsigned n_fds,
		       unsigned n_ours)
{
	if (l->last && !link_packet_has_room(l->last, size, n_fds))
		spawner_link_flush(l);
	struct link_packet *p = l->last;
	if (!link_packet_has_room(p, size, n_fds))
		p = link_packet_add(l);
	void *frame = p->bytes + p->len;
	p->len += size;
	for (unsigned i = 0; i < n_fds; i++) {
		p->is_ours[p->n_fds] = i < n_ours;
		p->fds[p->n_fds++] = fds[i];
	}
	event_active(l->flush, EV_TIMEOUT, 0);
	return frame;
}

void spawner_link_flush(struct spawner_link *l)
{
	while (l->first && l->fd >= 0) {
		struct link_packet *p = l->first;
		int r = packet_send(l->fd, p->bytes, p->len, p->fds, p->n_fds);
		if (r == -EAGAIN || r == -ENOBUFS || r == -EINTR) {
			event_add(l->writable, NULL);
			return;
		}
		if (r == -ETOOMANYREFS || r == -ENOMEM) { /* so many fds are under way */
			event_add(l->flush, &(struct timeval){ .tv_usec = LINK_AGAIN_MS * 1000 });
			return;
		}
		if (r < 0)
			return; /* the end of the connection is read next */
		l->first = p->next;
		if (!l->first)
			l->last = NULL;
		link_packet_drop(l, p);
	}
	if (!l->first)
		event_del(l->flush); /* else the loop would go round once more for it */
}

static void link_on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	spawner_link_flush(arg);
}

static void link_say(struct spawner_link *l, enum sw_type type)
{
	struct sw_head head = { sizeof(head), (uint16_t)type, SW_VERSION, 0 };
	memcpy(spawner_link_add(l, sizeof(head), NULL, 0, 0), &head, sizeof(head));
}

/* --- frames in --- */

static void link_hello_ok(struct spawner_link *l, const struct sw_hello_ok *f)
{
	l->capacity = f->capacity;
	l->can = f->head.token & ~SW_FORGOT;
	if (f->head.token & SW_FORGOT)
		log_error(
			"the spawner had ops of another state folder or database that have ended: "
			"what became of them is forgotten");
	l->pid = f->pid;
	l->state = LINK_WELCOME;
	l->down_ms = 0;
	bool in_order = l->bye && l->table_id == l->found_id;
	l->found_id = f->table_id;
	if (l->table_id == 0 || in_order)
		l->table_id = l->found_id;
	l->bye = false;
	spawner_home_write(l->home, l->at, l->table_id);
	if (strcmp(l->at, l->socket) != 0) {
		log_info(
			"the ops of the last batchd are with the spawner at '%s': served from there "
			"until it has none",
			l->at);
		kill(l->pid, SIGTERM);
	}
}

static void link_report(struct spawner_link *l, const struct sw_report *f, struct packet_fds *fds)
{
	int given[3] = { -1, -1, -1 };
	for (unsigned i = 0; i < f->n_fds && i < ARRAY_SIZE(given); i++)
		given[i] = packet_take_fd(fds);
	l->config.report(l->config.arg, f, given);
}

/* False: not a frame of this protocol. */
static bool link_frame(struct spawner_link *l, const struct sw_head *head, struct packet_fds *fds)
{
	switch (head->type) {
	case SW_HELLO_OK:
		if (head->size != sizeof(struct sw_hello_ok))
			return false;
		link_hello_ok(l, (const struct sw_hello_ok *)head);
		return true;
	case SW_REFUSED:
		if (head->size != sizeof(struct sw_refused))
			return false;
		snprintf(l->refused, sizeof(l->refused), "%.*s", (int)sizeof(l->refused) - 1,
			 ((const struct sw_refused *)head)->why);
		return true;
	case SW_STARTED:
	case SW_START_FAILED:
	case SW_BUSY:
	case SW_EXIT:
	case SW_KNOWN:
	case SW_STAGED:
		if (head->size != sizeof(struct sw_report))
			return false;
		link_report(l, (const struct sw_report *)head, fds);
		return true;
	case SW_BYE:
		l->bye = true;
		return true;
	case SW_KNOWN_END:
		if (l->state == LINK_QUERIED) {
			l->state = LINK_UP;
			trouble_over(TROUBLE_SPAWNER);
			l->retry_ms = LINK_RETRY_MIN_MS;
			l->config.synced(l->config.arg);
		}
		return true;
	}
	return false;
}

static bool link_frames(struct spawner_link *l, size_t len, struct packet_fds *fds)
{
	for (size_t at = 0; at < len;) {
		const struct sw_head *head = (const struct sw_head *)(l->in + at);
		if (len - at < sizeof(*head) || head->size < sizeof(*head) || head->size % 8 != 0 ||
		    head->size > len - at || !link_frame(l, head, fds))
			return false;
		at += head->size;
	}
	return true;
}

/* One packet: 1 taken, 0 nothing there, -1 the connection is over. */
static int link_receive(struct spawner_link *l)
{
	struct packet_fds fds;
	int flags;
	ssize_t n = packet_receive(l->fd, l->in, sizeof(l->in), &fds, &flags);
	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0)
		return -1;
	/*
	 * Fewer fds than frames speak of (we had no room): their owners would be mixed up. Ask
	 * anew, on a new connection, when some have been closed.
	 */
	bool fine = !(flags & (MSG_CTRUNC | MSG_TRUNC)) && link_frames(l, (size_t)n, &fds);
	packet_close_fds(&fds);
	return fine ? 1 : -1;
}

/* --- coming and going --- */

static void link_on_readable(evutil_socket_t fd, short what, void *arg);
static void link_on_writable(evutil_socket_t fd, short what, void *arg);

static void link_close(struct spawner_link *l)
{
	if (l->readable)
		event_free(l->readable);
	if (l->writable)
		event_free(l->writable);
	l->readable = l->writable = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	if (l->pid > 0)
		l->last_pid = l->pid;
	l->pid = 0;
	l->state = LINK_DOWN;
	link_drop_queue(l);
}

/* Starts a spawner whose first connection is the other end of what is returned; or -errno. Its own
 * end tells when it is gone. */
static int link_start_spawner(struct spawner_link *l)
{
	int pair[2];
	pid_t pid;
	sigset_t all, none;
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t actions;
	char *argv[] = { (char *)"batchd-spawner", (char *)"--socket", l->at,
			 (char *)"--client-fd",	   (char *)"3",	       NULL };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pair[1], 3);
	int r = -posix_spawnp(&pid, l->program, &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	return pair[0];
}

/*
 * Is the last spawner, our child, on its way out? Its files close a moment before its children come
 * to us: a new one would be asked too early whose they are.
 */
static bool link_last_is_dying(const struct spawner_link *l)
{
	siginfo_t si = { 0 };
	return l->last_pid > 0 &&
	       waitid(P_PID, (id_t)l->last_pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       si.si_pid == 0;
}

static void link_go(struct spawner_link *l, const char *socket)
{
	char *at = xstrdup(socket);
	free(l->at);
	l->at = at;
}

/* Connected to one of our own user's, or -errno. */
static int link_connect(const char *socket)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	_cleanup_close_ int fd = unix_connect(socket, SOCK_SEQPACKET);
	if (fd < 0) {
		int r = fd;
		fd = -1;
		return r;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    (peer.uid != getuid() && peer.uid != 0))
		return -EPERM;
	return TAKE_FD(fd);
}

/*
 * Is the last batchd's spawner over and done with? One that was killed left its socket behind: with
 * another in its place, what its table holds can still be told.
 */
static bool link_is_over(const struct spawner_link *l, int r)
{
	struct err e;
	if (r == -ECONNREFUSED && l->config.can_start)
		return path_check_private(l->at, &e) != 0;
	return true;
}

/* A connection, or -errno; -EBUSY: in a moment. */
static int link_reach(struct spawner_link *l)
{
	int fd = link_connect(l->at);
	if (fd < 0 && strcmp(l->at, l->socket) != 0 && link_is_over(l, fd)) {
		link_go(l, l->socket);
		fd = link_connect(l->at);
	}
	if (fd < 0 && l->config.can_start)
		fd = link_last_is_dying(l) ? -EBUSY : link_start_spawner(l);
	return fd;
}

/* Connects or starts, and says HELLO. 0 or -errno; -EBUSY: in a moment. */
static int link_begin(struct spawner_link *l)
{
	struct sw_hello hello = { .head = { sizeof(hello), SW_HELLO, SW_VERSION, 0 },
				  .protocol = SW_PROTOCOL,
				  .takes = SW_TAKES_STAGE,
				  .store_id = l->config.store_id };
	int size = 2 * SW_PACKET_BYTES;
	int fd = link_reach(l);
	if (fd < 0)
		return fd;
	l->fd = fd;
	fd_set_nonblock(l->fd, true);
	setsockopt(l->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	l->refused[0] = '\0';
	l->state = LINK_HELLO;
	l->readable = event_new(l->config.base, l->fd, EV_READ | EV_PERSIST, link_on_readable, l);
	l->writable = event_new(l->config.base, l->fd, EV_WRITE, link_on_writable, l);
	event_priority_set(l->readable, 0);
	event_priority_set(l->writable, 0);
	event_add(l->readable, NULL);
	memcpy(spawner_link_add(l, sizeof(hello), NULL, 0, 0), &hello, sizeof(hello));
	spawner_link_flush(l);
	return 0;
}

/* Each time it is tried. */
static void link_complain(const struct spawner_link *l, const char *why, const char *mend)
{
	if (trouble_say(TROUBLE_SPAWNER, 3 * LINK_RETRY_MAX_MS,
			"the spawner '%s' cannot be reached or started at '%s': %s: %s", l->program,
			l->at, why, mend))
		log_error("cannot reach or start the spawner '%s' at '%s': %s", l->program, l->at,
			  why);
}

static void link_try_later(struct spawner_link *l)
{
	struct timeval tv = { l->retry_ms / 1000, l->retry_ms % 1000 * 1000 };
	if (l->down_ms == 0)
		l->down_ms = time_mono_ms();
	if (!l->config.can_start && time_mono_ms() - l->down_ms > LINK_GONE_MS) {
		l->config.gone(l->config.arg);
		return;
	}
	l->retry_ms = MIN2(2 * l->retry_ms,
			   l->config.can_start ? LINK_RETRY_MAX_MS : LINK_RETRY_SERVICE_MS);
	event_add(l->retry, &tv);
}

static void link_lost(struct spawner_link *l)
{
	bool was_up = l->state == LINK_UP;
	if (l->refused[0])
		link_complain(l, l->refused, "until then ops do not start");
	else if (l->state == LINK_HELLO && l->down_ms) /* once may be one that was just ending */
		link_complain(l, "it ends before it answers", "see what it says in batchd's log");
	link_close(l);
	if (l->bye)
		link_go(l, l->socket);
	if (was_up) {
		l->config.down(l->config.arg);
		if (link_begin(l) == 0)
			return;
	}
	link_try_later(l);
}

static void link_on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	struct spawner_link *l = arg;
	int r = l->fd >= 0 ? 0 : link_begin(l);
	if (r < 0) {
		if (r != -EBUSY)
			link_complain(l, strerror(-r), trouble_mend(-r));
		link_try_later(l);
	}
}

static void link_on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	struct spawner_link *l = arg;
	if (link_receive(l) < 0) {
		link_lost(l);
		return;
	}
	if (l->state == LINK_WELCOME) {
		l->state = LINK_QUERIED;
		link_say(l, SW_QUERY);
	}
	spawner_link_flush(l);
}

static void link_on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	spawner_link_flush(arg);
}

/* Takes in packets until the state is reached. Blocking. 0 or -errno. */
static int link_wait(struct spawner_link *l, enum link_state state)
{
	while (l->state < state) {
		struct pollfd p = { .fd = l->fd, .events = POLLIN };
		spawner_link_flush(l);
		if (l->first)
			p.events |= POLLOUT;
		int n = poll(&p, 1, LINK_ANSWER_MS);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ETIMEDOUT;
		if (p.revents & ~POLLOUT && link_receive(l) < 0)
			return -ECONNRESET;
	}
	return 0;
}

/* One that may not start a spawner waits a while for one that takes another's place. */
static int link_begin_patiently(struct spawner_link *l)
{
	int64_t deadline = time_mono_ms() + LINK_COME_MS, left;
	_cleanup_close_ int watch = l->config.can_start ? -1 : unix_watch(l->socket);
	int r;
	while ((r = link_begin(l)) < 0 && watch >= 0 && (left = deadline - time_mono_ms()) > 0) {
		struct pollfd p = { .fd = watch, .events = POLLIN };
		char events[4096];
		if (poll(&p, 1, (int)left) <= 0 || read(watch, events, sizeof(events)) < 0)
			break;
	}
	return r;
}

/* A spawner just on its way out, or one that somebody else has started, ends a connection: try
 * again. */
static int link_open(struct spawner_link *l, struct err *e)
{
	int r = -ECONNRESET;
	for (unsigned i = 0; i < LINK_TRIES && r == -ECONNRESET; i++) {
		r = link_begin_patiently(l);
		if (r == 0)
			r = link_wait(l, LINK_WELCOME);
		if (r < 0)
			link_close(l);
		if (l->refused[0] && strcmp(l->at, l->socket) == 0)
			return err_set(e, 0, "the spawner at '%s' refuses: %s", l->at, l->refused);
		if (l->refused[0]) { /* another folder's by now */
			link_go(l, l->socket);
			r = -ECONNRESET;
		}
	}
	if (r == 0)
		return 0;
	if (l->config.can_start)
		return err_set(e, 0, "cannot start '%s' for '%s': %s", l->program, l->socket,
			       strerror(-r));
	return err_set(e, 0, "no spawner at '%s': %s: start batchd-spawner.service", l->socket,
		       strerror(-r));
}

int spawner_link_new(const struct spawner_link_config *config, struct spawner_link **ret,
		     struct err *e)
{
	struct spawner_link *l = xcalloc(1, sizeof(*l));
	l->config = *config;
	l->program = xstrdup(config->program ? config->program : "batchd-spawner");
	l->socket = xstrdup(config->socket);
	l->home = config->home ? xstrdup(config->home) : NULL;
	struct spawner_home home;
	spawner_home_read(l->home, &home);
	link_go(l, home.socket ? home.socket : l->socket);
	l->table_id = home.table_id;
	spawner_home_done(&home);
	l->fd = -1;
	l->retry_ms = LINK_RETRY_MIN_MS;
	l->flush = event_new(config->base, -1, 0, link_on_flush, l);
	l->retry = event_new(config->base, -1, 0, link_on_retry, l);
	int r = link_open(l, e);
	if (r != 0)
		spawner_link_free(l);
	else
		*ret = l;
	return r;
}

struct spawner_link *spawner_link_free(struct spawner_link *l)
{
	if (!l)
		return NULL;
	spawner_link_flush(l);
	link_close(l);
	event_free(l->flush);
	event_free(l->retry);
	free(l->spare);
	free(l->program);
	free(l->socket);
	free(l->home);
	free(l->at);
	free(l);
	return NULL;
}

int spawner_link_sync(struct spawner_link *l)
{
	if (l->fd < 0)
		return -ENOTCONN;
	l->state = LINK_QUERIED;
	link_say(l, SW_QUERY);
	return link_wait(l, LINK_UP);
}

bool spawner_link_is_swept(const struct spawner_link *l)
{
	return l->table_id != l->found_id;
}

void spawner_link_settle(struct spawner_link *l)
{
	if (!spawner_link_is_swept(l) || l->found_id == 0)
		return;
	l->table_id = l->found_id;
	spawner_home_write(l->home, l->at, l->table_id);
}

void spawner_link_forget(struct spawner_link *l)
{
	spawner_home_forget(l->home);
}

bool spawner_link_is_up(const struct spawner_link *l)
{
	return l->state == LINK_UP;
}

uint32_t spawner_link_capacity(const struct spawner_link *l)
{
	return l->capacity;
}

bool spawner_link_can(const struct spawner_link *l, uint64_t what)
{
	return (l->can & what) == what;
}

int32_t spawner_link_pid(const struct spawner_link *l)
{
	return l->pid;
}
