/*
 * batchd-spawner: the parent of all ops. Small and single-threaded, so that batchd can be upgraded,
 * can parse what strangers send, and can crash, while ops run on and their exit statuses find
 * somebody. One turn of the loop: children that ended, frames of batchd, deadlines; then everything
 * there is to tell in one packet.
 *
 * TERM: end as soon as nothing is kept here. INT, from a service manager whose session is over: end
 * all ops, then end. HUP: execute the program anew (handover.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cgroup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/spawner/cgroup.h"
#include "daemon/spawner/conn.h"
#include "daemon/spawner/handover.h"
#include "daemon/spawner/hold.h"
#include "daemon/spawner/keep.h"
#include "daemon/spawner/loop.h"
#include "daemon/spawner/mounts.h"
#include "daemon/spawner/place.h"
#include "daemon/spawner/warm.h"

/* Nobody came: the one who started us is gone. Of a service also: nobody came back. A batchd that
 * is being restarted finds it there. */
#define MAIN_ALONE_MS 30000
/* From TERM to KILL when all ops are ended. */
#define MAIN_GRACE_MS 5000
/* How long a predecessor that is on its way out may take (alarm(2), seconds). */
#define MAIN_LOCK_SECONDS 5
/* fds for everything but ops' pipes. */
#define MAIN_SPARE_FDS 256

struct spawner {
	const char *socket;
	char *table;
	char *program;		  /* ours, as a path */
	int listen_fd, client_fd; /* given to us, -1: none */
	bool own_socket;	  /* bound by us: removed at the end */
	int epoll, signal_fd, mounts_fd, lock_fd;
	uint64_t nofile_soft;
	int64_t alone_ms; /* since when nobody is connected and nothing kept */
	bool service;	  /* of a service manager */
	bool term;	  /* to end with the last thing kept */
	bool over;	  /* the ops were told to end, and we with the last of them */
	bool again;	  /* the program is to be executed anew */
	bool replace;	  /* the folder of the socket was removed, and is there again */
	int handover_fd;  /* -1: we begin */
	struct handover handover;
};

static const char usage[] =
	"Usage: batchd-spawner --socket PATH [--listen-fd N] [--client-fd N]\n"
	"Starts and keeps the processes of batchd, which starts it when needed.\n"
	"\n"
	"  --socket PATH    serve batchd here; the table of ops and a lock stand beside it\n"
	"  --listen-fd N    PATH is already bound and listening on this fd (systemd's LISTEN_FDS "
	"works too)\n"
	"  --client-fd N    a connection of batchd is already on this fd\n"
	"  --own-cgroup     the cgroup it runs in is its own (Delegate=yes)\n"
	"  --handover FD    go on where a predecessor with our pid left off (it does this on "
	"SIGHUP)\n"
	"  --takes-over N   end with 0 if what it hands over is understood\n"
	"  --version, --help\n";

static int main_fd_option(const char *text)
{
	int64_t v;
	if (parse_int(slice_str(text), 3, 1 << 20, &v))
		return (int)v;
	fprintf(stderr, "batchd-spawner: '%s' is not a number of an inherited file\n", text);
	exit(2);
}

/* Ends the program for --help, --version and usage errors. */
static void main_options(struct spawner *s, int argc, char **argv)
{
	enum {
		OPT_SOCKET = 256,
		OPT_LISTEN,
		OPT_CLIENT,
		OPT_HANDOVER,
		OPT_TAKES,
		OPT_CGROUP,
		OPT_VERSION,
		OPT_HELP
	};
	static const struct option options[] = {
		{ "socket", required_argument, NULL, OPT_SOCKET },
		{ "listen-fd", required_argument, NULL, OPT_LISTEN },
		{ "client-fd", required_argument, NULL, OPT_CLIENT },
		{ "handover", required_argument, NULL, OPT_HANDOVER },
		{ "takes-over", required_argument, NULL, OPT_TAKES },
		{ "own-cgroup", no_argument, NULL, OPT_CGROUP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, OPT_HELP },
		{ 0 },
	};
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == OPT_SOCKET) {
			s->socket = optarg;
		} else if (c == OPT_LISTEN) {
			s->listen_fd = main_fd_option(optarg);
		} else if (c == OPT_CLIENT) {
			s->client_fd = main_fd_option(optarg);
		} else if (c == OPT_HANDOVER) {
			s->handover_fd = main_fd_option(optarg);
		} else if (c == OPT_TAKES) {
			exit(!handover_takes(strtol(optarg, NULL, 10)));
		} else if (c == OPT_CGROUP) {
			cgroup_claim();
		} else if (c == OPT_VERSION) {
			printf("batchd-spawner %s\n", BATCHD_VERSION);
			exit(0);
		} else {
			fputs(usage, c == OPT_HELP ? stdout : stderr);
			exit(c == OPT_HELP ? 0 : 2);
		}
	}
	if (optind < argc || !s->socket || s->socket[0] != '/') {
		fprintf(stderr, "batchd-spawner: name an absolute --socket and nothing else (see "
				"--help)\n");
		exit(2);
	}
}

/* sd_listen_fds(3): the first socket is ours. */
static void main_systemd_socket(struct spawner *s)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int64_t v;
	if (s->listen_fd < 0 && pid && fds && parse_int(slice_str(pid), getpid(), getpid(), &v) &&
	    parse_int(slice_str(fds), 1, 16, &v))
		s->listen_fd = 3;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

/* PATH.sock has its files beside it as PATH.suffix, any other name as NAME.suffix. */
static char *main_beside(const char *socket, const char *suffix)
{
	size_t len = strlen(socket);
	if (len > 5 && memcmp(socket + len - 5, ".sock", 5) == 0)
		len -= 5;
	return xasprintf("%.*s%s", (int)len, socket, suffix);
}

/* Said again to who started us, where he waits at the other end of client_fd. */
static char failed[512];

static int main_fail(const char *what, int r)
{
	snprintf(failed, sizeof(failed), "cannot %s: %s: %s", what, strerror(-r), trouble_mend(-r));
	log_error("%s", failed);
	return 1;
}

/*
 * A service whose socket a spawner of a batchd that was started by hand serves: that one goes on
 * until nothing is kept there any more, and then its place is ours. Who waits for us to be ready
 * need not wait for that.
 */
static int main_wait_for(struct spawner *s, int other)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	if (getsockopt(other, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid > 1)
		kill(peer.pid, SIGTERM);
	close(other);
	log_info("another spawner (pid %d) serves '%s': waiting for it to end", (int)peer.pid,
		 s->socket);
	notify_send("READY=1\nSTATUS=waiting for the spawner of a batchd started by hand");
	signal(SIGHUP, SIG_IGN); /* nothing to execute anew yet */
	return flock(s->lock_fd, LOCK_EX) < 0 ? main_fail("lock the socket", -errno) : 0;
}

static int main_open_lock(const struct spawner *s)
{
	_cleanup_free_ char *path = main_beside(s->socket, ".lock");
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/*
 * One spawner a socket. When the lock is held, either somebody serves (then there is nothing to
 * do), or is about to end and lets go of it in a moment.
 */
static int main_lock(struct spawner *s)
{
	s->lock_fd = main_open_lock(s);
	if (s->lock_fd < 0)
		return main_fail("open the lock beside the socket", -errno);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	_cleanup_close_ int other = unix_connect(s->socket, SOCK_SEQPACKET);
	if (other >= 0)
		return s->service ? main_wait_for(s, TAKE_FD(other)) : SW_EXIT_RUNNING;
	alarm(MAIN_LOCK_SECONDS);
	int r = flock(s->lock_fd, LOCK_EX) < 0 ? -errno : 0;
	alarm(0);
	return r < 0 ? main_fail("lock the socket", r) : 0;
}

/* Past glibc, which keeps two signals to itself and would leave them as the starter had them: all
 * zero is the default action. */
static void main_default_signals(void)
{
	static const uint64_t dflt[4];
	for (int sig = 1; sig < NSIG; sig++)
		syscall(SYS_rt_sigaction, sig, dflt, NULL, (size_t)NSIG / 8);
}

/*
 * A session of its own, no terminal, nothing of the starter's fds. Signals: all blocked for good,
 * so that none need be blocked around a spawn, and every disposition at its default, as ops inherit
 * it.
 */
static int main_detach(struct spawner *s)
{
	sigset_t all, watched;
	setsid();
	umask(077);
	if (chdir("/") < 0)
		return main_fail("enter /", -errno);
	main_default_signals();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return main_fail("become the parent of orphans", -errno);
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    (fcntl(2, F_GETFD) < 0 && dup2(null, 2) < 0))
		return main_fail("open /dev/null", -errno);
	if (null <= 2)
		null = -1;
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	sigemptyset(&watched);
	sigaddset(&watched, SIGCHLD);
	sigaddset(&watched, SIGTERM);
	sigaddset(&watched, SIGINT);
	sigaddset(&watched, SIGHUP);
	s->signal_fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? main_fail("watch signals", -errno) : 0;
}

static int main_watch(struct spawner *s, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };
	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int main_limits(struct spawner *s)
{
	struct rlimit lim;
	uint64_t soft;
	fd_raise_limit(&soft);
	s->nofile_soft = s->handover_fd >= 0 ? s->handover.nofile_soft : soft;
	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return main_fail("read the limit of open files", -errno);
	/* Two pipes an op, and the folder of its cgroup. */
	unsigned each = cgroup_init() ? 3 : 2;
	uint64_t ops =
		lim.rlim_cur > 2 * MAIN_SPARE_FDS ? (lim.rlim_cur - MAIN_SPARE_FDS) / each : 16;
	table_set_capacity((uint32_t)MIN2(ops, SW_CAPACITY));
	return 0;
}

static int main_watch_listener(struct spawner *s)
{
	fd_set_nonblock(s->listen_fd, true);
	return main_watch(s, s->listen_fd, EPOLLIN, LOOP_LISTEN);
}

/* Where it cannot be, a socket that is removed stays so. */
static void main_watch_place(struct spawner *s)
{
	int watch = s->own_socket ? place_watch() : -1;
	if (watch >= 0 && main_watch(s, watch, EPOLLIN, LOOP_PLACE) < 0)
		log_debug("the folder of the socket is not watched");
}

static int main_listen(struct spawner *s)
{
	if (s->listen_fd < 0) {
		s->listen_fd = place_listen(s->socket, s->lock_fd);
		if (s->listen_fd < 0)
			return main_fail("listen at the socket", s->listen_fd);
		s->own_socket = true;
	} else if (s->own_socket) {
		place_take(s->socket, s->lock_fd);
	}
	int r = main_watch_listener(s);
	if (r < 0)
		return main_fail("watch the socket", r);
	main_watch_place(s);
	conn_init(s->epoll);
	if (s->client_fd >= 0) {
		fd_set_nonblock(s->client_fd, true);
		conn_add(s->client_fd);
	}
	return 0;
}

/* Goes on with the files of a predecessor that had our pid. */
static int main_take_over(struct spawner *s)
{
	int r = handover_read(s->handover_fd, &s->handover);
	if (r < 0)
		return main_fail("read what was handed over", r);
	s->lock_fd = s->handover.lock_fd;
	s->listen_fd = s->handover.listen_fd;
	s->own_socket = s->handover.flags & HANDOVER_OWN_SOCKET;
	s->term = s->handover.flags & HANDOVER_ENDING;
	return 0;
}

/* Its ops and its connection. */
static void main_resume(struct spawner *s)
{
	handover_resume(s->handover_fd, &s->handover);
	close(s->handover_fd);
	if (s->handover.client_fd >= 0 && s->handover.protocol == SW_PROTOCOL)
		conn_serve(s->handover.client_fd);
	else if (s->handover.client_fd >= 0)
		close(s->handover.client_fd); /* it says HELLO again, and is answered */
	keep_reap();
	log_info("this is batchd-spawner %s now; %u ops are kept", BATCHD_VERSION, table_used());
}

static int main_setup(struct spawner *s)
{
	int r = s->handover_fd >= 0 ? main_take_over(s) : main_lock(s);
	if (r != 0 || (r = main_detach(s)) != 0 || (r = main_limits(s)) != 0)
		return r;
	s->table = main_beside(s->socket, TABLE_SUFFIX);
	r = s->handover_fd >= 0 ? table_take(s->handover.table_fd) : table_open(s->table);
	if (r < 0)
		return main_fail("open the table beside the socket", r);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0)
		return main_fail("make an event queue", -errno);
	r = main_watch(s, s->signal_fd, EPOLLIN, LOOP_SIGNAL);
	if (r < 0)
		return main_fail("watch signals", r);
	s->mounts_fd = mounts_open();
	if (s->mounts_fd >= 0 && main_watch(s, s->mounts_fd, EPOLLPRI, LOOP_MOUNTS) < 0)
		log_debug("mounts are not watched");
	r = main_listen(s);
	if (r != 0)
		return r;
	struct keep_config keep = { .epoll = s->epoll, .nofile_soft = s->nofile_soft };
	r = keep_init(&keep);
	if (r < 0)
		return main_fail("begin to keep ops", r);
	warm_init(s->program, s->epoll);
	if (s->handover_fd >= 0) {
		main_resume(s);
	} else {
		warm_end_predecessors();
		keep_inherit();
	}
	cgroup_sweep(false);
	s->alone_ms = time_mono_ms();
	notify_send("READY=1\nSTATUS=");
	return 0;
}

/* --- the loop --- */

static void main_signals(struct spawner *s)
{
	struct signalfd_siginfo si[4];
	ssize_t n = read(s->signal_fd, si, sizeof(si));
	for (ssize_t i = 0; i < n / (ssize_t)sizeof(si[0]); i++) {
		switch (si[i].ssi_signo) {
		case SIGCHLD:
			keep_reap();
			break;
		case SIGHUP:
			s->again = true;
			break;
		case SIGINT:
			log_info("the session is over: %u ops are told to end", keep_live());
			keep_stop_all(MAIN_GRACE_MS);
			s->term = s->over = true;
			break;
		default:
			if (table_used() > 0)
				log_info("told to end, but %u ops are kept here: going on until "
					 "they are not",
					 table_used());
			s->term = true;
		}
	}
}

/* Comes back only where it does not come about. */
static void main_again(struct spawner *s)
{
	struct handover h = { .lock_fd = s->lock_fd,
			      .table_fd = table_fd(),
			      .listen_fd = s->listen_fd,
			      .client_fd = conn_served_fd(),
			      .flags = (s->own_socket ? HANDOVER_OWN_SOCKET : 0) |
				       (s->term ? HANDOVER_ENDING : 0),
			      .nofile_soft = s->nofile_soft };
	s->again = false;
	warm_end();
	notify_send("RELOADING=1");
	int r = handover_exec(s->program, s->socket, &h);
	if (r > 0)
		log_error("'%s' cannot take over what runs: going on as before", s->program);
	else
		log_error("cannot execute '%s': %s: going on as before", s->program, strerror(-r));
	notify_send("READY=1");
}

static void main_listen_at(struct spawner *s, int fd)
{
	close(s->listen_fd);
	s->listen_fd = fd;
	if (main_watch_listener(s) < 0)
		log_error("cannot watch the socket");
}

static void main_place_changed(struct spawner *s)
{
	int fd = place_changed();
	if (fd >= 0)
		main_listen_at(s, fd);
}

/* Lock, table and socket, in a folder that is new. -errno: somebody else is there, or it cannot be
 * written to. */
static int main_settle(struct spawner *s)
{
	_cleanup_close_ int lock = main_open_lock(s);
	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	int r = table_move(s->table);
	if (r < 0)
		return r;
	int fd = place_listen(s->socket, lock);
	if (fd < 0)
		return fd;
	main_listen_at(s, fd);
	close(s->lock_fd);
	s->lock_fd = TAKE_FD(lock);
	main_watch_place(s);
	return 0;
}

/* The warm shell has the table mapped that goes. */
static void main_replace(struct spawner *s)
{
	s->replace = false;
	warm_end();
	int r = main_settle(s);
	if (r < 0)
		log_error("the folder of '%s' was removed, and what is kept cannot be put into the "
			  "new one: %s: the next batchd will not find the ops that run",
			  s->socket, strerror(-r));
	else
		log_warn("the folder of '%s' was removed: all is put into the new one", s->socket);
}

static void main_event(struct spawner *s, const struct epoll_event *ev)
{
	switch (LOOP_KIND(ev->data.u64)) {
	case LOOP_OP:
		keep_fd_event(LOOP_NUMBER(ev->data.u64));
		break;
	case LOOP_CONN:
		conn_event(LOOP_NUMBER(ev->data.u64));
		break;
	case LOOP_LISTEN:
		conn_accept(s->listen_fd);
		break;
	case LOOP_MOUNTS:
		mounts_changed();
		break;
	case LOOP_WARM:
		warm_event();
		break;
	case LOOP_PLACE:
		main_place_changed(s);
		break;
	}
}

static int main_timeout(const struct spawner *s)
{
	int64_t first = keep_deadline_ms(), retry = conn_deadline_ms();
	if (retry > 0 && (first == 0 || retry < first))
		first = retry;
	if (!conn_any() && table_used() == 0) {
		int64_t give_up = s->alone_ms + MAIN_ALONE_MS;
		first = first == 0 ? give_up : MIN2(first, give_up);
	}
	if (first == 0)
		return -1;
	int64_t left = first - time_mono_ms();
	return (int)MIN2(MAX2(left, 0), 3600 * 1000);
}

static bool main_is_over(const struct spawner *s)
{
	if ((s->term && table_used() == 0) || (s->over && keep_live() == 0))
		return true;
	/* Nobody is left to be told what ended. */
	if (!conn_any() && keep_live() == 0 && place_is_lost())
		return true;
	if (conn_any() || table_used() > 0)
		return false;
	return (conn_ever() && !s->service) || time_mono_ms() >= s->alone_ms + MAIN_ALONE_MS;
}

static int main_loop(struct spawner *s)
{
	struct epoll_event events[64];
	while (!main_is_over(s)) {
		int n = epoll_wait(s->epoll, events, ARRAY_SIZE(events), main_timeout(s));
		if (n < 0 && errno != EINTR)
			return main_fail("wait for events", -errno);
		/* Children first: what follows in the turn then sees who is left. */
		for (int i = 0; i < n; i++)
			if (events[i].data.u64 == LOOP_SIGNAL)
				main_signals(s);
		for (int i = 0; i < n; i++)
			main_event(s, &events[i]);
		keep_turn();
		hold_turn();
		if (s->again) /* who takes over knows nothing of them */
			hold_drop(true);
		conn_flush();
		if (conn_any() || table_used() > 0)
			s->alone_ms = time_mono_ms();
		s->replace |= place_is_asked();
		if (s->replace && !warm_is_asked())
			main_replace(s);
		if (s->again && conn_has_said_all() && !warm_is_asked())
			main_again(s);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct spawner s = { .listen_fd = -1, .client_fd = -1, .handover_fd = -1 };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	log_init("batchd-spawner", LOG_INFO);
	main_options(&s, argc, argv);
	self[MAX2(n, 0)] = '\0';
	s.program = self;
	s.service = notify_wanted();
	main_systemd_socket(&s);
	int r = main_setup(&s);
	if (r != 0 && failed[0] && s.client_fd >= 0)
		conn_say_refused(s.client_fd, failed);
	if (r != 0)
		return r;
	r = main_loop(&s);
	/* First deaf, then gone: who starts another one meanwhile waits for the lock (see
	 * main_lock). */
	close(s.listen_fd);
	warm_end();
	if (r == 0) {
		if (table_used() == 0)
			conn_bye();
		cgroup_sweep(true);
		table_close();
		place_leave();
	}
	free(s.table);
	return r;
}
