/* What survives whose death, and what the spawner says to strange clients. */
#include "tests/unit/spawner_world.h"

#include <sys/socket.h>

#include "common/paths.h"
#include "daemon/spawner/table.h"
#include "proto/spawn_wire.h"

static struct world w;

static void setup(void)
{
	world_begin(&w);
}

static void teardown(void)
{
	world_end(&w);
}

/* batchd is killed (its connection and its ends of the pipes vanish), and another begins. */
static void restart_client(void)
{
	if (w.x)
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

static bool file_is_there(const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", w.dir, name);
	return access(path, F_OK) == 0;
}

/* For scripts that wait for $DIR/go. */
static void let_go(void)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/go", w.dir);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

START_TEST(ops_outlive_batchd)
{
	struct seen *ran = &w.seen[0], *ended = &w.seen[1], *failed = &w.seen[2];
	int32_t spawner = exec_local_pid(w.x);
	world_sh(&w, 1,
		 "echo before; while [ ! -e $DIR/go ]; do sleep 0.02; done; echo after; exit 3",
		 false);
	world_sh(&w, 2, "echo unread; touch $DIR/done; exit 4", false);
	struct exec_spec bad = world_spec(&w, 3, ARGV("nosuch"));
	ck_assert_int_eq(exec_local_start(w.x, &bad), 0);
	exec_local_flush(w.x);
	world_poll(file_is_there("done"));
	/* The loop has not run: all that the spawner said since is lost with the connection. */
	restart_client();
	ck_assert_int_eq(exec_local_pid(w.x), spawner);
	ck_assert(ran->known && !ran->known_ended);
	ck_assert(ended->known && failed->known && failed->known_ended);
	world_until(&w, ended->ended && failed->ended);
	ck_assert_str_eq(buf_str(&ended->out), "unread\n");
	ck_assert_int_eq(ended->result.wait_status, 4 << 8);
	ck_assert_str_eq(failed->result.start_step, "exec");
	ck_assert(!ran->ended);
	let_go();
	world_until(&w, ran->ended);
	ck_assert_str_eq(buf_str(&ran->out), "before\nafter\n");
	ck_assert_int_eq(ran->result.wait_status, 3 << 8);
}
END_TEST

START_TEST(acknowledged_is_forgotten)
{
	struct seen *s = world_run(&w, 1, "exit 2");
	ck_assert_int_eq(s->result.wait_status, 2 << 8);
	exec_local_ack(w.x, token_make(1, 1, 1));
	world_run(&w, 2, "exit 1"); /* the acknowledgement has come through */
	restart_client();
	ck_assert(!w.seen[0].known);
	ck_assert(w.seen[1].known && w.seen[1].known_ended);
	world_until(&w, w.seen[1].ended);
}
END_TEST

START_TEST(a_known_token_runs_once)
{
	struct exec_spec spec = world_spec(&w, 1, ARGV("sh\0-c\0echo x >>$DIR/count"));
	struct buf extra = BUF_INIT;
	buf_addf(&extra, "DIR=%s%c", w.dir, 0);
	spec.env_extra = buf_slice(&extra);
	ck_assert_int_eq(world_run_spec(&w, &spec)->result.wait_status, 0);
	ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	restart_client();
	ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	world_until(&w, w.seen[0].ended);
	char path[128];
	struct buf b = BUF_INIT;
	snprintf(path, sizeof(path), "%s/count", w.dir);
	ck_assert_int_eq(fd_read_file(path, 100, &b), 0);
	ck_assert_str_eq(buf_str(&b), "x\n");
	buf_done(&b);
	buf_done(&extra);
}
END_TEST

/* --- the spawner dies --- */

START_TEST(statuses_survive_the_spawner)
{
	struct seen *runs = &w.seen[0], *ended = &w.seen[1], *stopped = &w.seen[2];
	int32_t spawner = exec_local_pid(w.x);
	world_run(&w, 2, "exit 6");
	world_sh(&w, 1, "echo up; while [ ! -e $DIR/go ]; do sleep 0.02; done; exit 3", false);
	world_sh(&w, 3, "trap '' TERM; echo up; sleep 1000 & wait; while :; do sleep 1000; done",
		 false);
	world_until(&w, runs->out.len > 0 && stopped->out.len > 0);
	kill(spawner, SIGKILL);
	world_until(&w, w.n_respawned == 1);
	ck_assert_int_ne(exec_local_pid(w.x), spawner);
	ck_assert_uint_eq(w.n_ended, 1);
	ck_assert_int_eq(ended->result.wait_status, 6 << 8);
	world_run(&w, 4, "exit 1");
	exec_local_stop(w.x, token_make(1, 3, 1), 0, 200);
	world_until(&w, stopped->ended);
	ck_assert(!stopped->result.lost);
	ck_assert_int_eq(stopped->result.wait_status, SIGKILL);
	let_go();
	world_until(&w, runs->ended);
	ck_assert(!runs->result.lost);
	ck_assert_int_eq(runs->result.wait_status, 3 << 8);
}
END_TEST

START_TEST(what_nobody_can_know_is_lost)
{
	struct seen *s = &w.seen[0];
	int32_t spawner = exec_local_pid(w.x);
	world_sh(&w, 1, "echo up; exec sleep 1000", false);
	world_until(&w, s->out.len > 0);
	int32_t pid = s->pid;
	/* Both die, and the op's process goes to somebody else: to a helper that is a nearer
	 * subreaper would be, here to us. */
	kill(spawner, SIGKILL);
	w.x = exec_local_free(w.x);
	ck_assert_int_eq(waitpid(spawner, NULL, 0), spawner);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid); /* the status is gone */
	output_forget(&w.output);
	w.seen[0].started = false;
	world_connect(&w);
	exec_local_recover(w.x, world_on_known, world_cap, &w);
	ck_assert(s->known && s->known_ended);
	world_until(&w, s->ended);
	ck_assert(s->result.lost);
	/* Told once; the token is not run again. */
	struct exec_spec spec = world_spec(&w, 1, ARGV("true"));
	ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	world_run(&w, 2, "exit 1");
	ck_assert_uint_eq(w.n_ended, 2);
}
END_TEST

/* The table is swept away with what it knew, and so it is for every batchd until one has stored
 * what that cost. */
START_TEST(a_swept_table_is_known_as_such_until_its_losses_are_stored)
{
	struct seen *s = &w.seen[0];
	int32_t spawner = exec_local_pid(w.x);
	char table[128];
	snprintf(table, sizeof(table), "%s/spawner.table", w.dir);
	world_sh(&w, 1, "echo up; exec sleep 1000", false);
	world_until(&w, s->out.len > 0);
	int32_t pid = s->pid;
	kill(spawner, SIGKILL);
	w.x = exec_local_free(w.x);
	ck_assert_int_eq(waitpid(spawner, NULL, 0), spawner);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(unlink(table), 0);
	for (int i = 0; i < 3; i++) {
		restart_client();
		ck_assert(exec_local_is_swept(w.x) && !s->known);
	}
	exec_local_recovered(w.x);
	ck_assert(!exec_local_is_swept(w.x));
	world_sh(&w, 2, "echo up; exec sleep 1000", false);
	world_until(&w, w.seen[1].out.len > 0);
	restart_client();
	ck_assert(!exec_local_is_swept(w.x) && w.seen[1].known);
	exec_local_stop(w.x, token_make(1, 2, 1), 0, 0);
	world_until(&w, w.seen[1].ended);
}
END_TEST

/* The spawner was killed between the record and the process: the next one knows of no START. */
START_TEST(what_never_began_is_not_lost)
{
	const struct record begun = { .token = token_make(1, 5, 1), .state = SW_STARTING };
	int32_t spawner = exec_local_pid(w.x);
	char path[128];
	world_run(&w, 1, "exit 0");
	kill(spawner, SIGKILL);
	w.x = exec_local_free(w.x);
	ck_assert_int_eq(waitpid(spawner, NULL, 0), spawner);
	snprintf(path, sizeof(path), "%s/spawner.table", w.dir);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fd_pwrite_all(fd, &begun, sizeof(begun), 4096 + sizeof(begun)), 0);
	restart_client();
	ck_assert(w.seen[0].known && !w.seen[4].known);
	world_run(&w, 5, "exit 3");
	world_until(&w, w.seen[4].ended);
	ck_assert_int_eq(WEXITSTATUS(w.seen[4].result.wait_status), 3);
}
END_TEST

/* As systemd would start it. */
static pid_t start_spawner(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		execl(TEST_SPAWNER, "batchd-spawner", "--socket", w.socket, NULL);
		_exit(99);
	}
	world_poll(file_is_there("spawner.sock"));
	return pid;
}

START_TEST(an_orphan_is_waited_for_and_then_lost)
{
	struct seen *s = &w.seen[0], *t = &w.seen[1];
	char path[128];
	int32_t spawner = exec_local_pid(w.x);
	world_sh(&w, 1, "echo up; while [ ! -e $DIR/go ]; do sleep 0.02; done; exit 3", false);
	world_sh(&w, 2, "trap '' TERM; echo up; while :; do sleep 1000; done", false);
	world_until(&w, s->out.len > 0 && t->out.len > 0);
	kill(spawner, SIGKILL);
	w.x = exec_local_free(w.x);
	output_forget(&w.output);
	ck_assert_int_eq(waitpid(spawner, NULL, 0), spawner);
	snprintf(path, sizeof(path), "%s/spawner.sock", w.dir);
	unlink(path);
	start_spawner();
	s->started = t->started = false;
	w.no_start = true;
	world_connect(&w);
	exec_local_recover(w.x, world_on_known, world_cap, &w);
	ck_assert(s->known && !s->known_ended && t->known && !t->known_ended);
	world_run(&w, 3, "exit 1");
	ck_assert(!s->ended && !t->ended);
	let_go();
	world_until(&w, s->ended);
	ck_assert(s->result.lost);
	ck_assert(!t->ended);
	exec_local_stop(w.x, token_make(1, 2, 1), 0, 200);
	world_until(&w, t->ended);
	ck_assert(t->result.lost);
	ck_assert(process_is_gone(t->result.pid));
}
END_TEST

START_TEST(starts_under_way_come_back_as_busy_or_run)
{
	enum { OPS = 200 };
	int32_t spawner = exec_local_pid(w.x);
	for (uint32_t op = 1; op <= OPS; op++) {
		struct exec_spec spec = world_spec(&w, op, ARGV("sh\0-c\0exit 9"));
		ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	}
	exec_local_flush(w.x);
	usleep(20000);
	kill(spawner, SIGKILL);
	world_until(&w, w.n_respawned == 1);
	for (uint32_t i = 0; i < OPS; i++)
		world_until(&w, w.seen[i].busy || w.seen[i].ended);
	for (uint32_t i = 0; i < OPS; i++)
		ck_assert_msg(w.seen[i].busy || w.seen[i].result.wait_status == 9 << 8,
			      "op %u: started %d lost %d status %#x errno %d %s pid %d, ended %ld",
			      i + 1, w.seen[i].started, w.seen[i].result.lost,
			      (unsigned)w.seen[i].result.wait_status, w.seen[i].result.start_errno,
			      w.seen[i].result.start_step ? w.seen[i].result.start_step : "",
			      (int)w.seen[i].result.pid, (long)w.seen[i].result.ended);
	uint32_t again = 0;
	for (uint32_t i = 0; i < OPS; i++)
		if (w.seen[i].busy) {
			struct exec_spec spec = world_spec(&w, i + 1, ARGV("sh\0-c\0exit 9"));
			ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
			again++;
		}
	world_until(&w, w.n_ended == OPS);
	ck_assert_uint_le(again, OPS);
}
END_TEST

/* --- by hand over the wire --- */

static int wire_connect(void)
{
	int fd = unix_connect(w.socket, SOCK_SEQPACKET);
	ck_assert_int_ge(fd, 0);
	struct timeval tv = { WORLD_WAIT_S, 0 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

static void wire_hello(int fd, uint32_t protocol, uint64_t store_id)
{
	struct sw_hello h = { .head = { sizeof(h), SW_HELLO, SW_VERSION, 0 },
			      .protocol = protocol,
			      .store_id = store_id };
	ck_assert_int_eq(send(fd, &h, sizeof(h), MSG_NOSIGNAL), sizeof(h));
}

/* The type of the first frame of the next packet; 0 at the end. */
static unsigned wire_next(int fd, void *frame, size_t size)
{
	char b[65536] __attribute__((aligned(8)));
	ssize_t n = recv(fd, b, sizeof(b), 0);
	if (n <= 0)
		return 0;
	memcpy(frame, b, MIN2((size_t)n, size));
	return ((struct sw_head *)b)->type;
}

START_TEST(strangers_are_refused)
{
	struct sw_refused f;
	struct seen *s = &w.seen[0];
	world_sh(&w, 1, "echo up; exec sleep 1000", false);
	world_until(&w, s->out.len > 0);
	int fd = wire_connect();
	wire_hello(fd, SW_PROTOCOL, 8);
	ck_assert_uint_eq(wire_next(fd, &f, sizeof(f)), SW_REFUSED);
	ck_assert_ptr_nonnull(strstr(f.why, "another state folder"));
	ck_assert_uint_eq(wire_next(fd, &f, sizeof(f)), 0);
	close(fd);
	fd = wire_connect();
	wire_hello(fd, SW_PROTOCOL + 1, 7);
	ck_assert_uint_eq(wire_next(fd, &f, sizeof(f)), SW_REFUSED);
	close(fd);
	fd = wire_connect(); /* no HELLO */
	struct sw_stop stop = { .head = { sizeof(stop), SW_STOP, SW_VERSION,
					  token_make(1, 1, 1) } };
	ck_assert_int_eq(send(fd, &stop, sizeof(stop), 0), sizeof(stop));
	ck_assert_uint_eq(wire_next(fd, &f, sizeof(f)), 0);
	close(fd);
	/* None of this touched the one who is served. */
	ck_assert(!process_is_gone(s->pid));
	exec_local_stop(w.x, token_make(1, 1, 1), 0, 5000);
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, SIGTERM);
}
END_TEST

static const struct {
	const char *name;
	uint32_t size;
	uint16_t type, version;
	uint32_t sent; /* bytes */
} broken[] = {
	{ "unknown type", 16, 99, SW_VERSION, 16 },
	{ "unknown version", 16, SW_ACK, SW_VERSION + 1, 16 },
	{ "size of nothing", 0, SW_ACK, SW_VERSION, 16 },
	{ "size beyond the packet", 4096, SW_ACK, SW_VERSION, 16 },
	{ "size not in eights", 17, SW_ACK, SW_VERSION, 24 },
	{ "half a head", 16, SW_ACK, SW_VERSION, 8 },
	{ "ack too long", 24, SW_ACK, SW_VERSION, 24 },
	{ "start too short", 64, SW_START, SW_VERSION, 64 },
	{ "start of zeroes", 80, SW_START, SW_VERSION, 80 },
};

START_TEST(broken_packets_end_their_connection)
{
	char b[4096] __attribute__((aligned(8))) = { 0 };
	struct sw_head head = { broken[_i].size, broken[_i].type, broken[_i].version, 5 };
	struct sw_hello_ok ok;
	/* With nothing to keep it would rather end than wait for the one it pushes out. */
	world_sh(&w, 2, "echo up; while [ ! -e $DIR/go ]; do sleep 0.02; done", false);
	world_until(&w, w.seen[1].out.len > 0);
	int fd = wire_connect();
	wire_hello(fd, SW_PROTOCOL, 7);
	ck_assert_uint_eq(wire_next(fd, &ok, sizeof(ok)), SW_HELLO_OK);
	memcpy(b, &head, sizeof(head));
	ck_assert_int_eq(send(fd, b, broken[_i].sent, 0), broken[_i].sent);
	ck_assert_uint_eq(wire_next(fd, &ok, sizeof(ok)), 0);
	close(fd);
	/* The one who was pushed out comes back by itself. */
	struct exec_spec spec = world_spec(&w, 1, ARGV("true"));
	ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	world_until(&w, w.seen[0].busy); /* was on its way as the connection broke */
	ck_assert_int_eq(exec_local_start(w.x, &spec), 0);
	world_until(&w, w.seen[0].ended);
	ck_assert_uint_eq(w.n_respawned, 0);
	let_go();
	world_until(&w, w.seen[1].ended);
	ck_assert_int_eq(w.seen[1].result.wait_status, 0);
}
END_TEST

START_TEST(told_to_end_it_minds_its_ops)
{
	struct seen *s = &w.seen[0];
	int32_t spawner = exec_local_pid(w.x);
	world_sh(&w, 1, "echo up; while [ ! -e $DIR/go ]; do sleep 0.02; done; exit 3", false);
	world_until(&w, s->out.len > 0);
	kill(spawner, SIGTERM);
	world_run(&w, 2, "exit 0");
	ck_assert_int_eq(exec_local_pid(w.x), spawner);
	let_go();
	world_until(&w, s->ended);
	ck_assert_int_eq(s->result.wait_status, 3 << 8);
	/* The last one acknowledged, it ends although somebody is connected; who is starts another.
	 */
	exec_local_ack(w.x, token_make(1, 1, 1));
	exec_local_ack(w.x, token_make(1, 2, 1));
	world_until(&w, w.n_respawned == 1);
	ck_assert_int_ne(exec_local_pid(w.x), spawner);
	waitpid(spawner, NULL, 0);
	w.seen[0].ended = w.seen[1].ended = false;
	world_run(&w, 3, "exit 0");
}
END_TEST

START_TEST(told_that_the_session_is_over_it_ends_its_ops)
{
	struct seen *soft = &w.seen[0], *hard = &w.seen[1];
	int32_t spawner = exec_local_pid(w.x);
	world_sh(&w, 1, "trap 'echo told; exit 3' TERM; echo up; while :; do sleep 0.02; done",
		 false);
	world_sh(&w, 2, "echo up; exec sleep 1000", false);
	world_until(&w, soft->out.len > 0 && hard->out.len > 0);
	w.x = exec_local_free(w.x); /* batchd is gone by then */
	kill(spawner, SIGINT);
	ck_assert_int_eq(waitpid(spawner, NULL, 0), spawner);
	world_poll(process_is_gone(hard->pid));
	/* What can be told stands in the table. */
	restart_client();
	ck_assert(soft->known_ended && hard->known_ended);
	world_until(&w, soft->ended && hard->ended);
	ck_assert_int_eq(soft->result.wait_status, 3 << 8);
	ck_assert_int_eq(hard->result.wait_status, SIGTERM);
	ck_assert(!soft->result.lost && !hard->result.lost);
}
END_TEST

START_TEST(it_ends_when_nobody_needs_it)
{
	int32_t spawner = exec_local_pid(w.x);
	world_run(&w, 1, "exit 0");
	w.x = exec_local_free(w.x);
	usleep(100000);
	ck_assert_int_eq(kill(spawner, 0), 0); /* an unacknowledged result */
	ck_assert(!process_is_gone(spawner));
	w.seen[0] = (struct seen){ 0 };
	output_forget(&w.output);
	world_connect(&w);
	exec_local_recover(w.x, world_on_known, world_cap, &w);
	ck_assert_int_eq(exec_local_pid(w.x), spawner);
	world_until(&w, w.seen[0].ended);
	exec_local_ack(w.x, token_make(1, 1, 1));
	w.x = exec_local_free(w.x);
	ck_assert_int_eq(waitpid(spawner, NULL, 0), spawner);
	ck_assert(!file_is_there("spawner.sock"));
	/* Of the table its head is left, by which it is known again. */
	char table[128];
	struct stat st;
	snprintf(table, sizeof(table), "%s/spawner.table", w.dir);
	ck_assert_int_eq(stat(table, &st), 0);
	ck_assert_int_eq(st.st_size, 4096);
	world_connect(&w);
	exec_local_recover(w.x, world_on_known, world_cap, &w);
}
END_TEST

START_TEST(one_spawner_a_socket)
{
	int status;
	pid_t pid = start_spawner();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(WEXITSTATUS(status), SW_EXIT_RUNNING);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("spawner restart");
	TCase *t = tcase_create("spawner restart");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, ops_outlive_batchd);
	tcase_add_test(t, acknowledged_is_forgotten);
	tcase_add_test(t, a_known_token_runs_once);
	tcase_add_test(t, statuses_survive_the_spawner);
	tcase_add_test(t, what_nobody_can_know_is_lost);
	tcase_add_test(t, what_never_began_is_not_lost);
	tcase_add_test(t, a_swept_table_is_known_as_such_until_its_losses_are_stored);
	tcase_add_test(t, an_orphan_is_waited_for_and_then_lost);
	tcase_add_test(t, starts_under_way_come_back_as_busy_or_run);
	tcase_add_test(t, strangers_are_refused);
	tcase_add_loop_test(t, broken_packets_end_their_connection, 0, ARRAY_SIZE(broken));
	tcase_add_test(t, told_to_end_it_minds_its_ops);
	tcase_add_test(t, told_that_the_session_is_over_it_ends_its_ops);
	tcase_add_test(t, it_ends_when_nobody_needs_it);
	tcase_add_test(t, one_spawner_a_socket);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
