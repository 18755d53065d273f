#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/daemon_start.h"
#include "client/doctor.h"
#include "common/fd.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/mp.h"

#define ANSWER_MS 3000 /* a daemon at work answers within milliseconds */

/* ---- daemon ---- */

static bool daemon_elsewhere(struct doctor *d)
{
	if (!d->locked || !d->holder.socket || strcmp(d->holder.socket, d->c->socket) == 0)
		return false;
	_cleanup_free_ char *mend = xasprintf("export BATCHD_SOCKET=%s", d->holder.socket);
	doctor_say(d, DOCTOR_PROBLEM, mend,
		   "the daemon of state folder '%s' (pid %d) serves '%s', not '%s'", d->state,
		   (int)d->holder.pid, d->holder.socket, d->c->socket);
	return true;
}

static void daemon_removed(struct doctor *d)
{
	_cleanup_free_ char *mend =
		xasprintf("wait a moment if it is just starting; else its socket file was removed: "
			  "`kill %d`, then `batchctl daemon start`",
			  (int)d->holder.pid);
	doctor_say(d, DOCTOR_PROBLEM, mend, "pid %d has the state folder, but there is no '%s'",
		   (int)d->holder.pid, d->c->socket);
}

static void daemon_ask(struct doctor *d)
{
	struct err e = ERR_INIT;
	int r = conn_open_within(d->c->socket, NULL, ANSWER_MS, &d->c->conn, &e);
	if (r == 0)
		r = ctx_try(d->c, "daemon.status", NULL, &d->status, &e);
	if (r == -ETIMEDOUT)
		doctor_say(
			d, DOCTOR_PROBLEM,
			"see what holds it up (stopped? a dead disk? more clients than it may have "
			"open files?), or `kill -9` it: ops go on, and the next start finds them",
			"pid %d does not answer within %d s", (int)d->holder.pid, ANSWER_MS / 1000);
	else if (r == -ENOENT && d->holder.pid > 1)
		daemon_removed(d);
	else if (r < 0)
		doctor_say(d, DOCTOR_PROBLEM,
			   "wait a moment if it is just starting; else see the log",
			   "one is running%s but '%s' cannot be reached: %s",
			   d->locked ? " (the state folder is locked)" : "", d->c->socket,
			   strerror(-r));
	else if (r > 0)
		doctor_say(
			d, DOCTOR_PROBLEM,
			"`batchctl daemon stop`: ops go on, and the next start is this version's",
			"the daemon will not talk to us: %s", e.text);
}

/* A program that was replaced on disk while it runs. */
static bool daemon_is_replaced(int64_t pid)
{
	static const char mark[] = " (deleted)";
	char path[64], exe[PATH_MAX];
	snprintf(path, sizeof(path), "/proc/%" PRId64 "/exe", pid);
	ssize_t n = pid > 0 ? readlink(path, exe, sizeof(exe)) : -1;
	size_t len = sizeof(mark) - 1;
	return n > (ssize_t)len && memcmp(exe + n - len, mark, len) == 0;
}

/* What it says holds it up; each line says what to do about it. */
static void daemon_troubles(struct doctor *d)
{
	struct slice said = mp_find(buf_slice(&d->status), "troubles");
	if (!said.p)
		return; /* an older one */
	struct mp m = mp_of(said);
	struct mp_value troubles = mp_next(&m);
	for (uint32_t i = 0; troubles.type == MP_ARRAY && i < troubles.count; i++) {
		struct slice text = mp_next(&m).bytes;
		doctor_say(d, DOCTOR_PROBLEM, "as it says; all goes on by itself when that is over",
			   "%.*s", SLICE_FMT(text));
	}
}

/* The state folder is taken, and nobody serves us: one that is about to end, or no batchd at all.
 */
static void daemon_holder(struct doctor *d)
{
	_cleanup_free_ char *mend =
		xasprintf("end it: `fuser '%s/lock'` tells who it is", d->state);
	if (d->holder.leaving && d->holder.pid > 1 && kill(d->holder.pid, 0) == 0)
		doctor_ok(d, "pid %d is stopping", (int)d->holder.pid);
	else
		doctor_say(d, DOCTOR_PROBLEM, mend,
			   "state folder '%s' is locked by a program that does not serve '%s'",
			   d->state, d->c->socket);
}

void doctor_daemon(struct doctor *d)
{
	d->locked = d->state && lock_look(d->state, &d->holder);
	if (daemon_elsewhere(d))
		return;
	d->serves = daemon_is_running(d->c->socket);
	if (!d->serves && d->locked) {
		daemon_holder(d);
		return;
	}
	if (!d->serves) {
		doctor_ok(d, "none runs; the next verb that needs one starts it");
		return;
	}
	daemon_ask(d);
	if (!d->status.len)
		return;
	struct slice s = buf_slice(&d->status), version = mp_get_str(s, "version"),
		     state = mp_get_str(s, "state_dir");
	int64_t pid = mp_get_int(s, "pid", 0);
	int64_t runs = mp_get_int(s, "live_runs", 0), ops = mp_get_int(s, "running_ops", 0);
	doctor_ok(d,
		  "batchd %.*s runs (pid %" PRId64 "), %" PRId64 " run%s, %" PRId64 " op%s at work",
		  SLICE_FMT(version), pid, runs, PLURAL(runs), ops, PLURAL(ops));
	daemon_troubles(d);
	if (!slice_is(version, BATCHD_VERSION))
		doctor_say(d, DOCTOR_NOTE, "batchctl daemon stop; batchctl daemon start",
			   "it is version %.*s, this batchctl is " BATCHD_VERSION,
			   SLICE_FMT(version));
	else if (daemon_is_replaced(pid))
		doctor_say(d, DOCTOR_NOTE, "batchctl daemon stop; batchctl daemon start",
			   "its program was replaced since it started; ops go on over a restart");
	if (d->state && !slice_is(state, d->state))
		doctor_say(d, DOCTOR_NOTE, NULL, "its state folder is '%.*s'", SLICE_FMT(state));
}

/* ---- socket ---- */

static void socket_folder(struct doctor *d)
{
	struct stat st;
	_cleanup_free_ char *close_it = xasprintf("chmod 700 '%s'", d->socket_dir);
	if (lstat(d->socket_dir, &st) < 0) {
		if (errno == ENOENT)
			doctor_ok(d, "folder '%s' will be made when it is needed", d->socket_dir);
		else
			doctor_say(d, DOCTOR_PROBLEM, "name a socket elsewhere with BATCHD_SOCKET",
				   "cannot look at folder '%s': %s", d->socket_dir,
				   strerror(errno));
	} else if (!S_ISDIR(st.st_mode)) {
		doctor_say(d, DOCTOR_PROBLEM,
			   "remove it, or name another socket with BATCHD_SOCKET",
			   "'%s' is not a folder", d->socket_dir);
	} else if (st.st_uid != getuid()) {
		doctor_say(d, DOCTOR_PROBLEM, "name a socket in a folder of your own",
			   "folder '%s' belongs to uid %u", d->socket_dir, (unsigned)st.st_uid);
	} else if (st.st_mode & 0077) {
		doctor_say(d, DOCTOR_PROBLEM, close_it, "folder '%s' is open to others (mode %04o)",
			   d->socket_dir, (unsigned)st.st_mode & 07777);
	} else if (access(d->socket_dir, W_OK | X_OK) < 0) {
		doctor_say(d, DOCTOR_PROBLEM, close_it, "folder '%s' cannot be written to: %s",
			   d->socket_dir, strerror(errno));
	} else {
		doctor_ok(d, "folder '%s' is yours alone", d->socket_dir);
	}
}

static void socket_runtime_dir(struct doctor *d)
{
	const char *named = getenv("BATCHD_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
	char usual[64];
	struct stat st;
	if ((named && *named) || (runtime && runtime[0] == '/'))
		return;
	snprintf(usual, sizeof(usual), "/run/user/%u", (unsigned)getuid());
	_cleanup_free_ char *mend = xasprintf("export XDG_RUNTIME_DIR=%s", usual);
	bool there = stat(usual, &st) == 0;
	doctor_say(d, DOCTOR_NOTE, there ? mend : NULL,
		   "XDG_RUNTIME_DIR is not set: sessions where it is meet at another socket than "
		   "'%s'",
		   d->c->socket);
}

static void socket_itself(struct doctor *d)
{
	const char *path = d->c->socket;
	struct stat st;
	_cleanup_free_ char *close_it = xasprintf("chmod 600 '%s'", path);
	if (lstat(path, &st) < 0)
		return;
	if (!S_ISSOCK(st.st_mode)) {
		doctor_say(d, DOCTOR_PROBLEM,
			   "move it away, or name another socket with BATCHD_SOCKET",
			   "'%s' is there and is no socket", path);
		return;
	}
	if (st.st_mode & 0077)
		doctor_say(d, DOCTOR_PROBLEM, close_it, "'%s' is open to others (mode %04o)", path,
			   (unsigned)st.st_mode & 07777);
	if (d->serves || d->locked)
		return;
	/* Nobody of ours serves it: connecting could wake one, so only systemd's word is taken. */
	if (daemon_socket_is_strangers(path))
		doctor_say(d, DOCTOR_PROBLEM,
			   "end it (`ss -xlp` tells who it is), or name another socket with "
			   "BATCHD_SOCKET",
			   "a program that is no batchd listens at '%s'", path);
	else if (daemon_socket_bound(path))
		doctor_ok(d, "'%s' waits for the first client (socket activation)", path);
	else
		doctor_ok(d, "'%s' is left over; the next start replaces it", path);
}

void doctor_socket(struct doctor *d)
{
	socket_folder(d);
	socket_runtime_dir(d);
	socket_itself(d);
}

/* ---- programs ---- */

/* Says where a program is and whether its version is ours. */
static void programs_one(struct doctor *d, const char *name, const char *path)
{
	_cleanup_buf_ struct buf said = BUF_INIT;
	const char *const argv[] = { path, "--version", NULL };
	size_t len = strlen(name);
	if (!path) {
		_cleanup_free_ char *mend =
			xasprintf("install %s beside batchctl or in PATH", name);
		doctor_say(d, DOCTOR_PROBLEM, mend, "no program '%s' was found", name);
		return;
	}
	if (doctor_run(argv, &said) != 0 || strncmp(buf_str(&said), name, len) != 0)
		doctor_say(d, DOCTOR_PROBLEM, "install it again", "'%s' cannot be run: %s", path,
			   said.len ? buf_str(&said) : "no answer to --version");
	else if (strcmp(buf_str(&said) + len, " " BATCHD_VERSION) != 0)
		doctor_say(d, DOCTOR_NOTE, "install all three of one version",
			   "'%s' is %s, this batchctl is " BATCHD_VERSION, path, buf_str(&said));
	else
		doctor_ok(d, "%s is '%s'", name, path);
}

void doctor_programs(struct doctor *d)
{
	programs_one(d, "batchd", d->program);
	if (!d->program)
		return;
	_cleanup_free_ char *spawner =
		path_find_program(d->program, path_spawner_places, BATCHD_SPAWNER);
	programs_one(d, "batchd-spawner", spawner);
}

/* ---- spawner ---- */

/* Does the process's command line hold that word? */
static bool spawner_has_word(const char *pid, const char *word)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	_cleanup_free_ char *path = xasprintf("/proc/%s/cmdline", pid);
	if (fd_read_file(path, 1u << 20, &line) < 0)
		return false;
	for (size_t i = 0, n; i < line.len; i += n + 1) {
		n = strnlen(line.p + i, line.len - i);
		if (n == strlen(word) && memcmp(line.p + i, word, n) == 0)
			return true;
	}
	return false;
}

static bool spawner_is_named(const char *pid)
{
	_cleanup_buf_ struct buf comm = BUF_INIT;
	_cleanup_free_ char *path = xasprintf("/proc/%s/comm", pid);
	return fd_read_file(path, 4096, &comm) == 0 &&
	       slice_is(buf_slice(&comm), "batchd-spawner\n");
}

/* The spawner of our socket, whoever its parent is; 0: none. */
static pid_t spawner_find(const struct doctor *d)
{
	_cleanup_free_ char *socket = xasprintf("%s.spawner", d->c->socket);
	DIR *dir = opendir("/proc");
	pid_t found = 0;
	for (struct dirent *e; dir && !found && (e = readdir(dir));) {
		int64_t pid;
		if (parse_int(slice_str(e->d_name), 1, INT_MAX, &pid) &&
		    spawner_is_named(e->d_name) && spawner_has_word(e->d_name, socket))
			found = (pid_t)pid;
	}
	if (dir)
		closedir(dir);
	return found;
}

static int spawner_children(pid_t pid)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	_cleanup_free_ char *path = xasprintf("/proc/%d/task/%d/children", (int)pid, (int)pid);
	int n = 0;
	if (fd_read_file(path, 1u << 20, &b) < 0)
		return -1;
	for (size_t i = 0; i < b.len; i++)
		n += b.p[i] == ' ';
	return n;
}

void doctor_spawner(struct doctor *d)
{
	int64_t served = mp_get_int(buf_slice(&d->status), "spawner_pid", 0);
	if (daemon_is_replaced(served)) {
		doctor_say(d, DOCTOR_NOTE, "batchctl daemon reload",
			   "pid %" PRId64 " runs a program that was replaced since it started",
			   served);
		return;
	}
	if (served > 0) {
		int n = spawner_children((pid_t)served);
		doctor_ok(d, "pid %" PRId64 " has %d process%s", served, n, n == 1 ? "" : "es");
		return;
	}
	pid_t alone = d->serves || d->locked ? 0 : spawner_find(d);
	int n = alone ? spawner_children(alone) : 0;
	if (alone)
		doctor_say(d, DOCTOR_NOTE, "batchctl daemon start",
			   "pid %d keeps %d process%s, and results that no daemon has taken yet",
			   (int)alone, n, n == 1 ? "" : "es");
	else
		doctor_ok(d, "none runs without a daemon");
}

/* ---- systemd ---- */

static char *systemd_unit(const char *name)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	_cleanup_free_ char *own = config && config[0] == '/'
					   ? xasprintf("%s/systemd/user", config)
					   : xasprintf("%s/.config/systemd/user", home ? home : "");
	const char *const places[] = { own, "/etc/systemd/user", BATCHD_UNITDIR,
				       "/usr/local/lib/systemd/user", "/usr/lib/systemd/user" };
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", places[i], name);
		if (access(path, R_OK) == 0)
			return TAKE_PTR(path);
	}
	return NULL;
}

/* `systemctl --user VERB UNIT`'s one word. */
static void systemd_ask(const char *verb, const char *unit, struct buf *ret)
{
	const char *const argv[] = { "systemctl", "--user", verb, unit, NULL };
	if (doctor_run(argv, ret) < 0 && !ret->len)
		buf_adds(ret, "unknown");
}

static void systemd_linger(struct doctor *d)
{
	const struct passwd *pw = getpwuid(getuid());
	if (!pw)
		return;
	_cleanup_free_ char *path = xasprintf("/var/lib/systemd/linger/%s", pw->pw_name);
	if (access(path, F_OK) < 0)
		doctor_say(d, DOCTOR_NOTE, "loginctl enable-linger",
			   "units of yours end with your last session, and ops with them");
}

bool doctor_user_manager(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	_cleanup_free_ char *manager =
		xasprintf("%s/systemd/private", runtime && *runtime ? runtime : "/nowhere");
	return access(manager, F_OK) == 0;
}

void doctor_systemd(struct doctor *d)
{
	static const char *const services[] = { "batchd.service", "batchd-spawner.service" };
	_cleanup_free_ char *unit = systemd_unit("batchd.socket");
	_cleanup_buf_ struct buf enabled = BUF_INIT, active = BUF_INIT;
	if (!doctor_user_manager()) {
		doctor_ok(d, "no user manager here: batchctl starts batchd when it is needed");
		return;
	}
	if (!unit) {
		doctor_ok(d, "units are not installed: batchctl starts batchd when it is needed");
		return;
	}
	systemd_ask("is-enabled", "batchd.socket", &enabled);
	systemd_ask("is-active", "batchd.socket", &active);
	bool on = strcmp(buf_str(&enabled), "enabled") == 0;
	bool listens = strcmp(buf_str(&active), "active") == 0;
	if (!on || !listens)
		doctor_say(d, DOCTOR_NOTE, "systemctl --user enable --now batchd.socket",
			   "'%s' is installed, but %s and %s", unit, buf_str(&enabled),
			   buf_str(&active));
	else
		doctor_ok(d, "batchd.socket is enabled and active");
	for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
		_cleanup_buf_ struct buf state = BUF_INIT;
		_cleanup_free_ char *mend =
			xasprintf("journalctl --user -u %s; systemctl --user reset-failed %s",
				  services[i], services[i]);
		systemd_ask("is-active", services[i], &state);
		if (strcmp(buf_str(&state), "failed") == 0)
			doctor_say(d, DOCTOR_PROBLEM, mend, "%s has failed", services[i]);
	}
	if (on)
		systemd_linger(d);
}
