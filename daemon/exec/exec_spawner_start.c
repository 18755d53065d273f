#include "daemon/exec/exec_spawner_start.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/streams.h"
#include "proto/limits.h"

static const struct sw_stage stages[] = {
	{ .kind = SW_STAGE_SESSION, .version = 1 }, { .kind = SW_STAGE_CGROUP, .version = 1 },
	{ .kind = SW_STAGE_LIMITS, .version = 1 },  { .kind = SW_STAGE_CWD, .version = 1 },
	{ .kind = SW_STAGE_STDIN, .version = 1 },   { .kind = SW_STAGE_EXEC, .version = 1 },
};
static_assert(ARRAY_SIZE(stages) <= SW_STAGES_MAX, "too many stages");

/* A C string with its NUL; nothing for NULL. */
static struct slice start_text(const char *s)
{
	return s ? slice_of(s, strlen(s) + 1) : slice_of("", 0);
}

enum { TEXT_CWD, TEXT_ARGV, TEXT_EXTRA, TEXT_STDIN, TEXT_ENV, TEXT_MAX };

static void start_texts(const struct exec_spec *spec, struct slice texts[TEXT_MAX])
{
	texts[TEXT_CWD] = start_text(spec->cwd);
	texts[TEXT_ARGV] = spec->argv;
	texts[TEXT_EXTRA] = spec->env_extra;
	texts[TEXT_STDIN] = start_text(spec->has_stdin_bytes ? NULL : spec->stdin_file);
	texts[TEXT_ENV] = start_text(spec->env_file);
}

static uint64_t start_bytes(const struct exec_spec *spec)
{
	struct slice texts[TEXT_MAX];
	uint64_t bytes = sizeof(struct sw_start) + sizeof(stages);
	start_texts(spec, texts);
	for (unsigned i = 0; i < TEXT_MAX; i++)
		bytes += texts[i].len;
	return SW_ALIGN(bytes);
}

static void start_fill(struct sw_start *frame, const struct exec_spec *spec, uint32_t flags)
{
	struct slice texts[TEXT_MAX];
	start_texts(spec, texts);
	*frame = (struct sw_start){
		.head = { (uint32_t)start_bytes(spec), SW_START, SW_VERSION, spec->token },
		.env_id = token_run(spec->token),
		.flags = flags | (spec->detach ? SW_START_DETACH : 0) |
			 (spec->pty ? SW_START_PTY : 0) |
			 (spec->has_stdin_bytes ? SW_START_STDIN_FD : 0),
		.umask = spec->umask,
		.drain_ms = DRAIN_GRACE_MS,
		.linger_ms = LINGER_KILL_MS,
		.argc = spec->argc,
		.n_stages = ARRAY_SIZE(stages),
		.cwd_bytes = (uint32_t)texts[TEXT_CWD].len,
		.argv_bytes = (uint32_t)texts[TEXT_ARGV].len,
		.extra_bytes = (uint32_t)texts[TEXT_EXTRA].len,
		.stdin_bytes = (uint32_t)texts[TEXT_STDIN].len,
		.env_bytes = (uint32_t)texts[TEXT_ENV].len,
	};
	char *p = (char *)(frame + 1), *end = (char *)frame + frame->head.size;
	memcpy(p, stages, sizeof(stages));
	p += sizeof(stages);
	for (unsigned i = 0; i < TEXT_MAX; i++) {
		if (texts[i].len > 0)
			memcpy(p, texts[i].p, texts[i].len);
		p += texts[i].len;
	}
	memset(p, 0, (size_t)(end - p));
}

/* An fd to read the bytes from, at its beginning; or -errno. */
static int start_stdin(struct slice bytes)
{
	_cleanup_close_ int fd = memfd_create("batchd-stdin", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* At an offset of its own: the file's, which the op reads from, stays 0. */
	int r = fd_pwrite_all(fd, bytes.p, bytes.len, 0);
	return r < 0 ? r : TAKE_FD(fd);
}

/* In the order that SW_START_STREAMS says; those before *ret_n_ours go away with the frame. */
static unsigned start_fds(int stdin_fd, const struct streams *s, int ret[], unsigned *ret_n_ours)
{
	const int fds[] = { stdin_fd, s->theirs[0], s->theirs[1], s->ours[0], s->ours[1] };
	unsigned n = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		if (i < 3)
			*ret_n_ours = n + (fds[i] >= 0);
		if (fds[i] >= 0)
			ret[n++] = fds[i];
	}
	return n;
}

static void start_say_after(struct spawner_link *l, const struct exec_spec *spec)
{
	struct sw_after f = { .head = { sizeof(f), SW_AFTER, SW_VERSION, spec->token },
			      .after = spec->after };
	memcpy(spawner_link_add(l, sizeof(f), NULL, 0, 0), &f, sizeof(f));
}

int spawner_start_send(struct spawner_link *l, const struct exec_spec *spec, int ret_ours[2],
		       enum sw_step *ret_step)
{
	uint32_t flags = spawner_link_can(l, SW_CAN_STREAMS) ? SW_START_STREAMS : 0;
	uint64_t bytes = start_bytes(spec);
	_cleanup_(streams_done) struct streams s = STREAMS_NONE;
	_cleanup_close_ int stdin_fd = -1;
	int fds[1 + STREAMS_FDS];
	unsigned n_ours = 0;
	memcpy(ret_ours, s.ours, sizeof(s.ours));
	*ret_step = SW_STEP_EXEC;
	if (bytes > SW_PACKET_BYTES)
		return -E2BIG;
	*ret_step = SW_STEP_PIPE;
	int r = flags ? streams_make(spec->pty, &s) : 0;
	if (r == 0 && spec->has_stdin_bytes) {
		*ret_step = SW_STEP_STDIN;
		r = stdin_fd = start_stdin(spec->stdin_bytes);
	}
	if (r < 0)
		return r;
	unsigned n = start_fds(stdin_fd, &s, fds, &n_ours);
	if (spec->after)
		start_say_after(l, spec);
	start_fill(spawner_link_add(l, (uint32_t)bytes, fds, n, n_ours), spec, flags);
	memcpy(ret_ours, s.ours, sizeof(s.ours));
	s = STREAMS_NONE;
	stdin_fd = -1;
	return 0;
}
