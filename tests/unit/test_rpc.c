/*
 * The server's own part: frames, calls, bounds and subscriptions, with handlers made for the test
 * instead of the real ones. The real methods are tested from outside (tests/integration).
 */
#include "tests/unit/rpc_world.h"

/* --- frames --- */

#define BYTES(s) s, sizeof(s) - 1

static const struct {
	const char *name, *bytes;
	size_t len;
} bad_frames[] = {
	{ "an int", BYTES("\x01") },
	{ "a map", BYTES("\x80") },
	{ "an empty array", BYTES("\x90") },
	{ "five elements", BYTES("\x95\x00\x01\xa1x\x90\xc0") },
	{ "type 3", BYTES("\x94\x03\x01\xa1x\x90") },
	{ "a type that is a str", BYTES("\x94\xa1x\x01\xa1x\x90") },
	{ "msgid -1", BYTES("\x94\x00\xff\xa1x\x90") },
	{ "msgid 2^32", BYTES("\x94\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xa1x\x90") },
	{ "msgid nil", BYTES("\x94\x00\xc0\xa1x\x90") },
	{ "a method that is an int", BYTES("\x94\x00\x01\x02\x90") },
	{ "a method that is nil", BYTES("\x94\x00\x01\xc0\x90") },
	{ "a notification of four", BYTES("\x94\x02\xa1x\x90\xc0") },
	{ "a response", BYTES("\x94\x01\x05\xc0\xc3") },
	{ "a response of three", BYTES("\x93\x01\x01\xc0") },
	{ "a response to no msgid", BYTES("\x94\x01\xc0\xc0\xc0") },
	{ "a request of three", BYTES("\x93\x00\x01\xa1x") },
	{ "a msgid of one and a half", BYTES("\x94\x00\xca\x3f\xc0\x00\x00\xa1x\x90") },
	{ "0xc1", BYTES("\xc1") },
	{ "0xc1 within", BYTES("\x94\x00\x01\xa1x\x91\xc1") },
	{ "http", BYTES("GET / HTTP/1.1\r\n\r\n") },
	{ "an array of 2^32-1", BYTES("\xdd\xff\xff\xff\xff") },
};

START_TEST(a_bad_frame_closes)
{
	struct client *other = client_new(), *c = client_new();
	send_bytes(c, bad_frames[_i].bytes, bad_frames[_i].len);
	expect_close(c);
	request(other, 7, "daemon.status", SLICE_NONE);
	expect_fine(other, 7);
	client_free(c);
	client_free(other);
}
END_TEST

START_TEST(frames_come_in_pieces_and_in_heaps)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct client *c = client_new();
	for (uint32_t i = 1; i <= 200; i++)
		pack_request(&b, i, "daemon.status", SLICE_NONE);
	send_bytes(c, b.p, b.len);
	for (uint32_t i = 1; i <= 200; i++)
		expect_fine(c, i);
	for (size_t i = 0; i < b.len / 10; i++)
		send_bytes(c, b.p + i, 1);
	for (uint32_t i = 1; i <= 20; i++)
		expect_fine(c, i);
	client_free(c);
}
END_TEST

START_TEST(unknown_notifications_are_ignored)
{
	struct client *c = client_new();
	send_bytes(c, BYTES("\x93\x02\xa7no.such\x90"));
	send_bytes(c, BYTES("\x93\x02\xc4\x07no.such\x90"));
	send_bytes(c, BYTES("\x93\x02\xb0nvim_error_event\x92\x00\xa1x"));
	send_bytes(c, BYTES("\x93\x02\xadrpc.async\x00\x00\x00\x00\x90"));
	send_bytes(c, BYTES("\x93\x02\xa9rpc.async\x91\x81\xa4push\x01"));
	request(c, 1, "daemon.status", SLICE_NONE);
	expect_fine(c, 1);
	client_free(c);
}
END_TEST

START_TEST(a_long_frame_is_taken_and_given_back)
{
	_cleanup_buf_ struct buf b = BUF_INIT, map = BUF_INIT;
	struct pk pk = PK_INIT(&map);
	struct client *c = client_new();
	_cleanup_free_ char *bytes = xcalloc(1, 20 << 20);
	pk_map(&pk);
	pk_kbin(&pk, "batch", slice_of(bytes, 20 << 20));
	pk_end(&pk);
	pack_request(&b, 3, "batch.check", buf_slice(&map));
	send_bytes(c, b.p, b.len);
	expect_error(c, 3, "E_PARAMS: batch");
	ck_assert_uint_lt(w.server->hub.held, 1 << 20);
	client_free(c);
}
END_TEST

/* --- calls --- */

START_TEST(what_is_no_method_is_refused)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char long_name[200];
	struct client *c = client_new();
	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	request(c, 1, "daemon.statsu", SLICE_NONE);
	expect_error(
		c, 1,
		"E_METHOD: there is no method 'daemon.statsu' (did you mean 'daemon.status'?)");
	request(c, 2, "", SLICE_NONE);
	expect_error(c, 2, "E_METHOD: there is no method ''");
	request(c, 3, long_name, SLICE_NONE);
	expect_error(c, 3, "E_METHOD: there is no method 'xxxx");
	request(c, 4, "rpc.async", SLICE_NONE);
	expect_error(c, 4, "E_METHOD: 'rpc.async' is for notifications");
	request(c, 5, "group.list", SLICE_NONE);
	expect_error(c, 5, "E_METHOD: 'group.list' is not offered");
	request(c, 6, "rpc.hello", map1(&b, "cleint", 1));
	expect_error(c, 6, "E_PARAMS: cleint");
	client_free(c);
}
END_TEST

START_TEST(a_pending_msgid_closes_a_settled_one_does_not)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct client *c = client_new();
	struct slice map = map1(&b, "run", 1);
	for (int i = 0; i < 3; i++) {
		request(c, 5, "daemon.status", SLICE_NONE);
		expect_fine(c, 5);
	}
	request(c, 5, "run.wait", map);
	request(c, 6, "daemon.status", SLICE_NONE);
	expect_fine(c, 6);
	request(c, 5, "daemon.status", SLICE_NONE);
	expect_close(c);
	ck_assert_uint_eq(w.n_gone, 1);
	client_free(c);
}
END_TEST

START_TEST(replies_in_any_order)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct client *c = client_new();
	struct slice map = map1(&b, "run", 1);
	for (uint32_t i = 1; i <= 3; i++)
		request(c, i, "run.wait", map);
	turns();
	ck_assert_uint_eq(w.n_held, 3);
	for (int i = 2; i >= 0; i--)
		reply_int(w.held[i], i);
	w.n_held = 0;
	for (uint32_t i = 3; i >= 1; i--)
		expect_fine(c, i);
	client_free(c);
}
END_TEST

START_TEST(a_call_outlives_its_connection)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct client *c = client_new();
	request(c, 1, "run.get", map1(&b, "run", 1));
	turns();
	ck_assert_uint_eq(w.n_held, 1);
	client_free(c);
	ck_assert_uint_eq(w.server->n_conns, 0);
	reply_int(w.held[0], 1);
	w.n_held = 0;
	ck_assert_uint_eq(w.server->n_calls, 0);
}
END_TEST

START_TEST(a_half_closed_connection_gets_its_replies)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct client *c = client_new();
	request(c, 1, "run.get", map1(&b, "run", 1));
	request(c, 2, "daemon.status", SLICE_NONE);
	shutdown(c->fd, SHUT_WR);
	expect_fine(c, 2);
	reply_int(w.held[0], 1);
	w.n_held = 0;
	expect_fine(c, 1);
	expect_close(c);
	client_free(c);
}
END_TEST

START_TEST(a_half_closed_connection_that_goes_is_seen)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct client *c = client_new();
	request(c, 1, "run.wait", map1(&b, "run", 1));
	shutdown(c->fd, SHUT_WR);
	turns();
	ck_assert_uint_eq(w.server->n_conns, 1);
	ck_assert_uint_eq(w.n_held, 1);
	client_free(c);
	ck_assert_uint_eq(w.server->n_conns, 0);
	ck_assert_uint_eq(w.n_gone, 1);
}
END_TEST

START_TEST(reads_are_bounded_and_go_on)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct client *c = client_new(), *other = client_new();
	struct slice map = map1(&b, "run", 1);
	for (uint32_t i = 1; i <= 10; i++)
		request(c, i, "run.get", map);
	turns();
	ck_assert_uint_eq(w.n_called, RPC_READS_MAX);
	request(other, 1, "daemon.status", SLICE_NONE);
	expect_fine(other, 1);
	while (w.n_held) {
		reply_int(w.held[--w.n_held], 1);
		turns();
	}
	ck_assert_uint_eq(w.n_called, 11);
	for (uint32_t i = 1; i <= 10; i++)
		ck_assert(next_frame(c, WAIT_MS));
	client_free(c);
	client_free(other);
}
END_TEST

START_TEST(runs_are_seen_after_what_was_submitted_before)
{
	_cleanup_buf_ struct buf b = BUF_INIT, map = BUF_INIT;
	struct pk pk = PK_INIT(&map);
	struct client *c = client_new();
	pk_map(&pk);
	pk_key(&pk, "batch");
	pk_map(&pk);
	pk_end(&pk);
	pk_end(&pk);
	request(c, 1, "batch.submit", buf_slice(&map));
	request(c, 2, "batch.submit", buf_slice(&map));
	request(c, 3, "run.get", map1(&b, "run", 1));
	turns();
	ck_assert_uint_eq(w.n_called, 2);
	for (int i = 0; i < 2; i++)
		reply_int(w.held[i], 1);
	w.n_held = 0;
	expect_fine(c, 1);
	expect_fine(c, 2);
	turns();
	ck_assert_uint_eq(w.n_called, 3);
	client_free(c);
}
END_TEST

START_TEST(who_does_not_read_is_not_read)
{
	_cleanup_buf_ struct buf map = BUF_INIT, b = BUF_INIT;
	struct pk pk = PK_INIT(&map);
	struct client *c = client_new();
	w.reply_bytes = 1 << 20;
	pk_map(&pk);
	pk_key(&pk, "batch");
	pk_map(&pk);
	pk_end(&pk);
	pk_end(&pk);
	for (uint32_t i = 1; i <= 100; i++)
		pack_request(&b, i, "batch.check", buf_slice(&map));
	send_bytes(c, b.p, b.len);
	turns();
	ck_assert_uint_le(w.n_called, 3);
	for (uint32_t i = 1; i <= 100; i++)
		expect_fine(c, i);
	client_free(c);
}
END_TEST

START_TEST(a_reply_beyond_the_limit_is_an_error)
{
	_cleanup_buf_ struct buf map = BUF_INIT;
	struct pk pk = PK_INIT(&map);
	struct client *c = client_new();
	w.reply_bytes = LIMIT_REPLY_BYTES + 1;
	pk_map(&pk);
	pk_key(&pk, "batch");
	pk_map(&pk);
	pk_end(&pk);
	pk_end(&pk);
	request(c, 1, "batch.check", buf_slice(&map));
	expect_error(c, 1, "E_LIMIT: ");
	client_free(c);
}
END_TEST

/* --- pushes --- */

static const struct {
	const char *push, *prefix;
	size_t push_len, prefix_len;
} prefixes[] = {
	{ NULL,
	  "\x93\x02\xac"
	  "batchd.event\x91",
	  0, 16 },
	{ "\x91\xa1m", "\x93\x02\xa1m\x91", 3, 5 },
	{ "\x93\xa1m\x01\x02", "\x93\x02\xa1m\x93\x01\x02", 5, 7 },
	{ "\x93\xa1m\xa1"
	  "c\x90",
	  "\x93\x02\xa1m\x92\xa1"
	  "c\x91",
	  6, 8 },
	{ "\x92\xa1m\x92\x01\x02", "\x93\x02\xa1m\x91\x93\x01\x02", 6, 8 },
	{ "\x92\xa1m\x80", "\x93\x02\xa1m\x92\x80", 4, 6 },
};

START_TEST(an_event_goes_where_the_push_wants_it)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	rpc_push_prefix(prefixes[_i].push ? slice_of(prefixes[_i].push, prefixes[_i].push_len)
					  : SLICE_NONE,
			&b);
	ck_assert_uint_eq(b.len, prefixes[_i].prefix_len);
	ck_assert_mem_eq(b.p, prefixes[_i].prefix, b.len);
}
END_TEST

START_TEST(a_notification_calls_and_async_pushes_the_result)
{
	struct client *c = client_new();
	send_bytes(c, BYTES("\x93\x02\xa9rpc.async\x91\x82\xa6method\xad"
			    "daemon.status\xa4push\x93\xa3got\xa1x\x90"));
	ck_assert(next_frame(c, WAIT_MS));
	static const char ok[] = "\x93\x02\xa3got\x92\xa1x\x91\x81\xa2ok\x01";
	ck_assert_uint_eq(c->frame.len, sizeof(ok) - 1);
	ck_assert_mem_eq(c->frame.p, ok, c->frame.len);
	send_bytes(c, BYTES("\x93\x02\xa9rpc.async\x91\x82\xa6method\xa2no\xa4push\x91\xa3got"));
	ck_assert(next_frame(c, WAIT_MS));
	static const char bad[] = "\x93\x02\xa3got\x91\x81\xa5"
				  "error\x92\x01\xd9";
	ck_assert_mem_eq(c->frame.p, bad, 14);
	client_free(c);
}
END_TEST

/* --- subscriptions --- */

static int64_t subscribe(struct client *c, uint32_t msgid, struct slice *ret)
{
	char error[256];
	struct slice result;
	request(c, msgid, "todo.subscribe", SLICE_NONE);
	ck_assert_uint_eq(reply(c, error, &result), msgid);
	ck_assert_str_eq(error, "");
	if (ret)
		*ret = result;
	return mp_get_int(result, "sub", -1);
}

static void todo_event(int64_t rev, size_t bytes)
{
	_cleanup_buf_ struct buf items = BUF_INIT;
	struct pk pk = PK_INIT(&items);
	_cleanup_free_ char *text = xmalloc(bytes + 1);
	memset(text, 'x', bytes);
	pk_array(&pk);
	pk_map(&pk);
	pk_kstr(&pk, "content", slice_of(text, bytes));
	pk_knil(&pk, "owner");
	pk_end(&pk);
	pk_end(&pk);
	const struct event e = { .type = EVENT_TODO_CHANGED,
				 .rev = rev,
				 .time = 1,
				 .list = "l",
				 .todo_rev = rev,
				 .after = buf_slice(&items) };
	rpc_server_event(w.server, &e);
}

/* The next event as a map. */
static struct slice next_event(struct client *c)
{
	ck_assert_msg(next_frame(c, WAIT_MS), "no event came");
	struct mp m = mp_of(c->frame);
	ck_assert_uint_eq(mp_next(&m).count, 3);
	ck_assert_int_eq(mp_next(&m).i, 2);
	mp_next(&m);
	ck_assert_uint_eq(mp_next(&m).count, 1);
	return mp_skip(&m);
}

START_TEST(events_carry_sub_rev_and_prev)
{
	struct client *c = client_new();
	int64_t one = subscribe(c, 1, NULL), two = subscribe(c, 2, NULL);
	ck_assert_int_ne(one, two);
	todo_event(3, 10);
	todo_event(7, 10);
	for (int i = 0; i < 4; i++) {
		struct slice e = next_event(c);
		ck_assert(slice_is(mp_get_str(e, "type"), "todo.changed"));
		ck_assert_int_eq(mp_get_int(e, "sub", 0), i % 2 ? two : one);
		ck_assert_int_eq(mp_get_int(e, "rev", 0), i < 2 ? 3 : 7);
		ck_assert_int_eq(mp_get_int(e, "prev", -1), i < 2 ? 0 : 3);
		ck_assert(slice_is(mp_get_str(e, "list"), "l"));
	}
	_cleanup_buf_ struct buf b = BUF_INIT;
	request(c, 3, "rpc.unsubscribe", map1(&b, "sub", one));
	expect_fine(c, 3);
	todo_event(8, 10);
	ck_assert_int_eq(mp_get_int(next_event(c), "sub", 0), two);
	ck_assert(!next_frame(c, 50));
	buf_clear(&b);
	request(c, 4, "rpc.unsubscribe", map1(&b, "sub", one));
	expect_error(c, 4, "E_NOT_FOUND");
	client_free(c);
}
END_TEST

START_TEST(a_slow_reader_gets_one_resync_and_goes_on)
{
	struct client *c = client_new(), *other = client_new();
	int64_t sub = subscribe(c, 1, NULL);
	subscribe(other, 1, NULL);
	unsigned seen = 0, resyncs = 0;
	int64_t prev = 0;
	for (int64_t rev = 1; rev <= 200; rev++) {
		todo_event(rev, 20000);
		ck_assert_int_eq(mp_get_int(next_event(other), "rev", 0), rev);
	}
	ck_assert_uint_lt(w.server->hub.held, 2 * LIMIT_QUEUE_BYTES);
	while (!resyncs) {
		struct slice e = next_event(c);
		ck_assert_int_eq(mp_get_int(e, "sub", 0), sub);
		ck_assert_int_eq(mp_get_int(e, "prev", -1), prev);
		prev = mp_get_int(e, "rev", 0);
		if (slice_is(mp_get_str(e, "type"), "resync"))
			resyncs++;
		else
			seen++;
	}
	ck_assert_uint_lt(seen, 100);
	ck_assert(!next_frame(c, 50));
	todo_event(201, 10);
	ck_assert_int_eq(mp_get_int(next_event(c), "prev", -1), prev);
	client_free(c);
	client_free(other);
}
END_TEST

START_TEST(nils_are_left_out_where_asked)
{
	_cleanup_buf_ struct buf map = BUF_INIT;
	struct pk pk = PK_INIT(&map);
	struct client *c = client_new(), *plain = client_new();
	pk_map(&pk);
	pk_kbool(&pk, "omit_nil", true);
	pk_end(&pk);
	request(c, 1, "rpc.hello", buf_slice(&map));
	expect_fine(c, 1);
	subscribe(c, 2, NULL);
	subscribe(plain, 2, NULL);
	todo_event(1, 10);
	size_t with = next_event(plain).len, without = next_event(c).len;
	ck_assert_uint_lt(without, with);
	client_free(c);
	client_free(plain);
}
END_TEST

/* --- shapes --- */

START_TEST(signals_have_names)
{
	char text[24];
	ck_assert_ptr_null(shape_signal(0, text));
	ck_assert_str_eq(shape_signal(SIGSEGV, text), "SIGSEGV");
	ck_assert_str_eq(shape_signal(SIGRTMIN + 2, text), "SIGRTMIN+2");
	ck_assert_int_eq(shape_signal_parse(slice_str("TERM")), SIGTERM);
	ck_assert_int_eq(shape_signal_parse(slice_str("sigusr1")), SIGUSR1);
	ck_assert_int_eq(shape_signal_parse(slice_str("9")), SIGKILL);
	ck_assert_int_eq(shape_signal_parse(slice_str("SIGRTMIN+2")), SIGRTMIN + 2);
	ck_assert_int_eq(shape_signal_parse(slice_str("SIG")), 0);
	ck_assert_int_eq(shape_signal_parse(slice_str("0")), 0);
	ck_assert_int_eq(shape_signal_parse(slice_str("FOO")), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rpc");
	TCase *t = tcase_create("server");
	log_init("test", LOG_ERROR);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, a_bad_frame_closes, 0, (int)ARRAY_SIZE(bad_frames));
	tcase_add_test(t, frames_come_in_pieces_and_in_heaps);
	tcase_add_test(t, unknown_notifications_are_ignored);
	tcase_add_test(t, a_long_frame_is_taken_and_given_back);
	tcase_add_test(t, what_is_no_method_is_refused);
	tcase_add_test(t, a_pending_msgid_closes_a_settled_one_does_not);
	tcase_add_test(t, replies_in_any_order);
	tcase_add_test(t, a_call_outlives_its_connection);
	tcase_add_test(t, a_half_closed_connection_gets_its_replies);
	tcase_add_test(t, a_half_closed_connection_that_goes_is_seen);
	tcase_add_test(t, reads_are_bounded_and_go_on);
	tcase_add_test(t, runs_are_seen_after_what_was_submitted_before);
	tcase_add_test(t, who_does_not_read_is_not_read);
	tcase_add_test(t, a_reply_beyond_the_limit_is_an_error);
	tcase_add_loop_test(t, an_event_goes_where_the_push_wants_it, 0, (int)ARRAY_SIZE(prefixes));
	tcase_add_test(t, a_notification_calls_and_async_pushes_the_result);
	tcase_add_test(t, events_carry_sub_rev_and_prev);
	tcase_add_test(t, a_slow_reader_gets_one_resync_and_goes_on);
	tcase_add_test(t, nils_are_left_out_where_asked);
	tcase_add_test(t, signals_have_names);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
