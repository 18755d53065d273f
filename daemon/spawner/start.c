#include "daemon/spawner/start.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/text.h"
#include "daemon/spawner/cgroup.h"
#include "daemon/spawner/env.h"
#include "daemon/spawner/mark.h"
#include "daemon/spawner/mounts.h"
#include "daemon/spawner/warm.h"

#define START_ARGS_MAX (SW_PACKET_BYTES)

static int null_fd;
static uint64_t nofile_soft;
/* One before the first: room for the shell that reads a script (child.h). */
static char *args[START_ARGS_MAX + 2];

int start_init(uint64_t soft)
{
	nofile_soft = soft;
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return null_fd < 0 ? -errno : 0;
}

/* The texts behind the stages, in their order. */
struct start_texts {
	struct slice cwd, argv, extra, stdin_path, env_path;
};

static void start_texts(const struct sw_start *s, struct start_texts *ret)
{
	const char *p = (const char *)(s + 1) + s->n_stages * sizeof(struct sw_stage);
	struct slice *const slices[] = { &ret->cwd, &ret->argv, &ret->extra, &ret->stdin_path,
					 &ret->env_path };
	const uint32_t lens[] = { s->cwd_bytes, s->argv_bytes, s->extra_bytes, s->stdin_bytes,
				  s->env_bytes };
	for (unsigned i = 0; i < ARRAY_SIZE(slices); i++) {
		*slices[i] = slice_of(p, lens[i]);
		p += lens[i];
	}
}

static bool start_ends_in_nul(struct slice s)
{
	return s.len == 0 || s.p[s.len - 1] == '\0';
}

bool start_is_whole(const struct sw_start *s)
{
	struct start_texts t;
	if (s->head.size < sizeof(*s) || s->n_stages > SW_STAGES_MAX)
		return false;
	uint64_t bytes = sizeof(*s) + (uint64_t)s->n_stages * sizeof(struct sw_stage) +
			 s->cwd_bytes + s->argv_bytes + s->extra_bytes + s->stdin_bytes +
			 s->env_bytes;
	if (SW_ALIGN(bytes) != s->head.size || s->cwd_bytes == 0 || s->argc == 0)
		return false;
	start_texts(s, &t);
	uint32_t n = 0;
	for (size_t i = 0; i < t.argv.len; i++)
		n += t.argv.p[i] == '\0';
	return n == s->argc && start_ends_in_nul(t.cwd) && start_ends_in_nul(t.argv) &&
	       start_ends_in_nul(t.extra) && start_ends_in_nul(t.stdin_path) &&
	       start_ends_in_nul(t.env_path);
}

struct slice start_extra(const struct sw_start *s)
{
	struct start_texts t;
	start_texts(s, &t);
	return t.extra;
}

static char **start_argv(struct slice argv)
{
	size_t n = 1;
	for (size_t at = 0; at < argv.len; at += strlen(argv.p + at) + 1)
		args[n++] = (char *)argv.p + at;
	args[n] = NULL;
	return args + 1;
}

static unsigned short start_extent(char *const *env, const char *name, unsigned short dflt)
{
	const char *text = env_value(env, name);
	int64_t v;
	return text && parse_int(slice_str(text), 1, USHRT_MAX, &v) ? (unsigned short)v : dflt;
}

/* As large as the environment says; and at its end (termios(3) VEOF), where stdin is it too:
 * isatty(3) holds for that, and who reads it does not hang. 0 or -errno. */
static int start_terminal(int terminal, char *const *env, bool is_stdin)
{
	struct winsize size = { .ws_row = start_extent(env, "LINES", 24),
				.ws_col = start_extent(env, "COLUMNS", 80) };
	ioctl(terminal, TIOCSWINSZ, &size);
	return is_stdin && write(terminal, "\4", 1) < 0 ? -errno : 0;
}

/* Trouble of the moment, ours or the machine's, that says nothing about the op. */
static bool start_may_pass(int r)
{
	return r == -EAGAIN || r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -ENOSPC ||
	       r == -EINTR;
}

static enum start_result start_failed(int r, enum sw_step step, struct child_error *ret)
{
	*ret = (struct child_error){ -r, step };
	return start_may_pass(r) ? START_BUSY : START_FAILED;
}

/* May entering the folder, finding the program or opening stdin take for ever? Then not with our
 * memory in the child's hands. */
static bool start_may_hang(const struct sw_start *s, const struct start_texts *t,
			   const struct child_spec *spec)
{
	const char *program = spec->argv[0], *search = env_value(spec->env, "PATH");
	if (s->flags & SW_START_FORK || spec->stdin_fd < 0 || mounts_is_remote(t->cwd.p))
		return true;
	if (program[0] == '/')
		return mounts_is_remote(program);
	return !strchr(program, '/') && search && mounts_any_remote(search);
}

static enum start_result start_child(struct op *op, const struct sw_start *s,
				     const struct start_texts *t, const struct child_spec *spec,
				     struct child_error *ret)
{
	struct record *record = op_record(op);
	if (start_may_hang(s, t, spec)) {
		op->error_fd = child_fork(spec, record);
		return op->error_fd < 0 ? start_failed(op->error_fd, SW_STEP_FORK, ret)
					: START_FORKED;
	}
	if (warm_ask(spec, op_slot(op)))
		return START_ASKED;
	int r = child_vfork(spec, record);
	if (r < 0)
		return start_failed(r, SW_STEP_FORK, ret);
	*ret = record->failed;
	return ret->err != 0 ? START_FAILED : START_RUNS;
}

enum start_result start_op(struct op *op, const struct sw_start *s, struct start_fds *fds,
			   struct child_error *ret)
{
	struct start_texts t;
	struct streams *streams = &fds->streams;
	bool tty = s->flags & SW_START_PTY;
	int r = s->flags & SW_START_STREAMS ? 0 : streams_make(tty, streams);
	if (r < 0)
		return start_failed(r, SW_STEP_PIPE, ret);
	op->stdout_fd = TAKE_FD(streams->ours[0]);
	op->stderr_fd = TAKE_FD(streams->ours[1]);
	start_texts(s, &t);
	bool no_stdin = fds->stdin_fd < 0 && t.stdin_path.len <= 1;
	struct child_spec spec = {
		.stages = (const struct sw_stage *)(s + 1),
		.n_stages = s->n_stages,
		.cwd = t.cwd.p,
		.argv = start_argv(t.argv),
		.umask = (mode_t)(s->umask & 0777),
		.nofile_soft = nofile_soft,
		.mark = mark_of(op_record(op)->token),
		.stdin_fd = !no_stdin ? fds->stdin_fd
			    : tty     ? streams->theirs[0]
				      : null_fd,
		.stdin_path = t.stdin_path.p,
		.stdout_fd = streams->theirs[0],
		.stderr_fd = streams->theirs[tty ? 0 : 1],
		.tty = tty,
		.cgroup_fd = cgroup_take(op_slot(op)),
	};
	op_record(op)->cgroup = cgroup_number(op_slot(op));
	r = env_make(s->env_id, t.env_path, t.extra, &spec.env);
	if (r < 0)
		return start_failed(r, SW_STEP_ENV, ret);
	r = tty ? start_terminal(op->stdout_fd, spec.env, no_stdin) : 0;
	if (r < 0)
		return start_failed(r, SW_STEP_PIPE, ret);
	return start_child(op, s, &t, &spec, ret);
}
