/*~
 * How a request comes in: on_accept (here) looks who it is and makes a connection; its peer
 * (peer.c) scans what arrives and hands whole frames to rpc_frame (rpc.c), which has the params
 * decoded by the method's field table (request.c; large ones on a thread, opener.c) and calls the
 * handler of its row (rpc_batch.c, rpc_run.c, ...).
 * Answers go back through rpc_reply; what happens meanwhile goes out through rpc_server_event.
 */
#include "daemon/rpc/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/rpc/answers.h"
#include "daemon/rpc/logcache.h"
#include "daemon/rpc/opener.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/subs.h"
#include "daemon/rpc/wait.h"

#define ACCEPTS_PER_TURN 64
#define ACCEPT_AGAIN_S 1
#define LOG_REST_S 5 /* then it is said how many log lines were left out */

/*
 * Descriptors that connections never get: what starts ops, logs and the database needs them. A
 * listener that has no room waits in its backlog; nobody is turned away.
 */
static uint32_t server_max_conns(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return UINT32_MAX;
	rlim_t kept = MAX2(limit.rlim_cur / 8, (rlim_t)64);
	return limit.rlim_cur > kept + 8 ? (uint32_t)MIN2(limit.rlim_cur - kept, (rlim_t)UINT32_MAX)
					 : 8;
}

static void server_log_rest(struct rpc_server *s)
{
	log_limit_say(&s->log_closed);
	log_limit_say(&s->log_refused);
}

static void on_log_rest(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	server_log_rest(arg);
}

bool rpc_may_log(struct rpc_server *s, struct log_limit *l)
{
	static const struct timeval rest = { LOG_REST_S, 0 };
	if (log_limit_take(l, time_mono_ms()))
		return true;
	if (!evtimer_pending(s->ev_log_rest, NULL))
		evtimer_add(s->ev_log_rest, &rest);
	return false;
}

static void server_pause_accept(struct rpc_server *s)
{
	struct timeval again = { ACCEPT_AGAIN_S, 0 };
	event_del(s->ev_accept);
	event_add(s->ev_accept_again, &again);
}

/* Only our own user and root come in: the socket's mode says so too, but a mode can be changed. */
static bool server_admits(struct rpc_server *s, int fd, struct ucred *cred)
{
	socklen_t len = sizeof(*cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, cred, &len) < 0)
		return false;
	if (cred->uid == getuid() || cred->uid == 0)
		return true;
	if (rpc_may_log(s, &s->log_refused))
		log_warn("a connection of uid %u (pid %d) was refused: only uid %u and root may "
			 "use this socket",
			 (unsigned)cred->uid, (int)cred->pid, (unsigned)getuid());
	return false;
}

/* False: there is nothing more to accept now. */
static bool server_accept_one(struct rpc_server *s)
{
	struct ucred cred = { 0 };
	if (s->n_conns >= s->max_conns) {
		trouble_say(TROUBLE_CONNECTIONS, 3000 * ACCEPT_AGAIN_S,
			    "%u connections are all there is room for, and others wait: %s",
			    s->n_conns, trouble_mend(EMFILE));
		server_pause_accept(s);
		return false;
	}
	int fd = accept4(s->config.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno == ECONNABORTED || errno == EINTR)
			return true;
		if (errno != EAGAIN) {
			if (trouble_say(TROUBLE_CONNECTIONS, 3000 * ACCEPT_AGAIN_S,
					"connections cannot be accepted: %s: %s", strerror(errno),
					trouble_mend(errno)))
				log_warn("cannot accept a connection: %s; trying again every %d s",
					 strerror(errno), ACCEPT_AGAIN_S);
			server_pause_accept(s);
		}
		return false;
	}
	if (server_admits(s, fd, &cred))
		rpc_conn_new(s, fd, cred.pid);
	else
		close(fd);
	return true;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	for (int i = 0; i < ACCEPTS_PER_TURN && server_accept_one(arg); i++)
		;
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct rpc_server *s = arg;
	(void)fd;
	(void)what;
	if (!s->quiet)
		event_add(s->ev_accept, NULL);
}

static void server_listen(struct rpc_server *s)
{
	s->ev_accept =
		event_new(s->config.base, s->config.listen_fd, EV_READ | EV_PERSIST, on_accept, s);
	event_priority_set(s->ev_accept, 1);
	event_add(s->ev_accept, NULL);
}

void rpc_server_listen(struct rpc_server *s, int fd)
{
	while (server_accept_one(s)) /* who came before */
		;
	event_free(s->ev_accept);
	close(s->config.listen_fd);
	s->config.listen_fd = fd;
	server_listen(s);
}

struct rpc_server *rpc_server_new(const struct rpc_config *config)
{
	struct rpc_server *s = xcalloc(1, sizeof(*s));
	s->config = *config;
	if (!s->config.handlers)
		s->config.handlers = rpc_handlers;
	s->hub = (struct peer_hub){
		.base = config->base,
		.max_frame = config->max_frame ? config->max_frame : LIMIT_FRAME_BYTES,
		.frame = rpc_frame,
		.drained = rpc_drained,
		.closed = rpc_closed,
		.expects = rpc_expects,
	};
	peer_hub_init(&s->hub);
	s->max_conns = server_max_conns();
	s->subs = subs_new(s);
	s->waits = waits_new(s);
	s->logs = logcache_new(config->runs_dir);
	s->answers = answers_new();
	opener_init(s);
	list_init(&s->outputs);
	s->ev_accept_again = evtimer_new(config->base, on_accept_again, s);
	s->log_closed.what = "closed connections";
	s->log_refused.what = "refused connections";
	s->ev_log_rest = evtimer_new(config->base, on_log_rest, s);
	server_listen(s);
	return s;
}

void rpc_server_quiet(struct rpc_server *s)
{
	if (s->quiet)
		return;
	s->quiet = true;
	event_del(s->ev_accept);
	event_del(s->ev_accept_again);
	peer_hub_quiet(&s->hub);
}

struct rpc_server *rpc_server_free(struct rpc_server *s)
{
	if (!s)
		return NULL;
	rpc_server_quiet(s);
	/* Who is hung up on sees that nobody of our name listens any more. */
	event_free(s->ev_accept);
	event_free(s->ev_accept_again);
	close(s->config.listen_fd);
	peer_hub_done(&s->hub);
	server_log_rest(s);
	event_free(s->ev_log_rest);
	opener_done(s);
	rpc_outputs_done(s);
	subs_free(s->subs);
	waits_free(s->waits);
	logcache_release(s->logs);
	s->answers = answers_free(s->answers);
	s->freed = true;
	if (s->n_calls == 0)
		free(s);
	return NULL;
}

void rpc_server_removed(struct rpc_server *s, uint64_t run)
{
	logcache_removed(s->logs, run);
}

void rpc_server_set_max_frame(struct rpc_server *s, uint32_t bytes)
{
	s->hub.max_frame = bytes;
}

void rpc_server_event(struct rpc_server *s, const struct event *e)
{
	if (s->freed)
		return;
	waits_event(s->waits, e);
	subs_event(s->subs, e);
}

bool rpc_server_op_heard(const struct rpc_server *s, uint64_t run)
{
	return !s->freed && subs_hear_run(s->subs, run);
}
