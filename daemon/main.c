/*~
 * batchd: the guided tour starts here.
 *
 * main() reads options and batchd.conf, daemonises unless told not to, and hands over to loop.c,
 * which puts the parts together: rpc/ takes requests from the socket, engine/ decides, store/ makes
 * it durable, exec/ carries it out through the spawner.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/paths.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/config.h"
#include "daemon/event_memory.h"
#include "daemon/exec/spawner_table.h"
#include "daemon/leave_op.h"
#include "daemon/loop.h"
#include "daemon/other.h"
#include "daemon/store/check.h"
#include "daemon/store/store.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
	"Usage: batchd [--foreground] [--socket PATH] [--state-dir DIR] [--config FILE]\n"
	"\n"
	"Runs batches that batchctl submits. Without --foreground it goes to the background once "
	"it\n"
	"listens, and logs to batchd.log in the state folder.\n"
	"\n"
	"  --foreground      stay; log to stderr\n"
	"  --socket PATH     listen there (else $BATCHD_SOCKET, else "
	"$XDG_RUNTIME_DIR/batchd/socket)\n"
	"  --state-dir DIR   database and run logs (else $XDG_STATE_HOME/batchd, "
	"~/.local/state/batchd)\n"
	"  --config FILE     instead of ~/.config/batchd/batchd.conf\n"
	"  --check-config    read the configuration, say what is wrong with it, and end\n"
	"  --check-state     the same for the state folder and its database; changes nothing\n"
	"  --version, --help\n";

struct options {
	bool foreground, check_config, check_state;
	char *socket, *state_dir, *config;
	bool config_given;
};

static char *absolute(const char *path)
{
	char cwd[PATH_MAX];
	struct buf b = BUF_INIT;
	path_normal(&b, slice_str(getcwd(cwd, sizeof(cwd)) ? cwd : "/"), slice_str(path));
	return buf_steal(&b);
}

static void usage_error(void)
{
	fputs("batchd: see `batchd --help`\n", stderr);
	exit(EXIT_USAGE);
}

static void options_parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "foreground", no_argument, NULL, 'f' },
		{ "socket", required_argument, NULL, 's' },
		{ "state-dir", required_argument, NULL, 'd' },
		{ "config", required_argument, NULL, 'c' },
		{ "check-config", no_argument, NULL, 'C' },
		{ "check-state", no_argument, NULL, 'S' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		switch (c) {
		case 'f':
			o->foreground = true;
			break;
		case 's':
			o->socket = absolute(optarg);
			break;
		case 'd':
			o->state_dir = absolute(optarg);
			break;
		case 'c':
			o->config = absolute(optarg);
			o->config_given = true;
			break;
		case 'C':
			o->check_config = true;
			break;
		case 'S':
			o->check_state = true;
			break;
		case 'v':
			puts("batchd " BATCHD_VERSION);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			usage_error();
		}
	}
	if (optind < argc) {
		fprintf(stderr, "batchd: unexpected argument '%s'\n", argv[optind]);
		usage_error();
	}
}

/* Beside ourselves (installed, or in the build tree under spawner/), else in PATH. */
static char *find_spawner(void)
{
	char *found = path_find_program(NULL, path_spawner_places, BATCHD_SPAWNER);
	return found ? found : xstrdup("batchd-spawner");
}

/* For ops that read the todo list, and for notifications; NULL: it is nowhere. */
static char *find_batchctl(void)
{
	static const char *const places[] = { "batchctl", "../client/batchctl", NULL };
	return path_find_program(NULL, places, NULL);
}

/* The child goes on; the parent waits for its word: "" for ready, else the error. Returns the pipe
 * for that word. */
static int daemonise(void)
{
	int word[2];
	if (pipe2(word, O_CLOEXEC) < 0) {
		perror("batchd: pipe");
		exit(1);
	}
	pid_t pid = fork();
	if (pid < 0) {
		perror("batchd: fork");
		exit(1);
	}
	if (pid == 0) {
		close(word[0]);
		setsid();
		return word[1];
	}
	close(word[1]);
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (fd_read_all(word[0], 65536, &b) == 0 && b.len == 1 && b.p[0] == '\n')
		exit(0);
	fputs(b.len ? buf_str(&b)
		    : "batchd: ended while starting: see batchd.log in its state folder\n",
	      stderr);
	exit(1);
}

static void log_to_file(const char *state_dir)
{
	path_mkdirs(state_dir, 0700);
	_cleanup_free_ char *path = xasprintf("%s/batchd.log", state_dir);
	_cleanup_close_ int fd = open(
		path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (fd >= 0)
		dup2(fd, STDERR_FILENO);
}

/* Tells the waiting parent, or stderr; returns the exit status. */
static int starting_failed(int word, const struct err *e)
{
	if (word < 0) {
		fprintf(stderr, "batchd: %s\n", e->text);
		return 1;
	}
	log_error("%s", e->text);
	_cleanup_free_ char *line = xasprintf("batchd: %s\n", e->text);
	if (fd_write_all(word, line, strlen(line)) < 0)
		log_warn("whoever started this batchd has gone");
	return 1;
}

/* Another has the state folder and does not answer where we were to listen. */
static void run_silent(const struct options *o, struct err *e)
{
	_cleanup_(lock_holder_done) struct lock_holder h = LOCK_HOLDER_INIT;
	struct err why = *e;
	bool ours = lock_look(o->state_dir, &h) && h.socket && strcmp(h.socket, o->socket) == 0;
	if (ours && h.pid > 1 && access(o->socket, F_OK) < 0)
		err_set(e, 0,
			"%s and does not listen at '%s': its socket file was removed: `kill %d`, "
			"then `batchctl daemon start`",
			why.text, o->socket, (int)h.pid);
	else
		err_set(e, 0,
			"%s and does not listen at '%s': name its socket with --socket or "
			"BATCHD_SOCKET, or stop it first",
			why.text, o->socket);
}

static int run(const struct options *o, struct config *config, int word)
{
	struct err e = ERR_INIT;
	_cleanup_free_ char *spawner = find_spawner(), *batchctl = find_batchctl();
	_cleanup_free_ char *spawner_socket = xasprintf("%s.spawner", o->socket);
	int listen_fd = notify_listen_fd();
	_cleanup_free_ char *bound = listen_fd < 0 ? NULL : unix_bound_path(listen_fd);
	struct batchd_options bo = {
		.socket = bound ? bound : o->socket,
		.spawner_socket = spawner_socket,
		.state_dir = o->state_dir,
		.config = o->config,
		.config_must_exist = o->config_given,
		.spawner_program = spawner,
		.batchctl = batchctl,
		.listen_fd = listen_fd,
		.systemd = listen_fd >= 0,
	};
	struct batchd *b;
	enum other other = OTHER_GONE;
	int r;
	while ((r = batchd_open(&bo, config, &b, &e)) == BATCHD_RUNNING && other == OTHER_GONE)
		other = other_look(o->state_dir, o->socket);
	if (r == BATCHD_RUNNING && other == OTHER_SERVES) {
		fprintf(stderr, "batchd: already running at '%s'\n", o->socket);
		return word >= 0 && fd_write_all(word, "\n", 1) ? 1 : 0;
	}
	if (r == BATCHD_RUNNING)
		run_silent(o, &e);
	if (r)
		return starting_failed(word, &e);
	log_info("batchd %s listens at '%s'", BATCHD_VERSION, bo.socket);
	if (word >= 0) {
		if (fd_write_all(word, "\n", 1) < 0)
			log_warn("whoever started this batchd has gone");
		close(word);
	}
	r = batchd_run(b);
	batchd_close(b);
	log_info("stopped");
	return r;
}

/* --check-state. */
static int check_state(const struct options *o)
{
	struct err e = ERR_INIT;
	uint64_t id;
	int r = store_check(o->state_dir, &id, &e);
	if (r == STORE_LOCKED)
		printf("batchd: state folder '%s' is in use: not looked into\n", o->state_dir);
	if (r == 0) {
		_cleanup_free_ char *spawner = xasprintf("%s.spawner", o->socket);
		r = spawner_table_check(spawner, id, &e);
	}
	if (r != 1)
		return 0;
	fprintf(stderr, "batchd: %s\n", e.text);
	return 1;
}

/* Said before anything is opened: later each thing would fail in words of its own. */
static bool too_few_files(void)
{
	struct rlimit lim;
	if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur >= FD_LEAST)
		return false;
	fprintf(stderr,
		"batchd: only %" PRIu64 " files may be open at a time (RLIMIT_NOFILE), and batchd "
		"needs %d at least: raise the hard limit (`ulimit -Hn` shows it; LimitNOFILE=, "
		"limits.conf(5))\n",
		(uint64_t)lim.rlim_cur, FD_LEAST);
	return true;
}

/* A mask outlives exec: blocked by whoever started us, SIGTERM would end nothing. */
static void signals_unblock(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What there is to do; the exit status. */
static int options_do(const struct options *o, struct config *config, char **argv)
{
	struct err e = ERR_INIT;
	if (o->check_state && o->state_dir)
		return check_state(o);
	if (o->config && config_read(config, o->config, o->config_given, &e)) {
		fprintf(stderr, "batchd: %s\n", e.text);
		return EXIT_USAGE;
	}
	if (o->check_config)
		return 0;
	if (!o->foreground)
		leave_op(argv);
	signals_unblock();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN); /* until the loop takes it for a reload */
	signal(SIGXFSZ, SIG_IGN);
	umask(077);
	fd_raise_limit(NULL);
	if (too_few_files())
		return 1;
	int word = -1;
	if (o->foreground) {
		notify_take();
	} else {
		unsetenv("NOTIFY_SOCKET"); /* who waits for us does so in another way */
		word = daemonise();
		log_to_file(o->state_dir);
	}
	log_init("batchd", (enum log_level)config->log_level);
	return run(o, config, word);
}

int main(int argc, char **argv)
{
	struct options o = { 0 };
	struct config config;
	struct err e = ERR_INIT;
	fd_open_std();
	event_memory_init();
	options_parse(argc, argv, &o);
	config_init(&config);
	if (!o.socket)
		o.socket = path_default_socket();
	if (!o.state_dir)
		o.state_dir = path_default_state(&e);
	if (!o.config)
		o.config = path_default_config();
	if (!o.state_dir)
		fprintf(stderr, "batchd: %s\n", e.text);
	int r = o.state_dir ? options_do(&o, &config, argv) : EXIT_USAGE;
	config_done(&config);
	free(o.socket);
	free(o.state_dir);
	free(o.config);
	return r;
}
