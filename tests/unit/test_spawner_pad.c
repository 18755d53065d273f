/* Children that start while the spawner goes on, several at a time. */
#include "tests/unit/spawner_world.h"

#include <limits.h>
#include <sys/stat.h>

#include "common/cgroup.h"
#include "daemon/spawner/pad.h"

#define MANY 40 /* more than there are pads */

static struct world w;

static void setup(void)
{
	world_begin(&w);
	world_run(&w, MANY + 1, "true"); /* by which the spawner sees that memory can be shared */
}

static void teardown(void)
{
	world_end(&w);
}

static void start(const struct exec_spec *spec)
{
	ck_assert_int_eq(exec_local_start(w.x, spec), 0);
}

/* All of the first n. */
static bool have_ended(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!w.seen[i].ended)
			return false;
	return true;
}

static void assert_ended(struct seen *s, const char *out)
{
	ck_assert_int_eq(s->result.start_errno, 0);
	ck_assert_int_eq(s->result.wait_status, 0);
	ck_assert(s->started);
	ck_assert_str_eq(buf_str(&s->out), out);
}

static const char many_script[] = "echo \"$1 $NUMBER $BASE ${PWD##*/}\"; cat";

/* Its folder, words, environment and stdin, when there are others before and behind. */
static void start_one_of_many(uint32_t op)
{
	struct buf argv = BUF_INIT, extra = BUF_INIT, cwd = BUF_INIT, in = BUF_INIT;
	buf_add(&argv, "sh\0-c", 6);
	buf_add(&argv, many_script, sizeof(many_script));
	buf_addf(&argv, "name%cword-%u%c", 0, op, 0);
	buf_addf(&extra, "NUMBER=%u%c", op, 0);
	buf_addf(&cwd, "%s/folder-%u", w.dir, op);
	buf_addf(&in, "%s/stdin-%u", w.dir, op);
	ck_assert_int_eq(mkdir(buf_str(&cwd), 0700), 0);
	int fd = open(buf_str(&in), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(fd_write_all(fd, buf_str(&in), strlen(buf_str(&in))), 0);
	close(fd);
	struct exec_spec spec = world_spec(&w, op, buf_slice(&argv));
	spec.env_extra = buf_slice(&extra);
	spec.cwd = buf_str(&cwd);
	spec.has_stdin_bytes = op % 2;
	spec.stdin_bytes = buf_slice(&in);
	spec.stdin_file = op % 2 ? NULL : buf_str(&in);
	start(&spec);
	buf_done(&argv);
	buf_done(&extra);
	buf_done(&cwd);
	buf_done(&in);
}

START_TEST(each_has_what_is_its_own)
{
	for (uint32_t op = 1; op <= MANY; op++)
		start_one_of_many(op);
	world_until(&w, have_ended(MANY));
	for (uint32_t op = 1; op <= MANY; op++) {
		struct buf want = BUF_INIT;
		buf_addf(&want, "word-%u %u base folder-%u\n%s/stdin-%u", op, op, op, w.dir, op);
		assert_ended(&w.seen[op - 1], buf_str(&want));
		buf_done(&want);
	}
}
END_TEST

static const struct {
	const char *argv;
	size_t len;
	const char *cwd, *step;
	int err;
} failures[] = {
	{ "true", 5, "/", NULL, 0 },
	{ "nosuch", 7, "/", "exec", ENOENT },
	{ "/dev/null", 10, "/", "exec", EACCES },
	{ "true", 5, "/nosuch", "chdir", ENOENT },
	{ "true", 5, "/dev/null", "chdir", ENOTDIR },
};

START_TEST(each_fails_as_it_fails)
{
	for (uint32_t op = 1; op <= MANY; op++) {
		unsigned i = op % ARRAY_SIZE(failures);
		struct exec_spec spec =
			world_spec(&w, op, slice_of(failures[i].argv, failures[i].len));
		spec.cwd = failures[i].cwd;
		start(&spec);
	}
	world_until(&w, have_ended(MANY));
	for (uint32_t op = 1; op <= MANY; op++) {
		const struct seen *s = &w.seen[op - 1];
		unsigned i = op % ARRAY_SIZE(failures);
		ck_assert_int_eq(s->result.start_errno, failures[i].err);
		ck_assert_int_eq(s->started, !failures[i].err);
		if (failures[i].err)
			ck_assert_str_eq(s->result.start_step, failures[i].step);
	}
}
END_TEST

static const char long_argv[] = "sh\0-c\0echo $# ${#1}\0name";

START_TEST(what_is_long_starts_as_well)
{
	struct buf argv = BUF_INIT;
	buf_add(&argv, long_argv, sizeof(long_argv));
	for (unsigned i = 0; i < 2000; i++)
		buf_addf(&argv, "word%c", 0);
	struct exec_spec spec = world_spec(&w, 1, buf_slice(&argv));
	assert_ended(world_run_spec(&w, &spec), "2000 4\n");
	buf_clear(&argv);
	buf_add(&argv, long_argv, sizeof(long_argv));
	for (unsigned i = 0; i < 100000; i++)
		buf_addc(&argv, 'x');
	buf_addc(&argv, '\0');
	spec = world_spec(&w, 2, buf_slice(&argv));
	assert_ended(world_run_spec(&w, &spec), "1 100000\n");
	buf_done(&argv);
}
END_TEST

/* --- one that is long on its way: whoever opens the program waits for us --- */

static char program[96];

/* A program that nobody opens, to execute it or otherwise, before the file is closed. */
static int lease_begin(void)
{
	static const char text[] = "#!/bin/sh\necho \"$1 $NUMBER $BASE\"\n";
	snprintf(program, sizeof(program), "%s/program", w.dir);
	int fd = open(program, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	ck_assert_int_eq(fd_write_all(fd, text, sizeof(text) - 1), 0);
	close(fd);
	signal(SIGIO, SIG_IGN);
	fd = open(program, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_SETLEASE, F_WRLCK), 0);
	return fd;
}

/* Op 1. The kernel takes its words and environment when the program is open. */
static void start_leased(void)
{
	struct buf argv = BUF_INIT;
	buf_add(&argv, program, strlen(program) + 1);
	buf_add(&argv, "own-word", 9);
	struct exec_spec spec = world_spec(&w, 1, buf_slice(&argv));
	spec.env_extra = ARGV("NUMBER=own-number");
	start(&spec);
	buf_done(&argv);
}

static void assert_leased_ended(void)
{
	world_until(&w, have_ended(1));
	assert_ended(&w.seen[0], "own-word own-number base\n");
}

START_TEST(a_program_slow_to_open_holds_up_nobody)
{
	int fd = lease_begin();
	start_leased();
	for (uint32_t op = 2; op < MANY; op++)
		start_one_of_many(op);
	for (uint32_t op = 2; op < MANY; op++)
		world_until(&w, w.seen[op - 1].ended);
	ck_assert(!w.seen[0].started && !w.seen[0].ended);
	close(fd); /* which ends the lease */
	assert_leased_ended();
}
END_TEST

/* TERM, or KILL where there is no grace. */
START_TEST(it_can_be_stopped_there)
{
	int fd = lease_begin();
	start_leased();
	exec_local_flush(w.x);
	exec_local_stop(w.x, token_make(1, 1, 1), 0, _i == 0 ? 20000 : 0);
	world_until(&w, have_ended(1));
	ck_assert_int_eq(w.seen[0].result.wait_status, _i == 0 ? SIGTERM : SIGKILL);
	close(fd);
}
END_TEST

START_TEST(it_runs_on_where_the_program_is_executed_anew)
{
	int fd = lease_begin();
	start_leased();
	start_one_of_many(2);
	world_until(&w, w.seen[1].ended);
	kill(exec_local_pid(w.x), SIGHUP);
	assert_ended(world_run(&w, 3, "echo meanwhile"), "meanwhile\n");
	close(fd);
	assert_leased_ended();
	assert_ended(world_run(&w, 4, "echo after"), "after\n");
}
END_TEST

/* Killed while it is on its way: the memory stays its own, and the next spawner finds it. */
START_TEST(it_outlives_its_spawner)
{
	int fd = lease_begin();
	start_leased();
	assert_ended(world_run(&w, 2, "echo other"), "other\n");
	kill(exec_local_pid(w.x), SIGKILL);
	close(fd);
	world_until(&w, w.n_respawned > 0 && have_ended(1));
	ck_assert_str_eq(buf_str(&w.seen[0].out), "own-word own-number base\n");
	ck_assert_int_eq(w.seen[0].result.wait_status, 0);
	ck_assert(!w.seen[0].result.lost);
}
END_TEST

/* Not under a sanitizer, nor where each op has a cgroup. */
static bool is_able(void)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = cgroup_open_given(0, path, sizeof(path));
	return PAD_ABLE && fd < 0;
}

static void add_slow(TCase *t)
{
	tcase_add_test(t, a_program_slow_to_open_holds_up_nobody);
	tcase_add_loop_test(t, it_can_be_stopped_there, 0, 2);
	tcase_add_test(t, it_runs_on_where_the_program_is_executed_anew);
	tcase_add_test(t, it_outlives_its_spawner);
}

int main(void)
{
	Suite *s = suite_create("spawner_pad");
	TCase *t = tcase_create("pad");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, each_has_what_is_its_own);
	tcase_add_test(t, each_fails_as_it_fails);
	tcase_add_test(t, what_is_long_starts_as_well);
	if (is_able())
		add_slow(t);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
