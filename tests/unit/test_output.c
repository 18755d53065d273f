/*
 * The pumps: pipes and ptys into run logs, ends and half-ends of pipes, a full disk, many attempts
 * at once.
 */
#include "daemon/exec/output.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/fd.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/exec/executor.h"
#include "daemon/exec/runlog.h"
#include "tests/unit/scratch.h"

enum { TOKENS_MAX = 20000 };

static char *dir;
static struct event_base *base;
static struct output *out;
static int n_drained, n_grew;
static uint64_t drained_tokens[TOKENS_MAX];
static struct output_totals last_totals;

static void on_drained(void *arg, uint64_t token, const struct output_totals *totals)
{
	ck_assert_ptr_eq(arg, &n_drained);
	if (n_drained < TOKENS_MAX)
		drained_tokens[n_drained] = token;
	n_drained++;
	last_totals = *totals;
}

static void on_grew(void *arg, uint64_t token)
{
	ck_assert_ptr_eq(arg, &n_drained);
	ck_assert_uint_ne(token, 0);
	n_grew++;
}

static int n_staged, staged_fd; /* the last given by output, kept as the spawner would */

static void on_staged(void *arg, uint64_t token, int fd)
{
	ck_assert_ptr_eq(arg, &n_drained);
	cleanup_closep(&staged_fd);
	staged_fd = fd;
	n_staged++;
	output_stage_kept(out, token, true);
}

static void start_output(const char *where)
{
	struct output_events events = {
		.drained = on_drained, .staged = on_staged, .grew = on_grew, .arg = &n_drained
	};
	out = output_new(base, where, 2, &events);
}

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	dir = scratch_new();
	base = event_base_new();
	n_drained = n_grew = n_staged = 0;
	staged_fd = -1;
	start_output(dir);
}

static void teardown(void)
{
	output_free(out);
	cleanup_closep(&staged_fd);
	event_base_free(base);
	scratch_free(dir);
}

static void no_op(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

/* Turns the loop until *counter is want, at most 20 s. */
static void loop_until(const int *counter, int want)
{
	int64_t end = time_mono_ms() + 20000;
	struct timeval tick = { .tv_usec = 5000 };
	struct event *timer = event_new(base, -1, EV_PERSIST, no_op, NULL);
	event_add(timer, &tick);
	while (*counter < want && time_mono_ms() < end)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(timer);
	ck_assert_int_eq(*counter, want);
}

static void loop_for(int ms)
{
	int64_t end = time_mono_ms() + ms;
	struct timeval tick = { .tv_usec = 2000 };
	struct event *timer = event_new(base, -1, EV_PERSIST, no_op, NULL);
	event_add(timer, &tick);
	while (time_mono_ms() < end)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(timer);
}

struct pipes {
	int out, err; /* the writing ends */
};

static struct pipes attach(uint64_t token, int64_t cap)
{
	int o[2], e[2];
	ck_assert_int_eq(pipe2(o, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(e, O_CLOEXEC), 0);
	output_attach(out, token, (const int[3]){ o[0], e[0], -1 }, cap);
	return (struct pipes){ o[1], e[1] };
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(fd_write_all(fd, text, strlen(text)), 0);
}

/* The whole of an attempt's stream, NUL-terminated. */
static char *output_of(uint64_t token, enum stream stream)
{
	struct runlog_reader *r;
	struct buf data = BUF_INIT;
	int64_t first, next, dropped;
	ck_assert_int_eq(runlog_open(dir, token_run(token), &r), 0);
	ck_assert_int_eq(runlog_read(r, token_op(token), token_attempt(token), stream, 0, -1, &data,
				     NULL, &first, &next, &dropped),
			 0);
	runlog_close(r);
	return buf_steal(&data);
}

static void check_output(uint64_t token, enum stream stream, const char *want)
{
	char *got = output_of(token, stream);
	ck_assert_str_eq(got, want);
	free(got);
}

static bool exists(uint64_t run)
{
	char *path = xasprintf("%s/%llu.log", dir, (unsigned long long)run);
	bool is = access(path, F_OK) == 0;
	free(path);
	return is;
}

static int open_fds(void)
{
	int n = 0;
	for (int fd = 0; fd < 65536; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(test_plain)
{
	uint64_t token = token_make(5, 1, 1);
	struct pipes p = attach(token, 0);
	say(p.out, "one\n");
	loop_for(20);
	say(p.err, "two\n");
	loop_for(20);
	say(p.out, "three\n");
	close(p.out);
	loop_for(20);
	ck_assert_int_eq(n_drained, 0);
	close(p.err);
	loop_until(&n_drained, 1);
	ck_assert_uint_eq(drained_tokens[0], token);
	ck_assert_int_eq(last_totals.stdout_bytes, 10);
	ck_assert_int_eq(last_totals.stderr_bytes, 4);
	ck_assert_int_eq(last_totals.dropped_bytes, 0);
	check_output(token, STREAM_STDOUT, "one\nthree\n");
	check_output(token, STREAM_STDERR, "two\n");
	check_output(token, STREAM_BOTH, "one\ntwo\nthree\n");
	ck_assert_int_eq(n_grew, 0);
}
END_TEST

/* No output, no file; and every fd is closed, though somebody holds the same pipe. */
START_TEST(test_silent)
{
	int before = open_fds();
	struct pipes p = attach(token_make(5, 1, 1), 0);
	close(p.out);
	close(p.err);
	loop_until(&n_drained, 1);
	ck_assert(!exists(5));
	ck_assert_int_eq(open_fds(), before);
	output_run_done(out, 5);
	output_finish(out, token_make(5, 2, 1)); /* never attached */
	loop_until(&n_drained, 2);
	ck_assert_uint_eq(drained_tokens[1], token_make(5, 2, 1));
	ck_assert_int_eq(last_totals.stdout_bytes, 0);
	output_attach(out, token_make(6, 1, 1), (const int[3]){ -1, -1, -1 }, 0);
	output_finish(out, token_make(6, 1, 1));
	loop_until(&n_drained, 3);
	loop_for(30);
	ck_assert_int_eq(n_drained, 3);
}
END_TEST

static int64_t cpu_ms(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

/* A dup of the read end elsewhere must not keep the pump busy or the attempt open. */
START_TEST(test_held_read_end)
{
	int o[2];
	ck_assert_int_eq(pipe2(o, O_CLOEXEC), 0);
	int spawners = fcntl(o[0], F_DUPFD_CLOEXEC, 0);
	output_attach(out, token_make(5, 1, 1), (const int[3]){ o[0], -1, -1 }, 0);
	say(o[1], "x");
	close(o[1]);
	loop_until(&n_drained, 1);
	int64_t before = cpu_ms();
	loop_for(300);
	ck_assert_int_lt(cpu_ms() - before, 150);
	close(spawners);
}
END_TEST

/* Who printed nothing needs no pump, as long as none has heard of it; who did loses nothing. */
START_TEST(test_finish_silent)
{
	int before = open_fds();
	struct pipes quiet = attach(token_make(5, 1, 1), 0), err = attach(token_make(5, 2, 1), 0);
	struct pipes watched;
	say(err.err, "e");
	ck_assert(output_finish_silent(out, token_make(5, 1, 1)));
	ck_assert(!output_finish_silent(out, token_make(5, 1, 1))); /* let go */
	ck_assert(!output_finish_silent(out, token_make(5, 2, 1)));
	ck_assert(!output_finish_silent(out, token_make(5, 9, 1)));
	output_watch(out, 5, 1);
	watched = attach(token_make(5, 3, 1), 0);
	ck_assert(!output_finish_silent(out, token_make(5, 3, 1)));
	output_finish(out, token_make(5, 2, 1));
	output_finish(out, token_make(5, 3, 1));
	loop_until(&n_drained, 2);
	check_output(token_make(5, 2, 1), STREAM_STDERR, "e");
	output_watch(out, 5, -1);
	output_run_done(out, 5);
	const struct pipes all[] = { quiet, err, watched };
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		close(all[i].out);
		close(all[i].err);
	}
	loop_for(20);
	ck_assert_int_eq(n_drained, 2);
	ck_assert_int_eq(open_fds(), before);
}
END_TEST

/* A grandchild holds the pipe: what is in it is taken, the rest is not waited for. */
START_TEST(test_finish)
{
	int before = open_fds();
	uint64_t token = token_make(5, 1, 1);
	struct pipes p = attach(token, 0);
	char big[60001];
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	say(p.out, big);
	say(p.err, "e");
	output_finish(out, token);
	output_finish(out, token);
	loop_until(&n_drained, 1);
	ck_assert_int_eq(last_totals.stdout_bytes, 60000);
	ck_assert_int_eq(last_totals.stderr_bytes, 1);
	check_output(token, STREAM_STDOUT, big);
	ck_assert_int_eq(fd_write_all(p.out, "late", 4), -EPIPE);
	close(p.out);
	close(p.err);
	loop_for(20);
	ck_assert_int_eq(n_drained, 1);
	output_run_done(out, 5);
	loop_for(20);
	ck_assert_int_eq(open_fds(), before);
}
END_TEST

/* finish() right when the pipes end: drained comes once, whichever is first. */
START_TEST(test_finish_race)
{
	for (int i = 0; i < 3000; i++) {
		uint64_t token = token_make(5 + (uint64_t)i % 3, (uint32_t)i + 1, 1);
		struct pipes p = attach(token, 0);
		if (i % 2)
			say(p.out, "x");
		close(p.out);
		close(p.err);
		if (i % 5 == 0)
			event_base_loop(base, EVLOOP_NONBLOCK);
		bool over = false;
		for (int k = 0; k < n_drained; k++)
			over |= drained_tokens[k] == token;
		if (!over)
			output_finish(out, token);
	}
	loop_until(&n_drained, 3000);
	loop_for(30);
	ck_assert_int_eq(n_drained, 3000);
}
END_TEST

START_TEST(test_cap)
{
	uint64_t token = token_make(5, 1, 1);
	struct pipes p = attach(token, 1000);
	for (int i = 0; i < 1000; i++)
		dprintf(p.out, "line %d\n", i);
	close(p.out);
	close(p.err);
	loop_until(&n_drained, 1);
	ck_assert_int_eq(last_totals.stdout_bytes, 8890);
	ck_assert_int_eq(last_totals.dropped_bytes, 7890);
	char *got = output_of(token, STREAM_STDOUT);
	ck_assert_uint_eq(strlen(got), 1000);
	ck_assert_int_eq(strncmp(got, "line 0\nline 1\n", 14), 0);
	ck_assert_str_eq(got + 991, "line 999\n");
	free(got);
}
END_TEST

/* A new life goes on where the log ends; what was in the pipe is there still. */
START_TEST(test_restart)
{
	int o[2];
	uint64_t token = token_make(5, 1, 1);
	ck_assert_int_eq(pipe2(o, O_CLOEXEC), 0);
	int spawners = fcntl(o[0], F_DUPFD_CLOEXEC, 0);
	output_watch(out, 5, 1);
	output_attach(out, token, (const int[3]){ o[0], -1, -1 }, 100);
	say(o[1], "first\n");
	loop_until(&n_grew, 1);
	output_free(out);
	say(o[1], "second\n");
	start_output(dir);
	output_attach(out, token, (const int[3]){ spawners, -1, -1 }, 100);
	say(o[1], "third\n");
	close(o[1]);
	loop_until(&n_drained, 1);
	ck_assert_int_eq(last_totals.stdout_bytes, 19);
	check_output(token, STREAM_BOTH, "first\nsecond\nthird\n");
	/* An attempt that is in the log, and has no pipe any more, has its totals. */
	output_free(out);
	start_output(dir);
	output_finish(out, token);
	loop_until(&n_drained, 2);
	ck_assert_int_eq(last_totals.stdout_bytes, 19);
	/* All of it again, from the beginning. */
	ck_assert_int_eq(pipe2(o, O_CLOEXEC), 0);
	output_free(out);
	start_output(dir);
	output_attach_again(out, token, o[0], 100);
	say(o[1], "first\nsec");
	loop_for(20);
	say(o[1], "ond\nthird\nand fourth\n");
	close(o[1]);
	loop_until(&n_drained, 3);
	check_output(token, STREAM_BOTH, "first\nsecond\nthird\nand fourth\n");
	ck_assert_int_eq(last_totals.stdout_bytes, 30);
}
END_TEST

START_TEST(test_watch)
{
	uint64_t token = token_make(5, 1, 1), other = token_make(6, 1, 1);
	output_watch(out, 5, 1);
	output_watch(out, 5, 1);
	output_watch(out, 5, -1);
	output_watch(out, 9, -1); /* unknown: nothing */
	struct pipes p = attach(token, 0), q = attach(other, 0);
	say(q.out, "x");
	say(p.out, "x");
	loop_until(&n_grew, 1);
	loop_for(20);
	ck_assert_int_eq(n_grew, 1);
	say(p.err, "x");
	loop_until(&n_grew, 2);
	output_watch(out, 5, -1);
	say(p.err, "x");
	loop_for(30);
	ck_assert_int_eq(n_grew, 2);
	close(p.out), close(p.err), close(q.out), close(q.err);
	loop_until(&n_drained, 2);
	output_run_done(out, 5);
	output_watch(out, 5, 1);
	output_watch(out, 5, -1);
	output_run_done(out, 6);
}
END_TEST

/* The last watcher of a run goes while the pump has yet to close its files. */
START_TEST(test_watch_ends_meanwhile)
{
	for (int i = 0; i < 500; i++) {
		uint64_t run = 5 + (uint64_t)i;
		output_watch(out, run, 1);
		struct pipes p = attach(token_make(run, 1, 1), 0);
		close(p.out), close(p.err);
		loop_until(&n_drained, i + 1);
		output_run_done(out, run);
		output_watch(out, run, -1);
	}
}
END_TEST

static int pty_pair(int *ret_slave)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(master, 0);
	ck_assert_int_eq(grantpt(master), 0);
	ck_assert_int_eq(unlockpt(master), 0);
	*ret_slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(*ret_slave, 0);
	return master;
}

START_TEST(test_pty)
{
	uint64_t token = token_make(5, 1, 1);
	int slave, master = pty_pair(&slave);
	output_attach(out, token, (const int[3]){ master, -1, -1 }, 0);
	say(slave, "hello\n");
	loop_for(30);
	say(slave, "again\n");
	if (_i == 0)
		close(slave);
	else
		output_finish(out, token);
	loop_until(&n_drained, 1);
	check_output(token, STREAM_STDOUT, "hello\r\nagain\r\n");
	if (_i)
		close(slave);
}
END_TEST

struct writer {
	int fd;
	int64_t bytes;
	char c;
};

static void *writer_thread(void *arg)
{
	struct writer *w = arg;
	char block[10000];
	memset(block, w->c, sizeof(block));
	for (int64_t left = w->bytes; left > 0; left -= (int64_t)sizeof(block))
		if (fd_write_all(w->fd, block, (size_t)MIN2(left, (int64_t)sizeof(block))) < 0)
			break;
	close(w->fd);
	return NULL;
}

/*
 * Numbers in order, 8 bytes each, in writes that fill pages, and now and then (`odd`) in one that
 * does not.
 */
struct counter {
	int fd;
	int64_t at, end;
	bool odd;
};

static void *counter_thread(void *arg)
{
	struct counter *c = arg;
	uint64_t block[1 << 13];
	for (int turn = 1; c->at < c->end; turn++) {
		int64_t n = c->odd && turn % 50 == 0 ? 125 : (int64_t)ARRAY_SIZE(block);
		n = MIN2(n, c->end - c->at);
		for (int64_t i = 0; i < n; i++)
			block[i] = (uint64_t)(c->at + i);
		if (fd_write_all(c->fd, block, (size_t)n * sizeof(block[0])) < 0)
			break;
		c->at += n;
	}
	close(c->fd);
	return NULL;
}

static void check_counted(uint64_t token, int64_t end)
{
	struct runlog_reader *r;
	int64_t at = 0, first, next, dropped;
	ck_assert_int_eq(runlog_open(dir, token_run(token), &r), 0);
	while (at < end) {
		struct buf data = BUF_INIT;
		ck_assert_int_eq(runlog_read(r, token_op(token), 1, STREAM_STDOUT, at * 8, 1 << 20,
					     &data, NULL, &first, &next, &dropped),
				 0);
		ck_assert_int_eq(first, at * 8);
		ck_assert_uint_gt(data.len, 0);
		ck_assert_uint_eq(data.len % 8, 0);
		for (size_t i = 0; i < data.len; i += 8, at++) {
			int64_t got;
			memcpy(&got, data.p + i, sizeof(got));
			if (got != at)
				ck_assert_int_eq(got, at);
		}
		buf_done(&data);
	}
	ck_assert_int_eq(runlog_size(r, token_op(token), 1, STREAM_STDOUT).size, end * 8);
	runlog_close(r);
}

/* Much from two ops, each in its turn or both at once: whole and in order. */
START_TEST(test_much)
{
	struct counter c[2];
	pthread_t threads[2];
	for (uint32_t i = 0; i < 2; i++) {
		struct pipes p = attach(token_make(5, i + 1, 1), 0);
		close(p.err);
		c[i] = (struct counter){ p.out, 0, (8 << 20) + 5 * i, _i & 1 };
		int64_t begin = time_mono_ms();
		pthread_create(&threads[i], NULL, counter_thread, &c[i]);
		if (_i >= 2)
			continue;
		loop_until(&n_drained, (int)i + 1);
		if (time_mono_ms() - begin < 100) /* as fast as that it has a stage */
			ck_assert_int_eq(n_staged, (int)i + 1);
		n_staged = (int)i + 1;
	}
	loop_until(&n_drained, 2);
	for (uint32_t i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		check_counted(token_make(5, i + 1, 1), c[i].end);
	}
}
END_TEST

/* What an earlier life left in a stage comes before what the pipe holds, also where there is no
 * more, or the log takes it late. */
START_TEST(test_stage_left)
{
	uint64_t token = token_make(5, 1, 1);
	int o[2], s[2];
	ck_assert_int_eq(pipe2(o, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(s, O_CLOEXEC), 0);
	say(s[1], "first\n");
	close(s[1]);
	if (_i & 1)
		say(o[1], "second\n");
	if (_i & 2)
		close(o[1]);
	char *log = xasprintf("%s/5.log", dir);
	if (_i & 4)
		ck_assert_int_eq(mkdir(log, 0700), 0);
	output_attach(out, token, (const int[3]){ o[0], -1, s[0] }, 0);
	if (_i & 4) {
		loop_for(50);
		ck_assert_int_eq(rmdir(log), 0);
	}
	if (!(_i & 2)) {
		output_finish(out, token);
		close(o[1]);
	}
	loop_until(&n_drained, 1);
	check_output(token, STREAM_BOTH, _i & 1 ? "first\nsecond\n" : "first\n");
	free(log);
}
END_TEST

/* The disk fills up: ops wait, nothing is lost, and it goes on when there is room. */
START_TEST(test_full)
{
	char *small = xasprintf("%s/small", dir);
	ck_assert_int_eq(mkdir(small, 0700), 0);
	/* Only root can try this; the mount is this process's own. */
	if (getuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", small, "tmpfs", 0, "size=1m") < 0) {
		free(small);
		return;
	}
	output_free(out);
	start_output(small);
	char *ballast = xasprintf("%s/ballast", small);
	int fd = open(ballast, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(posix_fallocate(fd, 0, 800 << 10), 0);
	close(fd);
	uint64_t pty_token = token_make(6, 1, 1);
	int slave, master = pty_pair(&slave);
	output_watch(out, 6, 1);
	output_attach(out, pty_token, (const int[3]){ master, -1, -1 }, 0);
	say(slave, "from a pty\n");
	loop_until(&n_grew, 1);
	struct pipes p = attach(token_make(5, 1, 1), 0), q = attach(token_make(5, 2, 1), 0);
	struct writer w = { .fd = p.out, .bytes = 600000, .c = 'x' };
	pthread_t thread;
	pthread_create(&thread, NULL, writer_thread, &w);
	loop_for(300);
	ck_assert_int_eq(n_drained, 0);
	char more[3001] = "";
	memset(more, 'm', sizeof(more) - 1);
	for (int i = 0; i < 3; i++, loop_for(10))
		say(slave, more); /* read, and then there is no room for it */
	say(q.out, "small");
	close(q.out);
	close(q.err);
	output_finish(out, token_make(5, 2, 1));
	int64_t before = cpu_ms();
	loop_for(1500);
	ck_assert_int_lt(cpu_ms() - before, 300);
	ck_assert_int_eq(n_drained, 0);
	unlink(ballast);
	pthread_join(thread, NULL);
	close(p.err);
	loop_until(&n_drained, 2);
	loop_for(1100);
	close(slave);
	loop_until(&n_drained, 3);
	free(dir);
	dir = small;
	for (uint32_t op = 1; op <= 2; op++) {
		char *got = output_of(token_make(5, op, 1), STREAM_STDOUT);
		ck_assert_uint_eq(strlen(got), op == 1 ? 600000 : 5);
		ck_assert_uint_eq(strspn(got, op == 1 ? "x" : "smal"), strlen(got));
		free(got);
	}
	char *got = output_of(pty_token, STREAM_STDOUT);
	ck_assert_uint_eq(strlen(got), 9012);
	ck_assert_uint_eq(strspn(got + 12, "m"), 9000);
	free(got);
	dir = xslicedup(slice_of(small, strlen(small) - 6));
	output_free(out);
	umount2(small, MNT_DETACH);
	start_output(dir);
	free(small);
	free(ballast);
}
END_TEST

/* The folder is gone with the one above when the first byte comes: the same. And there is an end to
 * it at any time. */
START_TEST(test_no_folder)
{
	char *above = xasprintf("%s/above", dir), *away = xasprintf("%s/away", above);
	output_free(out);
	start_output(away);
	struct pipes p = attach(token_make(5, 1, 1), 0);
	say(p.out, "kept");
	close(p.out);
	close(p.err);
	loop_for(100);
	ck_assert_int_eq(n_drained, 0);
	ck_assert_int_eq(mkdir(above, 0700), 0);
	loop_until(&n_drained, 1);
	ck_assert_int_eq(last_totals.stdout_bytes, 4);
	p = attach(token_make(6, 1, 1), 0);
	say(p.out, "lost");
	output_free(out);
	close(p.out);
	close(p.err);
	start_output(dir);
	free(away);
	free(above);
}
END_TEST

/* Thousands at once, in a few runs; then memory and fds are as before. */
START_TEST(test_many)
{
	struct rlimit lim;
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	int n = (int)MIN2(10000, (int64_t)(lim.rlim_cur - 100) / 4);
	struct pipes *p = xcalloc((size_t)n, sizeof(*p));
	int before = open_fds();
	for (int i = 0; i < n; i++)
		p[i] = attach(token_make(5 + (uint64_t)i % 7, (uint32_t)i + 1, 1), 0);
	for (int i = 0; i < n; i++)
		dprintf(i % 3 ? p[i].out : p[i].err, "op %d\n", i);
	for (int i = 0; i < n; i++)
		close(p[i].out), close(p[i].err);
	loop_until(&n_drained, n);
	for (uint64_t run = 5; run < 12; run++)
		output_run_done(out, run);
	loop_for(50);
	ck_assert_int_eq(open_fds(), before);
	for (int i = 0; i < n; i += 997) {
		char want[32];
		snprintf(want, sizeof(want), "op %d\n", i);
		check_output(token_make(5 + (uint64_t)i % 7, (uint32_t)i + 1, 1), STREAM_BOTH,
			     want);
	}
	free(p);
}
END_TEST

/* Both streams of several ops at full speed, with and without a cap: byte counts and contents. */
START_TEST(test_flood)
{
	enum { OPS = 4 };
	struct writer w[OPS * 2];
	pthread_t threads[OPS * 2];
	const int64_t cap = _i ? 1 << 20 : 0, bytes = 8 << 20;
	for (int i = 0; i < OPS; i++) {
		struct pipes p = attach(token_make(5, (uint32_t)i + 1, 1), cap);
		w[2 * i] = (struct writer){ p.out, bytes, 'o' };
		w[2 * i + 1] = (struct writer){ p.err, bytes / 2, 'e' };
	}
	for (int i = 0; i < OPS * 2; i++)
		pthread_create(&threads[i], NULL, writer_thread, &w[i]);
	loop_until(&n_drained, OPS);
	for (int i = 0; i < OPS * 2; i++)
		pthread_join(threads[i], NULL);
	struct runlog_reader *r;
	ck_assert_int_eq(runlog_open(dir, 5, &r), 0);
	for (uint32_t op = 1; op <= OPS; op++) {
		ck_assert_int_eq(runlog_size(r, op, 1, STREAM_STDOUT).size, bytes);
		ck_assert_int_eq(runlog_size(r, op, 1, STREAM_STDERR).size, bytes / 2);
		ck_assert_int_eq(runlog_size(r, op, 1, STREAM_BOTH).dropped,
				 cap ? bytes + bytes / 2 - cap : 0);
		char *o = output_of(token_make(5, op, 1), STREAM_STDOUT),
		     *e = output_of(token_make(5, op, 1), STREAM_STDERR);
		ck_assert_uint_eq(strspn(o, "o"), strlen(o));
		ck_assert_uint_eq(strspn(e, "e"), strlen(e));
		ck_assert_int_eq((int64_t)(strlen(o) + strlen(e)), cap ? cap : bytes + bytes / 2);
		free(o);
		free(e);
	}
	runlog_close(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("output");
	TCase *t = tcase_create("output");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_plain);
	tcase_add_test(t, test_silent);
	tcase_add_test(t, test_held_read_end);
	tcase_add_test(t, test_finish);
	tcase_add_test(t, test_finish_silent);
	tcase_add_test(t, test_finish_race);
	tcase_add_test(t, test_cap);
	tcase_add_test(t, test_restart);
	tcase_add_test(t, test_watch);
	tcase_add_test(t, test_watch_ends_meanwhile);
	tcase_add_loop_test(t, test_pty, 0, 2);
	tcase_add_loop_test(t, test_much, 0, 4);
	tcase_add_loop_test(t, test_stage_left, 0, 8);
	tcase_add_test(t, test_full);
	tcase_add_test(t, test_no_folder);
	tcase_add_test(t, test_many);
	tcase_add_loop_test(t, test_flood, 0, 2);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
