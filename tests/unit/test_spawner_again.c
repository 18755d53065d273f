/* The spawner executes its program anew (SIGHUP) under running ops, and nobody notices. */
#include "tests/unit/spawner_world.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/paths.h"

static struct world w;
static char program[96]; /* a spawner of our own, that can be replaced */
static unsigned n_again;

static void install(const char *from, const char *text)
{
	char temp[128];
	struct buf b = BUF_INIT;
	snprintf(temp, sizeof(temp), "%s.new", program);
	if (from)
		ck_assert_int_eq(fd_read_file(from, 64 << 20, &b), 0);
	else
		buf_adds(&b, text);
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ck_assert_int_eq(fd_write_all(fd, b.p, b.len), 0);
	close(fd);
	ck_assert_int_eq(rename(temp, program), 0);
	buf_done(&b);
}

static void setup(void)
{
	snprintf(program, sizeof(program), "/tmp/test-spawner-program-%d", (int)getpid());
	install(TEST_SPAWNER, NULL);
	n_again = 0;
	world_begin(&w);
}

static void setup_replaceable(void)
{
	setup();
	int32_t first = exec_local_pid(w.x);
	w.x = exec_local_free(w.x);
	ck_assert_int_eq(waitpid(first, NULL, 0), first);
	w.program = program;
	world_connect(&w);
	exec_local_recover(w.x, world_on_known, world_cap, &w);
}

static void teardown(void)
{
	world_end(&w);
	unlink(program);
}

/* How often the spawner's log (our stderr) holds the words. */
static unsigned said(const char *words)
{
	struct buf b = BUF_INIT;
	char path[128];
	unsigned n = 0;
	snprintf(path, sizeof(path), "%s/stderr", w.dir);
	ck_assert_int_eq(fd_read_file(path, 64 << 20, &b), 0);
	for (const char *p = buf_str(&b); (p = strstr(p, words)); p++)
		n++;
	buf_done(&b);
	return n;
}

/* Told to, and done: the same pid, a program begun anew. */
static void again(void)
{
	n_again++;
	kill(exec_local_pid(w.x), SIGHUP);
	world_poll(said("this is batchd-spawner") >= n_again);
	ck_assert_uint_eq(said("this is batchd-spawner"), n_again);
}

/* For scripts that wait for $DIR/NAME. */
static void touch(const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", w.dir, name);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void restart_client(void)
{
	w.x = exec_local_free(w.x);
	output_forget(&w.output);
	for (unsigned i = 0; i < WORLD_OPS; i++) {
		buf_done(&w.seen[i].out);
		buf_done(&w.seen[i].err);
		w.seen[i] = (struct seen){ 0 };
	}
	world_connect(&w);
	exec_local_recover(w.x, world_on_known, world_cap, &w);
}

#define WAIT_FOR(name) "while [ ! -e $DIR/" name " ]; do sleep 0.02; done; "

START_TEST(nobody_notices)
{
	struct seen *s = w.seen;
	int32_t spawner = exec_local_pid(w.x);
	world_sh(&w, 1, "echo 1; " WAIT_FOR("a") "echo 2; " WAIT_FOR("b") "echo 3; exit 5", false);
	world_sh(&w, 2, "echo up; " WAIT_FOR("a") "echo err >&2; kill -SEGV $$", false);
	world_until(&w, s[0].out.len > 0 && s[1].out.len > 0);
	world_run(&w, 3, "exit 7"); /* ended, not acknowledged */
	again();
	touch("a");
	world_until(&w, s[1].ended && s[0].out.len == 4);
	ck_assert_int_eq(s[1].result.wait_status & 0x7f, SIGSEGV);
	ck_assert_str_eq(buf_str(&s[1].err), "err\n");
	again();
	world_run(&w, 4, "exit 9");
	touch("b");
	world_until(&w, s[0].ended);
	ck_assert_int_eq(s[0].result.wait_status, 5 << 8);
	ck_assert_str_eq(buf_str(&s[0].out), "1\n2\n3\n");
	/* The connection held all the while. */
	ck_assert_uint_eq(w.n_respawned, 0);
	ck_assert(!s[0].known && !s[3].busy);
	ck_assert_int_eq(exec_local_pid(w.x), spawner);
	/* What was kept unacknowledged is known to the next. */
	restart_client();
	ck_assert(s[0].known_ended && s[1].known_ended && s[2].known_ended && s[3].known_ended);
	world_until(&w, s[0].ended && s[1].ended && s[2].ended && s[3].ended);
	ck_assert_int_eq(s[2].result.wait_status, 7 << 8);
}
END_TEST

START_TEST(twice_and_batchd_killed_between)
{
	struct seen *s = &w.seen[0];
	int32_t spawner = exec_local_pid(w.x);
	world_sh(&w, 1,
		 "i=0; while [ ! -e $DIR/go ]; do i=$((i+1)); echo $i; sleep 0.001; done; "
		 "echo $i > $DIR/count; exit 6",
		 false);
	world_until(&w, s->out.len > 0);
	again();
	restart_client();
	ck_assert(s->known && !s->known_ended);
	again();
	world_until(&w, s->out.len > 0);
	touch("go");
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, 6 << 8);
	ck_assert_int_eq(exec_local_pid(w.x), spawner);
	/* What came since the last batchd is whole: every number from its first on. */
	long first = strtol(buf_str(&s->out), NULL, 10), next = first;
	char *p = (char *)buf_str(&s->out);
	for (; *p; p++) {
		ck_assert_int_eq(strtol(p, &p, 10), next++);
		ck_assert_int_eq(*p, '\n');
	}
	struct buf count = BUF_INIT;
	char path[128];
	snprintf(path, sizeof(path), "%s/count", w.dir);
	ck_assert_int_eq(fd_read_file(path, 100, &count), 0);
	ck_assert_int_eq(strtol(buf_str(&count), NULL, 10), next - 1);
	buf_done(&count);
}
END_TEST

START_TEST(a_stop_under_way_goes_on)
{
	struct seen *s = &w.seen[0];
	world_sh(&w, 1, "trap 'echo told' TERM; echo up; while :; do sleep 0.02; done", false);
	world_until(&w, s->out.len > 0);
	exec_local_stop(w.x, token_make(1, 1, 1), 0, 700);
	world_until(&w, strstr(buf_str(&s->out), "told"));
	again();
	ck_assert(!s->ended);
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, SIGKILL);
}
END_TEST

START_TEST(what_outlives_its_op_is_found)
{
	struct seen *s = &w.seen[0];
	/* Its child is an orphan of ours before its own process has ended, and ignores TERM. */
	world_sh(&w, 1,
		 "(setsid sh -c 'trap \"\" TERM; echo $$ > $DIR/pid; while :; do sleep 0.02; done' "
		 "< /dev/null > /dev/null 2>&1 &); " WAIT_FOR("pid") "echo up; " WAIT_FOR(
			 "go") "exit 2",
		 false);
	world_until(&w, s->out.len > 0);
	again();
	touch("go");
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, 2 << 8);
	ck_assert_uint_ge(s->result.lingering, 1);
	struct buf b = BUF_INIT;
	char path[128];
	snprintf(path, sizeof(path), "%s/pid", w.dir);
	ck_assert_int_eq(fd_read_file(path, 100, &b), 0);
	world_poll(process_is_gone((int32_t)strtol(buf_str(&b), NULL, 10)));
	buf_done(&b);
}
END_TEST

START_TEST(a_start_that_hangs_hangs_on)
{
	struct seen *s = &w.seen[0];
	char fifo[128];
	snprintf(fifo, sizeof(fifo), "%s/fifo", w.dir);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	struct exec_spec spec = world_spec(&w, 1, ARGV("cat"));
	spec.stdin_file = fifo;
	ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	exec_local_flush(w.x);
	world_run(&w, 2, "exit 0"); /* it has been taken by now */
	ck_assert(!s->started);
	again();
	ck_assert(!s->started);
	int fd = open(fifo, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(fd_write_all(fd, "through\n", 8), 0);
	close(fd);
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, 0);
	ck_assert_str_eq(buf_str(&s->out), "through\n");
}
END_TEST

START_TEST(limits_stay)
{
	struct seen *before = world_run(&w, 1, "ulimit -Sn; ulimit -Hn; umask"), *after;
	again();
	again();
	after = world_run(&w, 2, "ulimit -Sn; ulimit -Hn; umask");
	ck_assert_str_eq(buf_str(&before->out), buf_str(&after->out));
}
END_TEST

static const struct {
	const char *name, *text; /* NULL: none there */
} unfit[] = {
	{ "missing", NULL },
	{ "not a program", "\x7f"
			   "ELF nonsense" },
	{ "does not know the option", "#!/bin/sh\nexit 2\n" },
	{ "dies", "#!/bin/sh\nkill -SEGV $$\n" },
};

START_TEST(one_that_cannot_take_over_does_not)
{
	struct seen *s = &w.seen[0];
	int32_t spawner = exec_local_pid(w.x);
	world_sh(&w, 1, "echo up; " WAIT_FOR("go") "exit 4", false);
	world_until(&w, s->out.len > 0);
	if (unfit[_i].text)
		install(NULL, unfit[_i].text);
	else
		unlink(program);
	kill(spawner, SIGHUP);
	world_poll(said("going on as before") == 1);
	world_run(&w, 2, "exit 3");
	ck_assert_int_eq(w.seen[1].result.wait_status, 3 << 8);
	/* Mended, it goes through. */
	install(TEST_SPAWNER, NULL);
	again();
	touch("go");
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, 4 << 8);
	ck_assert_int_eq(exec_local_pid(w.x), spawner);
}
END_TEST

/* Another protocol: refused in words that say how to go on, and no op minds. */
START_TEST(one_of_another_protocol_keeps_what_runs)
{
	struct seen *s = &w.seen[0];
	int32_t spawner = exec_local_pid(w.x);
	world_sh(&w, 1, "echo before; " WAIT_FOR("go") "echo after; exit 4", false);
	world_until(&w, s->out.len > 0);
	install(TEST_SPAWNER_OTHER, NULL);
	again();
	world_until(&w, said("speaks protocol 2, not 1") > 0);
	ck_assert_uint_gt(said("kill -HUP"), 0);
	ck_assert(!process_is_gone(s->pid));
	install(TEST_SPAWNER, NULL);
	n_again++;
	kill(spawner, SIGHUP);
	world_until(&w, exec_local_pid(w.x) == spawner);
	touch("go");
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, 4 << 8);
	ck_assert_str_eq(buf_str(&s->out), "before\nafter\n");
	ck_assert_uint_eq(said("this is batchd-spawner"), n_again);
}
END_TEST

/* --- what is kept with an attempt --- */

START_TEST(a_note_and_pipes_go_over)
{
	struct seen *s = w.seen;
	world_sh(&w, 1, "trap '' TERM; echo up; " WAIT_FOR("go") "echo on; exit 3", false);
	world_sh(&w, 2, "echo up; exec sleep 1000", false);
	world_sh(&w, 3, "echo up; " WAIT_FOR("go") "exit 0", false);
	world_until(&w, s[0].out.len > 0 && s[1].out.len > 0 && s[2].out.len > 0);
	exec_local_stop(w.x, token_make(1, 1, 1), 200, 60000);
	exec_local_stop(w.x, token_make(1, 2, 1), 7, 60000);
	world_until(&w, s[1].ended);
	again();
	restart_client();
	ck_assert(!s[0].known_ended && s[1].known_ended && !s[2].known_ended);
	ck_assert_uint_eq(s[0].note, 200);
	ck_assert_uint_eq(s[1].note, 7);
	ck_assert_uint_eq(s[2].note, 0);
	/* A spawner that was killed has told nobody, but it had kept it. */
	int32_t spawner = exec_local_pid(w.x);
	kill(spawner, SIGKILL);
	world_until(&w, w.n_respawned == 1);
	again();
	restart_client();
	ck_assert_uint_eq(s[0].note, 200);
	ck_assert_uint_eq(s[1].note, 7);
	touch("go");
	world_until(&w, s[0].ended && s[1].ended && s[2].ended);
	ck_assert_str_eq(buf_str(&s[0].out), "on\n");
	ck_assert_uint_eq(s[0].result.note, 200);
	ck_assert_uint_eq(s[2].result.note, 0);
	ck_assert(!s[0].result.unread);
}
END_TEST

/* A pipe that holds `text`; its read end is given to the spawner, as the pump's would be. */
static int stage(const char *text)
{
	int p[2];
	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	ck_assert_int_eq(fd_write_all(p[1], text, strlen(text)), 0);
	exec_local_staged(w.x, token_make(1, 1, 1), p[0]);
	return p[1];
}

/* Nobody has the read end of the pipe any more. */
static bool is_dropped(int fd)
{
	struct pollfd p = { .fd = fd };
	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

/* What is in a stage comes first, whoever died. */
START_TEST(a_stage_goes_over)
{
	struct seen *s = w.seen;
	world_sh(&w, 1, "echo up; " WAIT_FOR("go") "echo on; exit 3", false);
	world_until(&w, s->out.len > 0);
	int first = stage("lost\n"), second = stage("staged\n");
	world_until(&w, s->kept && is_dropped(first));
	close(first);
	again();
	restart_client();
	ck_assert_str_eq(buf_str(&s->out), "staged\n");
	/* A spawner that is killed: the next one is given it. */
	ck_assert(!s->kept);
	kill(exec_local_pid(w.x), SIGKILL);
	world_until(&w, w.n_respawned == 1 && s->kept);
	ck_assert_int_eq(fd_write_all(second, "twice\n", 6), 0);
	close(second);
	restart_client();
	touch("go");
	world_until(&w, s->ended);
	ck_assert_str_eq(buf_str(&s->out), "twice\non\n");
	ck_assert(!s->result.unread);
	/* Of an attempt that nobody knows, or that has ended, there is none. */
	exec_local_ack(w.x, token_make(1, 1, 1));
	int fd = stage("");
	ck_assert(is_dropped(fd));
	close(fd);
}
END_TEST

/* One that is older gets on without, and after an upgrade they are there. */
START_TEST(an_older_one_keeps_neither)
{
	struct seen *s = &w.seen[0];
	install(TEST_SPAWNER_PLAIN, NULL);
	again();
	/* It heard HELLO as another program: a word too many costs it the connection, no more. */
	world_sh(&w, 1, "trap 'echo told' TERM; echo up; " WAIT_FOR("go") "exit 3", false);
	world_until(&w, s->out.len > 0);
	exec_local_stop(w.x, token_make(1, 1, 1), 7, 60000);
	world_until(&w, strstr(buf_str(&s->out), "told"));
	ck_assert_uint_eq(said("was not to be understood"), 1);
	restart_client();
	ck_assert_uint_eq(s->note, 0);
	exec_local_stop(w.x, token_make(1, 1, 1), 7, 60000);
	int fd = stage("");
	ck_assert(is_dropped(fd));
	close(fd);
	world_run(&w, 3, "exit 0");
	int32_t spawner = exec_local_pid(w.x);
	kill(spawner, SIGKILL);
	world_until(&w, w.n_respawned == 1 && exec_local_pid(w.x) != spawner);
	install(TEST_SPAWNER, NULL);
	again();
	restart_client();
	exec_local_stop(w.x, token_make(1, 1, 1), 7, 60000);
	world_run(&w, 2, "exit 0"); /* it has come through */
	restart_client();
	ck_assert_uint_eq(s->note, 7);
	ck_assert_uint_eq(said("was not to be understood"), 1);
	touch("go");
	world_until(&w, s->ended && w.seen[1].ended && w.seen[2].ended);
}
END_TEST

START_TEST(many_at_once)
{
	enum { N = 300 };
	unsigned wrong = 0;
	char gate[128], lines[N];
	snprintf(gate, sizeof(gate), "%s/gate", w.dir);
	ck_assert_int_eq(mkfifo(gate, 0600), 0);
	_cleanup_close_ int fd = open(gate, O_RDWR | O_CLOEXEC);
	for (uint32_t op = 1; op <= N; op++)
		world_sh(&w, op,
			 "echo $BATCHD_OP; read go < $DIR/gate; echo $BATCHD_OP; "
			 "exit $((BATCHD_OP % 250))",
			 false);
	world_until(&w, w.seen[N - 1].out.len > 0);
	again();
	memset(lines, '\n', sizeof(lines));
	ck_assert_int_eq(fd_write_all(fd, lines, sizeof(lines)), 0); /* one for each */
	again();
	world_until(&w, w.n_ended == N);
	for (unsigned i = 0; i < N; i++) {
		char text[32];
		snprintf(text, sizeof(text), "%u\n%u\n", i + 1, i + 1);
		wrong += w.seen[i].result.wait_status != (int)((i + 1) % 250) << 8 ||
			 strcmp(buf_str(&w.seen[i].out), text) != 0;
	}
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("spawner again");
	TCase *t = tcase_create("spawner again");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, nobody_notices);
	tcase_add_test(t, twice_and_batchd_killed_between);
	tcase_add_test(t, a_stop_under_way_goes_on);
	tcase_add_test(t, what_outlives_its_op_is_found);
	tcase_add_test(t, a_start_that_hangs_hangs_on);
	tcase_add_test(t, limits_stay);
	tcase_add_test(t, many_at_once);
	tcase_add_test(t, a_note_and_pipes_go_over);
	tcase_add_test(t, a_stage_goes_over);
	suite_add_tcase(s, t);
	t = tcase_create("replaced");
	tcase_add_checked_fixture(t, setup_replaceable, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, one_of_another_protocol_keeps_what_runs);
	tcase_add_test(t, an_older_one_keeps_neither);
	tcase_add_loop_test(t, one_that_cannot_take_over_does_not, 0, ARRAY_SIZE(unfit));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
