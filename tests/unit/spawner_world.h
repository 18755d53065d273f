/*
 * A folder with a real batchd-spawner in it and exec_local as its client; ops' output goes to
 * memory instead of to run logs. All waiting is for a condition, in the event loop, with a deadline
 * that fails the test.
 */
#ifndef TESTS_UNIT_SPAWNER_WORLD_H
#define TESTS_UNIT_SPAWNER_WORLD_H

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/exec/exec.h"

#define WORLD_OPS 4096
#define WORLD_WAIT_S 30

struct seen {
	bool kept; /* its stage */
	bool started, ended, busy, known, known_ended;
	uint32_t note; /* as known */
	int32_t pid;
	struct exec_result result;
	struct buf out, err;
};

struct output_item {
	struct output *o;
	uint64_t token;
	int fds[2], stage;
	struct event *events[2];
	struct output_totals totals;
	bool said;
	struct output_item *next;
};

struct output {
	struct event_base *base;
	struct output_item *items;
	void *world;
};

struct world {
	char dir[64];
	char *socket, *env_file, *home;
	struct event_base *base;
	struct output output;
	struct exec_local *x;
	unsigned n_respawned, n_ended;
	bool no_start;	     /* as under systemd: never the spawner's parent */
	const char *program; /* instead of the one that was built */
	struct seen *seen;   /* by op number */
};

/* --- the output double: both pipes into memory --- */

static inline struct seen *world_seen(struct world *w, uint64_t token)
{
	ck_assert_uint_le(token_op(token), WORLD_OPS);
	return &w->seen[token_op(token) - 1];
}

static inline void item_close(struct output_item *it, int i)
{
	if (it->events[i])
		event_free(it->events[i]);
	it->events[i] = NULL;
	if (it->fds[i] >= 0)
		close(it->fds[i]);
	it->fds[i] = -1;
}

static inline void item_drained(struct output_item *it)
{
	if (it->said)
		return;
	item_close(it, 0);
	item_close(it, 1);
	it->said = true;
	exec_local_drained(((struct world *)it->o->world)->x, it->token, &it->totals);
}

/* Takes what is there; false at the end. A terminal whose other end is closed says EIO. */
static inline bool item_read(struct output_item *it, int i)
{
	char b[65536];
	struct seen *s = world_seen(it->o->world, it->token);
	while (it->fds[i] >= 0) {
		ssize_t n = read(it->fds[i], b, sizeof(b));
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			return false;
		buf_add(i == 0 ? &s->out : &s->err, b, (size_t)n);
		*(i == 0 ? &it->totals.stdout_bytes : &it->totals.stderr_bytes) += n;
	}
	return false;
}

static inline void item_on_read(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	struct output_item *it = arg;
	int i = fd == it->fds[1];
	if (!item_read(it, i))
		item_close(it, i);
	if (it->fds[0] < 0 && it->fds[1] < 0)
		item_drained(it);
}

/* A stage comes first, and the double takes all that it holds. */
static inline void item_read_stage(struct output_item *it, int fd)
{
	int pipe_fd = it->fds[0];
	it->stage = fd;
	if (fd < 0)
		return;
	fd_set_nonblock(fd, true);
	it->fds[0] = fd;
	item_read(it, 0);
	it->fds[0] = pipe_fd;
}

void output_attach(struct output *o, uint64_t token, const int fds[3], int64_t cap)
{
	struct output_item *it = xcalloc(1, sizeof(*it));
	(void)cap;
	*it = (struct output_item){
		.o = o, .token = token, .fds = { fds[0], fds[1] }, .next = o->items
	};
	o->items = it;
	item_read_stage(it, fds[2]);
	for (int i = 0; i < 2; i++)
		if (it->fds[i] >= 0) {
			fd_set_nonblock(it->fds[i], true);
			it->events[i] = event_new(o->base, it->fds[i], EV_READ | EV_PERSIST,
						  item_on_read, it);
			event_add(it->events[i], NULL);
		}
}

void output_finish(struct output *o, uint64_t token)
{
	for (struct output_item *it = o->items; it; it = it->next)
		if (it->token == token && !it->said) {
			item_read(it, 0);
			item_read(it, 1);
			item_drained(it);
			return;
		}
}

/* What it reads it takes. */
void output_hurry(struct output *o, uint64_t token)
{
	(void)o, (void)token;
}

bool output_finish_silent(struct output *o, uint64_t token)
{
	(void)o;
	(void)token;
	return false;
}

void output_stage_kept(struct output *o, uint64_t token, bool kept)
{
	world_seen(o->world, token)->kept = kept;
}

int output_dup(struct output *o, uint64_t token, int ret_fds[3])
{
	ret_fds[0] = ret_fds[1] = ret_fds[2] = -1;
	for (struct output_item *it = o->items; it; it = it->next)
		for (int i = 0; i < 3 && it->token == token; i++) {
			int fd = i < 2 ? it->fds[i] : it->stage;
			ret_fds[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
		}
	return 0;
}

static inline void output_forget(struct output *o)
{
	while (o->items) {
		struct output_item *it = o->items;
		o->items = it->next;
		item_close(it, 0);
		item_close(it, 1);
		cleanup_closep(&it->stage);
		free(it);
	}
}

/* --- what exec_local tells --- */

static inline void world_on_started(void *arg, uint64_t token, int32_t pid, int64_t wall_ms)
{
	struct seen *s = world_seen(arg, token);
	ck_assert(!s->started && !s->ended);
	ck_assert_int_gt(wall_ms, 0);
	s->started = true;
	s->pid = pid;
}

static inline void world_on_ended(void *arg, const struct exec_result *r)
{
	struct seen *s = world_seen(arg, r->token);
	ck_assert(!s->ended);
	s->ended = true;
	s->result = *r;
	((struct world *)arg)->n_ended++;
}

static inline void world_on_busy(void *arg, uint64_t token)
{
	world_seen(arg, token)->busy = true;
}

static inline void world_on_respawned(void *arg)
{
	((struct world *)arg)->n_respawned++;
}

/* --- making and ending --- */

static inline void world_connect(struct world *w)
{
	struct err e = ERR_INIT;
	struct exec_local_config c = {
		.base = w->base,
		.spawner_program = w->program ? w->program : TEST_SPAWNER,
		.socket = w->socket,
		.store_id = 7,
		.can_start = !w->no_start,
		.home = w->home,
		.output = &w->output,
		.events = { world_on_started, world_on_ended, world_on_busy, w },
		.respawned = world_on_respawned,
	};
	ck_assert_msg(exec_local_new(&c, &w->x, &e) == 0, "%s", e.text);
}

static inline void world_on_known(void *arg, const struct exec_known *k)
{
	struct seen *s = world_seen(arg, k->token);
	s->known = true;
	s->known_ended = k->ended;
	s->note = k->note;
}

static inline int64_t world_cap(void *arg, uint64_t token)
{
	(void)arg, (void)token;
	return 0;
}

static inline void world_begin(struct world *w)
{
	*w = (struct world){ .dir = "/tmp/test-spawner-XXXXXX" };
	ck_assert_ptr_nonnull(mkdtemp(w->dir));
	w->socket = xasprintf("%s/spawner.sock", w->dir);
	w->env_file = xasprintf("%s/env", w->dir);
	w->home = xasprintf("%s/home", w->dir);
	/* A spawner that a failed test leaves behind must not hold the test's own stderr open. */
	char path[128];
	snprintf(path, sizeof(path), "%s/stderr", w->dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(fd, STDERR_FILENO);
	close(fd);
	static const char env[] = "PATH=/usr/bin:/bin\0BASE=base\0GONE=gone\0LC_ALL=C";
	fd = open(w->env_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(fd_write_all(fd, env, sizeof(env)), 0);
	close(fd);
	w->seen = xcalloc(WORLD_OPS, sizeof(*w->seen));
	w->base = event_base_new();
	w->output = (struct output){ .base = w->base, .world = w };
	world_connect(w);
	exec_local_recover(w->x, world_on_known, world_cap, w);
}

static inline int world_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline void world_end(struct world *w)
{
	int32_t pid = exec_local_pid(w->x);
	for (uint32_t op = 1; op <= WORLD_OPS; op++)
		if (w->seen[op - 1].ended)
			exec_local_ack(w->x, token_make(1, op, 1));
	w->x = exec_local_free(w->x);
	/* With nothing left it ends by itself: a test that leaves something hangs here and fails.
	 */
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	output_forget(&w->output);
	event_base_free(w->base);
	for (uint32_t op = 0; op < WORLD_OPS; op++) {
		buf_done(&w->seen[op].out);
		buf_done(&w->seen[op].err);
	}
	free(w->seen);
	free(w->socket);
	free(w->env_file);
	free(w->home);
	nftw(w->dir, world_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void world_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	*(bool *)arg = true;
}

/* Runs the loop until the condition holds. */
#define world_until(w, condition)                                                                  \
	do {                                                                                       \
		bool late_ = false;                                                                \
		struct timeval tv_ = { WORLD_WAIT_S, 0 };                                          \
		struct event *timer_ = event_new((w)->base, -1, 0, world_late, &late_);            \
		event_add(timer_, &tv_);                                                           \
		while (!(condition) && !late_)                                                     \
			event_base_loop((w)->base, EVLOOP_ONCE);                                   \
		event_free(timer_);                                                                \
		ck_assert_msg(!late_, "never came: %s", #condition);                               \
	} while (0)

/* The same, for what no event tells of: looks every 10 ms. */
#define world_poll(condition)                                                                      \
	do {                                                                                       \
		int left_ = WORLD_WAIT_S * 100;                                                    \
		while (!(condition) && left_-- > 0)                                                \
			usleep(10000);                                                             \
		ck_assert_msg(left_ > 0, "never came: %s", #condition);                            \
	} while (0)

/* --- ops --- */

static inline struct exec_spec world_spec(struct world *w, uint32_t op, struct slice argv)
{
	uint32_t argc = 0;
	for (size_t i = 0; i < argv.len; i++)
		argc += argv.p[i] == '\0';
	return (struct exec_spec){ .token = token_make(1, op, 1),
				   .cwd = "/",
				   .argv = argv,
				   .argc = argc,
				   .env_file = w->env_file,
				   .umask = 022 };
}

#define ARGV(text) slice_of(text, sizeof(text)) /* "a\0b" and the NUL that C adds */

/* `sh -c script` with the environment every op of ours has. */
static inline void world_sh(struct world *w, uint32_t op, const char *script, bool detach)
{
	struct buf argv = BUF_INIT, extra = BUF_INIT;
	buf_add(&argv, "sh\0-c", 6);
	buf_add(&argv, script, strlen(script) + 1);
	buf_addf(&extra, "BATCHD_OWNER=%s", w->socket);
	buf_addc(&extra, '\0');
	buf_addf(&extra, "BATCHD_RUN=1%cBATCHD_OP=%u%cBATCHD_ATTEMPT=1%cDIR=%s%c", 0, op, 0, 0,
		 w->dir, 0);
	struct exec_spec spec = world_spec(w, op, buf_slice(&argv));
	spec.env_extra = buf_slice(&extra);
	spec.detach = detach;
	ck_assert_int_eq(exec_local_start(w->x, &spec), 0);
	buf_done(&argv);
	buf_done(&extra);
}

static inline struct seen *world_run(struct world *w, uint32_t op, const char *script)
{
	struct seen *s = &w->seen[op - 1];
	world_sh(w, op, script, false);
	world_until(w, s->ended);
	return s;
}

static inline struct seen *world_run_spec(struct world *w, const struct exec_spec *spec)
{
	struct seen *s = world_seen(w, spec->token);
	ck_assert_int_eq(exec_local_start(w->x, spec), 0);
	world_until(w, s->ended);
	return s;
}

/* Gone, or dead and waiting for whoever is its parent. */
static inline bool process_is_gone(int32_t pid)
{
	struct buf b = BUF_INIT;
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	bool gone = fd_read_file(path, 4096, &b) < 0;
	const char *end = gone ? NULL : strrchr(buf_str(&b), ')');
	gone = gone || (end && (end[2] == 'Z' || end[2] == 'X'));
	buf_done(&b);
	return gone;
}

#endif
