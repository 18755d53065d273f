#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/daemon_start.h"
#include "client/doctor.h"
#include "client/term.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/pack.h"

#define RUN_MS 10000
#define RUN_BYTES (64u << 10)

extern char **environ;

/* The first finds out what the others build upon. */
static const struct doctor_check checks[] = {
	{ "daemon", doctor_daemon },	 { "socket", doctor_socket },
	{ "programs", doctor_programs }, { "spawner", doctor_spawner },
	{ "systemd", doctor_systemd },	 { "config", doctor_config },
	{ "state", doctor_state },	 { "database", doctor_database },
	{ "disk", doctor_disk },	 { "memory", doctor_memory },
	{ "log", doctor_log },		 { "clock", doctor_clock },
	{ "limits", doctor_limits },	 { "containment", doctor_containment },
};

static const struct {
	const char *name;
	enum color color;
} levels[] = {
	[DOCTOR_OK] = { "ok", COLOR_GREEN },
	[DOCTOR_NOTE] = { "note", COLOR_YELLOW },
	[DOCTOR_PROBLEM] = { "problem", COLOR_RED },
};
_Static_assert(ARRAY_SIZE(levels) == DOCTOR_MAX, "a name for each level");

static void say_text(struct doctor *d, enum doctor_level level, struct slice text, const char *mend)
{
	bool on = d->c->color_out;
	if (level == DOCTOR_OK && d->c->quiet)
		return;
	term_color(&d->text, on, levels[level].color);
	buf_addf(&d->text, "%-8s", levels[level].name);
	term_color(&d->text, on, COLOR_NONE);
	buf_addf(&d->text, " %-12s", d->check);
	text_one_line(&d->text, text, 1000);
	buf_addc(&d->text, '\n');
	if (!mend)
		return;
	buf_addf(&d->text, "%21smend: ", "");
	text_one_line(&d->text, slice_str(mend), 1000);
	buf_addc(&d->text, '\n');
}

void doctor_say(struct doctor *d, enum doctor_level level, const char *mend, const char *fmt, ...)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	va_list ap;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	d->found[level]++;
	say_text(d, level, buf_slice(&text), mend);
	pk_map(d->pk);
	pk_kstr(d->pk, "check", slice_str(d->check));
	pk_kstr(d->pk, "state", slice_str(levels[level].name));
	pk_ktext(d->pk, "text", buf_slice(&text));
	pk_ktext(d->pk, "mend", slice_str(mend));
	pk_end(d->pk);
}

/* ---- running a program ---- */

/* Reads until the end of the pipe; false when the time is over. */
static bool run_read(int fd, struct buf *out)
{
	int64_t deadline = time_mono_ms() + RUN_MS;
	char piece[4096];
	for (int64_t left; (left = deadline - time_mono_ms()) > 0;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		ssize_t n = read(fd, piece, sizeof(piece));
		if (n == 0 || (n < 0 && errno != EINTR))
			return true;
		if (n > 0 && out->len < RUN_BYTES)
			buf_add(out, piece, (size_t)n);
	}
	return false;
}

static int run_spawn(const char *const *argv, int write_fd, pid_t *ret)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t dflt;
	sigemptyset(&dflt);
	sigaddset(&dflt, SIGPIPE); /* ignored by us, and that would be inherited */
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, write_fd, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, write_fd, STDERR_FILENO);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &dflt);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	int r = posix_spawnp(ret, argv[0], &files, &attr, (char **)(void *)argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return r;
}

int doctor_run(const char *const *argv, struct buf *out)
{
	_cleanup_buf_ struct buf said = BUF_INIT;
	int pipes[2], status;
	pid_t pid;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -1;
	_cleanup_close_ int from = pipes[0];
	int r = run_spawn(argv, pipes[1], &pid);
	close(pipes[1]);
	if (r != 0)
		return -1;
	if (!run_read(from, &said))
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	while (said.len && said.p[said.len - 1] == '\n')
		said.len--;
	text_one_line(out, buf_slice(&said), 800);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- the verb ---- */

static void doctor_done(struct doctor *d)
{
	lock_holder_done(&d->holder);
	buf_done(&d->status);
	buf_done(&d->text);
	buf_done(&d->json);
	free(d->state);
	free(d->socket_dir);
	free(d->program);
}

static void doctor_sum(struct doctor *d)
{
	int problems = d->found[DOCTOR_PROBLEM], notes = d->found[DOCTOR_NOTE];
	if (d->c->quiet)
		return;
	if (problems)
		buf_addf(&d->text, "%d problem%s", problems, PLURAL(problems));
	else
		buf_adds(&d->text, "all well");
	if (notes)
		buf_addf(&d->text, ", %d note%s", notes, PLURAL(notes));
	buf_addc(&d->text, '\n');
}

static int verb_doctor(struct ctx *c, void *options)
{
	_cleanup_(doctor_done) struct doctor d = { .c = c, .text = BUF_INIT, .json = BUF_INIT };
	struct pk pk = PK_INIT(&d.json);
	(void)options;
	d.pk = &pk;
	d.state = path_default_state(NULL);
	d.program = daemon_program();
	d.socket_dir = xstrdup(c->socket);
	*MAX2(strrchr(d.socket_dir, '/'), d.socket_dir + 1) = '\0';
	pk_map(&pk);
	pk_key(&pk, "checks");
	pk_array(&pk);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		d.check = checks[i].name;
		checks[i].look(&d);
	}
	pk_end(&pk);
	pk_kbool(&pk, "ok", d.found[DOCTOR_PROBLEM] == 0);
	pk_end(&pk);
	doctor_sum(&d);
	int status = c->json ? ctx_print_json(c, buf_slice(&d.json)) : ctx_print(c, &d.text);
	return status ? status : d.found[DOCTOR_PROBLEM] ? EXIT_RUN : EXIT_OK;
}

const struct verb cmd_doctor = {
	.name = "doctor",
	.run = verb_doctor,
	.help = "look over everything batchd needs; say what to mend",
	.more = "Exit 1 when there is a problem; notes are no problems. Starts nothing, changes "
		"nothing;\n"
		"-q shows only what is not well.\n\n"
		"  batchctl doctor\n"
		"  batchctl doctor --json | jq '.checks[] | select(.mend)'\n",
	.max_args = 0,
};
