/* batchd-spawner and exec_local together: the real program, real processes. */
#include "tests/unit/spawner_world.h"

#include <sys/resource.h>
#include <sys/stat.h>

static struct world w;

static void setup(void)
{
	world_begin(&w);
}

static void teardown(void)
{
	world_end(&w);
}

static void assert_out(struct seen *s, const char *want)
{
	ck_assert_str_eq(buf_str(&s->out), want);
}

START_TEST(streams_are_apart)
{
	struct seen *s = world_run(&w, 1, "echo out; echo err >&2");
	assert_out(s, "out\n");
	ck_assert_str_eq(buf_str(&s->err), "err\n");
	ck_assert_int_eq(s->result.stdout_bytes, 4);
	ck_assert_int_eq(s->result.stderr_bytes, 4);
	ck_assert(s->started);
	ck_assert_int_gt(s->result.pid, 1);
	ck_assert_int_ge(s->result.ended, s->result.started);
}
END_TEST

static const struct {
	const char *script;
	int status;
} endings[] = {
	{ "exit 0", 0 },
	{ "exit 7", 7 << 8 },
	{ "exit 255", 255 << 8 },
	{ "nosuchprogram-at-all", 127 << 8 },
	{ "kill -9 $$", SIGKILL },
	{ "kill -TERM $$", SIGTERM },
	{ "ulimit -c 0; kill -SEGV $$", SIGSEGV },
};

START_TEST(endings_are_as_wait_says)
{
	struct seen *s = world_run(&w, 1, endings[_i].script);
	ck_assert_int_eq(s->result.wait_status & ~0x80, endings[_i].status);
	ck_assert(!s->result.lost);
	ck_assert_int_eq(s->result.start_errno, 0);
}
END_TEST

static const struct {
	const char *argv;
	size_t len;
	const char *cwd, *stdin_file, *env_file, *step;
	int err;
} failures[] = {
	{ "nosuch", 7, "/", NULL, NULL, "exec", ENOENT },
	{ "/nosuch/x", 10, "/", NULL, NULL, "exec", ENOENT },
	{ "", 1, "/", NULL, NULL, "exec", ENOENT },
	{ "/dev/null", 10, "/", NULL, NULL, "exec", EACCES },
	{ "/tmp", 5, "/", NULL, NULL, "exec", EACCES },
	{ "true", 5, "/nosuch", NULL, NULL, "chdir", ENOENT },
	{ "true", 5, "/dev/null", NULL, NULL, "chdir", ENOTDIR },
	{ "true", 5, "/", "/nosuch", NULL, "stdin", ENOENT },
	{ "true", 5, "/", NULL, "/nosuch", "environment", ENOENT },
};

START_TEST(failed_starts_say_where)
{
	struct exec_spec spec = world_spec(&w, 1, slice_of(failures[_i].argv, failures[_i].len));
	spec.cwd = failures[_i].cwd;
	spec.stdin_file = failures[_i].stdin_file;
	spec.env_file = failures[_i].env_file ? failures[_i].env_file : w.env_file;
	struct seen *s = world_run_spec(&w, &spec);
	ck_assert(!s->started);
	ck_assert_str_eq(s->result.start_step, failures[_i].step);
	ck_assert_int_eq(s->result.start_errno, failures[_i].err);
}
END_TEST

START_TEST(too_long_is_a_failed_start)
{
	struct buf argv = BUF_INIT;
	buf_add(&argv, "true", 5);
	for (int i = 0; i < 3; i++) {
		for (int j = 0; j < 100000; j++)
			buf_addc(&argv, 'x');
		buf_addc(&argv, '\0');
	}
	struct exec_spec spec = world_spec(&w, 1, buf_slice(&argv));
	struct seen *s = world_run_spec(&w, &spec);
	ck_assert_int_eq(s->result.start_errno, E2BIG);
	/* Within a packet, but more than exec takes as one string. */
	buf_clear(&argv);
	for (int j = 0; j < 150000; j++)
		buf_addc(&argv, '/');
	buf_addc(&argv, '\0');
	spec = world_spec(&w, 2, buf_slice(&argv));
	s = world_run_spec(&w, &spec);
	ck_assert_str_eq(s->result.start_step, "exec");
	ck_assert_int_ne(s->result.start_errno, 0);
	buf_done(&argv);
}
END_TEST

/* --- what an op finds --- */

START_TEST(stdin_is_null_bytes_or_file)
{
	assert_out(world_run(&w, 1, "readlink /proc/self/fd/0; cat; echo end"), "/dev/null\nend\n");
	struct buf big = BUF_INIT;
	for (int i = 0; i < 300000; i++)
		buf_addf(&big, "%d\n", i % 10);
	struct exec_spec spec = world_spec(&w, 2, ARGV("wc\0-c"));
	spec.has_stdin_bytes = true;
	spec.stdin_bytes = buf_slice(&big);
	assert_out(world_run_spec(&w, &spec), "600000\n");
	spec = world_spec(&w, 3, ARGV("cat"));
	spec.has_stdin_bytes = true;
	spec.stdin_bytes = slice_of("", 0);
	assert_out(world_run_spec(&w, &spec), "");
	spec = world_spec(&w, 4, ARGV("tr\0\\0\0\n"));
	spec.stdin_file = w.env_file;
	assert_out(world_run_spec(&w, &spec),
		   "PATH=/usr/bin:/bin\nBASE=base\nGONE=gone\nLC_ALL=C\n");
	buf_done(&big);
}
END_TEST

/* Opening it hangs until somebody writes: only this op may wait for that. */
START_TEST(a_fifo_as_stdin_holds_up_nobody)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/fifo", w.dir);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	struct exec_spec spec = world_spec(&w, 1, ARGV("cat"));
	spec.stdin_file = path;
	ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	spec.token = token_make(1, 2, 1);
	ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	world_run(&w, 3, "exit 0");
	ck_assert(!w.seen[0].started && !w.seen[1].started);
	exec_local_stop(w.x, token_make(1, 2, 1), 0, 5000);
	world_until(&w, w.seen[1].ended);
	ck_assert(!w.seen[0].started);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(fd_write_all(fd, "through\n", 8), 0);
	close(fd);
	world_until(&w, w.seen[0].ended);
	assert_out(&w.seen[0], "through\n");
	ck_assert_int_eq(w.seen[0].result.wait_status, 0);
}
END_TEST

START_TEST(environment_is_laid_over)
{
	struct exec_spec spec = world_spec(&w, 1, ARGV("env"));
	spec.env_extra = ARGV("BASE=mine\0GONE\0NEW=1\0NEW=2\0EMPTY=");
	assert_out(world_run_spec(&w, &spec),
		   "PATH=/usr/bin:/bin\nLC_ALL=C\nBASE=mine\nNEW=2\nEMPTY=\n");
	spec = world_spec(&w, 2, ARGV("/usr/bin/env"));
	spec.env_file = NULL;
	assert_out(world_run_spec(&w, &spec), "");
	/* The file is read once a run, until the run has ended. */
	unlink(w.env_file);
	spec = world_spec(&w, 3, ARGV("env"));
	assert_out(world_run_spec(&w, &spec),
		   "PATH=/usr/bin:/bin\nBASE=base\nGONE=gone\nLC_ALL=C\n");
	exec_local_env_done(w.x, 1);
	spec.token = token_make(1, 4, 1);
	ck_assert_str_eq(world_run_spec(&w, &spec)->result.start_step, "environment");
}
END_TEST

static void write_script(const char *name, const char *text, mode_t mode)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", w.dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	ck_assert_int_eq(fd_write_all(fd, text, strlen(text)), 0);
	fchmod(fd, mode);
	close(fd);
}

START_TEST(programs_are_found_in_the_ops_path)
{
	struct buf extra = BUF_INIT;
	write_script("tool", "#!/bin/sh\necho tool \"$1\"\n", 0700);
	write_script("bare", "echo bare \"$1\"\n", 0700);
	write_script("denied", "#!/bin/sh\n", 0600);
	buf_addf(&extra, "PATH=/nosuch:%s:/bin%c", w.dir, 0);
	struct exec_spec spec = world_spec(&w, 1, ARGV("tool\0a b"));
	spec.env_extra = buf_slice(&extra);
	assert_out(world_run_spec(&w, &spec), "tool a b\n");
	spec.token = token_make(1, 2, 1);
	spec.argv = ARGV("bare\0c");
	assert_out(world_run_spec(&w, &spec), "bare c\n");
	spec.token = token_make(1, 3, 1);
	spec.argv = ARGV("denied");
	spec.argc = 1;
	ck_assert_int_eq(world_run_spec(&w, &spec)->result.start_errno, EACCES);
	spec.token = token_make(
		1, 4,
		1); /* an empty element is the op's folder, a name with a slash is no search */
	spec.argv = ARGV("./tool\0d");
	spec.argc = 2;
	spec.cwd = w.dir;
	assert_out(world_run_spec(&w, &spec), "tool d\n");
	spec.token = token_make(1, 5, 1);
	spec.argv = ARGV("tool\0e");
	spec.env_extra = ARGV("PATH=:/bin");
	assert_out(world_run_spec(&w, &spec), "tool e\n");
	buf_done(&extra);
}
END_TEST

START_TEST(the_process_is_clean)
{
	struct exec_spec spec = world_spec(&w, 1, ARGV("ls\0/proc/self/fd"));
	assert_out(world_run_spec(&w, &spec), "0\n1\n2\n3\n"); /* 3 is the folder it reads */
	assert_out(world_run(&w, 2,
			     "umask; grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\n\\t'"),
		   "0022\nSigBlk:0000000000000000SigIgn:0000000000000000");
	assert_out(world_run(&w, 3,
			     "read -r p c s pp g sid r </proc/$$/stat; [ $p = $g ] && [ $p = $sid "
			     "] && echo own"),
		   "own\n");
	char want[64];
	spec = world_spec(&w, 4, ARGV("sh\0-c\0ulimit -Sn"));
	snprintf(want, sizeof(want), "%ld\n", sysconf(_SC_OPEN_MAX));
	assert_out(world_run_spec(&w, &spec), want);
}
END_TEST

START_TEST(a_terminal_when_asked)
{
	struct exec_spec spec = world_spec(&w, 1,
					   ARGV("sh\0-c\0test -t 0 && test -t 1 && test -t 2 && "
						"cat && stty size && echo hi >/dev/tty"));
	spec.pty = true;
	struct seen *s = world_run_spec(&w, &spec);
	assert_out(s, "24 80\r\nhi\r\n");
	ck_assert_int_eq(s->result.wait_status, 0);
}
END_TEST

/* --- stopping --- */

START_TEST(term_ends_what_listens)
{
	struct seen *s = &w.seen[0];
	world_sh(&w, 1, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.02; done",
		 false);
	world_until(&w, s->out.len > 0);
	exec_local_stop(w.x, token_make(1, 1, 1), 0, 20000);
	world_until(&w, s->ended);
	assert_out(s, "up\nbye\n");
	ck_assert_int_eq(s->result.wait_status, 3 << 8);
}
END_TEST

START_TEST(kill_follows_after_the_grace)
{
	struct seen *s = &w.seen[0];
	world_sh(&w, 1, "trap '' TERM; echo up; while :; do sleep 1000; done", false);
	world_until(&w, s->out.len > 0);
	int64_t begun = time_mono_ms();
	exec_local_stop(w.x, token_make(1, 1, 1), 0, 20000);
	exec_local_stop(w.x, token_make(1, 1, 1), 0, 300); /* shortens it */
	world_until(&w, s->ended);
	ck_assert_int_ge(time_mono_ms() - begun, 300);
	ck_assert_int_lt(time_mono_ms() - begun, 15000);
	ck_assert_int_eq(s->result.wait_status, SIGKILL);
}
END_TEST

static const char *const escapes[] = {
	"setsid sleep 1000 & echo $!; sleep 1000",
	"(setsid sh -c 'sleep 1000 & echo $!; exec sleep 1000' &); sleep 1000",
	"setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1000; done' & sleep 1000",
	("(trap '' TERM; setsid sh -c 'setsid sh -c \"echo \\$\\$; exec sleep 1000\" & exit' & "
	 "exit) & sleep 1000"),
	"set -m; sleep 1000 & echo $!; sleep 1000",
	"kill -STOP $$ & sleep 0.1; echo $$; sleep 1000",
};

START_TEST(stop_ends_the_whole_tree)
{
	struct seen *s = &w.seen[0];
	world_sh(&w, 1, escapes[_i], false);
	if (_i + 1 < (int)ARRAY_SIZE(escapes))
		world_until(&w, s->out.len > 0);
	else
		world_until(&w, s->started);
	exec_local_stop(w.x, token_make(1, 1, 1), 0, 400);
	world_until(&w, s->ended);
	int32_t pid = atoi(buf_str(&s->out));
	ck_assert(pid == 0 || process_is_gone(pid));
}
END_TEST

/* None of the spawner's children lives. */
static bool no_children(int32_t spawner)
{
	char path[64];
	struct buf b = BUF_INIT;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)spawner, (int)spawner);
	ck_assert_int_eq(fd_read_file(path, 1 << 20, &b), 0);
	bool none = b.len == 0;
	buf_done(&b);
	return none;
}

START_TEST(a_storm_of_sessions_ends)
{
	struct seen *s = &w.seen[0];
	world_sh(&w, 1,
		 "trap '' TERM; echo up; i=0; while [ $i -lt 3000 ]; do setsid sleep 1000 & "
		 "i=$((i+1)); done; sleep 1000",
		 false);
	world_until(&w, s->out.len > 0);
	exec_local_stop(w.x, token_make(1, 1, 1), 0, 200);
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, SIGKILL);
	world_poll(no_children(exec_local_pid(w.x)));
}
END_TEST

START_TEST(a_signal_reaches_the_group)
{
	struct seen *s = &w.seen[0];
	world_sh(&w, 1, "trap 'echo usr1; exit 5' USR1; echo up; while :; do sleep 0.02; done",
		 false);
	world_until(&w, s->out.len > 0);
	exec_local_signal(w.x, token_make(1, 1, 1), SIGUSR1);
	world_until(&w, s->ended);
	assert_out(s, "up\nusr1\n");
	ck_assert_int_eq(s->result.wait_status, 5 << 8);
}
END_TEST

/* --- children that outlive their op --- */

START_TEST(lingering_children_are_counted_and_ended)
{
	int64_t begun = time_mono_ms();
	struct seen *s = world_run(&w, 1, "sleep 1000 & echo $!; sleep 1000 & exit 4");
	ck_assert_int_ge(time_mono_ms() - begun, 200);
	ck_assert_int_eq(s->result.wait_status, 4 << 8);
	ck_assert_uint_eq(s->result.lingering, 2);
	ck_assert(process_is_gone(atoi(buf_str(&s->out))));
	s = world_run(
		&w, 2,
		"setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1000; done' & sleep 0.2");
	ck_assert_uint_ge(s->result.lingering, 1);
	ck_assert(process_is_gone(atoi(buf_str(&s->out))));
	s = world_run(&w, 3, "sleep 0.05 &");
	ck_assert_uint_eq(s->result.lingering, 0);
	s = world_run(&w, 4, "(setsid env -i /bin/sleep 1000 >/dev/null 2>&1 & echo $!)");
	ck_assert_uint_eq(s->result.lingering, 1);
	world_poll(no_children(exec_local_pid(w.x)));
}
END_TEST

START_TEST(detached_children_live_on)
{
	struct seen *s = &w.seen[0], *t = &w.seen[1];
	world_sh(&w, 1, "sleep 1000 >/dev/null 2>&1 & echo $!", true);
	world_until(&w, s->ended);
	int32_t pid = atoi(buf_str(&s->out));
	ck_assert_uint_eq(s->result.lingering, 1);
	ck_assert(!process_is_gone(pid));
	/* Somebody else's end does not touch it, nor does it hold somebody else up. */
	int64_t begun = time_mono_ms();
	world_run(&w, 2, "true");
	ck_assert_uint_eq(t->result.lingering, 0);
	ck_assert_int_lt(time_mono_ms() - begun, 190);
	ck_assert(!process_is_gone(pid));
	kill(pid, SIGKILL);
	world_poll(process_is_gone(pid));
}
END_TEST

START_TEST(siblings_children_are_told_apart)
{
	struct seen *a = &w.seen[0], *b = &w.seen[1];
	world_sh(&w, 1, "(setsid sleep 1000 & echo $!); sleep 1000", false);
	world_until(&w, a->out.len > 0);
	world_sh(&w, 2, "(setsid sleep 1000 & echo $!); exit 0", false);
	world_until(&w, b->ended);
	ck_assert_uint_eq(b->result.lingering, 1);
	ck_assert(process_is_gone(atoi(buf_str(&b->out))));
	ck_assert(!process_is_gone(atoi(buf_str(&a->out))));
	exec_local_stop(w.x, token_make(1, 1, 1), 0, 300);
	world_until(&w, a->ended);
	ck_assert(process_is_gone(atoi(buf_str(&a->out))));
}
END_TEST

START_TEST(closed_streams_do_not_end_an_op)
{
	struct seen *s = &w.seen[0];
	world_sh(&w, 1, "exec >&- 2>&-; sleep 0.1; exit 4", false);
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, 4 << 8);
	ck_assert_int_ge(s->result.duration_ms, 90);
}
END_TEST

START_TEST(many_quick_ops)
{
	enum { OPS = 2000, PARALLEL = 8 };
	uint32_t begun = 0;
	while (w.n_ended < OPS) {
		while (begun < OPS && begun - w.n_ended < PARALLEL) {
			struct exec_spec spec = world_spec(&w, ++begun, ARGV("true"));
			ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
		}
		unsigned before = w.n_ended;
		world_until(&w, w.n_ended > before);
	}
	for (uint32_t i = 0; i < OPS; i++)
		ck_assert(w.seen[i].ended && w.seen[i].started &&
			  w.seen[i].result.wait_status == 0);
}
END_TEST

/* Fewer open files allowed than ops wanted: the rest wait, none fails. */
START_TEST(a_full_table_says_so)
{
	struct rlimit lim = { 600, 600 };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &lim), 0);
	world_begin(&w);
	uint32_t n = 0;
	for (int r = 0; r == 0; n += r == 0) {
		struct exec_spec spec = world_spec(&w, n + 1,
						   ARGV("sleep\0"
							"1000"));
		r = exec_local_start(w.x, &spec);
		ck_assert(r == 0 || r == -EAGAIN);
	}
	ck_assert(n == (600 - 256) / 2 || n == (600 - 256) / 3 /* with cgroups */);
	for (uint32_t i = 0; i < n; i++)
		world_until(&w, w.seen[i].started);
	for (uint32_t i = 0; i < n; i++)
		exec_local_stop(w.x, token_make(1, i + 1, 1), 0, 5000);
	world_until(&w, w.n_ended == n);
	exec_local_ack(w.x, token_make(1, 1, 1));
	w.seen[0].ended = false;
	struct exec_spec spec = world_spec(&w, n + 1, ARGV("true"));
	ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	world_until(&w, w.seen[n].ended);
	world_end(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("spawner");
	TCase *t = tcase_create("spawner");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, streams_are_apart);
	tcase_add_loop_test(t, endings_are_as_wait_says, 0, ARRAY_SIZE(endings));
	tcase_add_loop_test(t, failed_starts_say_where, 0, ARRAY_SIZE(failures));
	tcase_add_test(t, too_long_is_a_failed_start);
	tcase_add_test(t, stdin_is_null_bytes_or_file);
	tcase_add_test(t, a_fifo_as_stdin_holds_up_nobody);
	tcase_add_test(t, environment_is_laid_over);
	tcase_add_test(t, programs_are_found_in_the_ops_path);
	tcase_add_test(t, the_process_is_clean);
	tcase_add_test(t, a_terminal_when_asked);
	tcase_add_test(t, term_ends_what_listens);
	tcase_add_test(t, kill_follows_after_the_grace);
	tcase_add_loop_test(t, stop_ends_the_whole_tree, 0, ARRAY_SIZE(escapes));
	tcase_add_test(t, a_storm_of_sessions_ends);
	tcase_add_test(t, a_signal_reaches_the_group);
	tcase_add_test(t, lingering_children_are_counted_and_ended);
	tcase_add_test(t, detached_children_live_on);
	tcase_add_test(t, siblings_children_are_told_apart);
	tcase_add_test(t, closed_streams_do_not_end_an_op);
	tcase_add_test(t, many_quick_ops);
	suite_add_tcase(s, t);
	t = tcase_create("limits");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_full_table_says_so);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
