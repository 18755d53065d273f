/* Answers that wait until the todos they show are stored, with a store that answers when told to.
 */
#include "rpc_world.h"

static void written(void *arg, const struct err *err)
{
	(void)err;
	++*(unsigned *)arg;
}

/* One item of that length comes to the list. */
static void write_todo(size_t bytes)
{
	static unsigned n_written;
	_cleanup_buf_ struct buf items = BUF_INIT;
	_cleanup_free_ char *text = xmalloc(bytes);
	struct pk pk = PK_INIT(&items);
	struct todo_by by = { .list = "l", .now_ms = 1 };
	struct txn *t = txn_new(NULL, NULL);
	struct todo_change *c = xmalloc(sizeof(*c));
	struct err err;
	memset(text, 'x', bytes);
	*c = (struct todo_change)TODO_CHANGE_INIT;
	pk_array(&pk);
	pk_map(&pk);
	pk_kstr(&pk, "content", slice_of(text, bytes));
	pk_end(&pk);
	pk_end(&pk);
	ck_assert_int_eq(todos_write(engine_todos(w.engine), &by, buf_slice(&items), TODOS_MERGE, t,
				     c, &err),
			 0);
	engine_todo_commit(w.engine, t, c, written, &n_written);
}

/* The store has come to the end of the first that waits. */
static void store_answers(enum txn_status status)
{
	struct err err = { .sym = E_STORAGE, .text = "no room" };
	struct txn *t = w.txns[0];
	ck_assert_uint_gt(w.n_txns, 0);
	memmove(w.txns, w.txns + 1, --w.n_txns * sizeof(w.txns[0]));
	txn_finish(t, status, 0, status == TXN_FAILED ? &err : NULL);
}

static void release(struct client *c, uint32_t msgid, const char *id)
{
	_cleanup_buf_ struct buf map = BUF_INIT;
	struct pk pk = PK_INIT(&map);
	pk_map(&pk);
	pk_kstr(&pk, "list", slice_str("l"));
	pk_kstr(&pk, "id", slice_str(id));
	pk_end(&pk);
	request(c, msgid, "todo.release", buf_slice(&map));
}

START_TEST(an_answer_waits_for_the_writes_before_it)
{
	struct client *c = client_new();
	request(c, 1, "todo.lists", SLICE_NONE);
	expect_fine(c, 1);
	write_todo(10);
	request(c, 2, "todo.lists", SLICE_NONE);
	turns();
	write_todo(10);
	ck_assert(!next_frame(c, 50));
	store_answers(TXN_DONE);
	expect_fine(c, 2); /* the second has yet to come */
	store_answers(TXN_DONE);
	client_free(c);
}
END_TEST

START_TEST(what_could_not_be_stored_is_not_shown)
{
	static const char *const methods_[] = { "todo.lists", "todo.subscribe" };
	struct client *c = client_new();
	write_todo(10);
	for (uint32_t i = 0; i < ARRAY_SIZE(methods_); i++) {
		request(c, i, methods_[i], SLICE_NONE);
		turns();
	}
	store_answers(TXN_FAILED);
	for (uint32_t i = 0; i < ARRAY_SIZE(methods_); i++)
		expect_error(c, i, "E_STORAGE");
	ck_assert_uint_eq(subs_count(w.server->subs), 0);
	request(c, 9, "todo.lists", SLICE_NONE);
	expect_fine(c, 9);
	client_free(c);
}
END_TEST

static int64_t list_rev(struct client *c, uint32_t msgid)
{
	_cleanup_buf_ struct buf map = BUF_INIT;
	struct pk pk = PK_INIT(&map);
	char error[256];
	struct slice result;
	pk_map(&pk);
	pk_kstr(&pk, "list", slice_str("l"));
	pk_end(&pk);
	request(c, msgid, "todo.list", buf_slice(&map));
	if (w.n_txns) {
		ck_assert(!next_frame(c, 50));
		store_answers(TXN_FAILED);
		expect_error(c, msgid, "E_STORAGE");
		return -1;
	}
	ck_assert_uint_eq(reply(c, error, &result), msgid);
	ck_assert_str_eq(error, "");
	return mp_get_int(result, "rev", -1);
}

/* Also where the same has been answered before, and is kept. */
START_TEST(a_list_is_told_as_it_is_now)
{
	struct client *c = client_new();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(list_rev(c, 1), 0);
	write_todo(10);
	store_answers(TXN_DONE);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(list_rev(c, 1), 1);
	write_todo(10);
	ck_assert_int_eq(list_rev(c, 1), -1); /* neither as it was nor as it will not be */
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(list_rev(c, 1), 0);
	client_free(c);
}
END_TEST

/* It may stand on a write that fails. */
START_TEST(a_refusal_waits_too)
{
	struct client *c = client_new();
	write_todo(10);
	release(c, 1, "none");
	ck_assert(!next_frame(c, 50));
	store_answers(TXN_DONE);
	expect_error(c, 1, "E_NOT_FOUND");
	write_todo(10);
	release(c, 2, "none");
	turns();
	store_answers(TXN_FAILED);
	expect_error(c, 2, "E_STORAGE");
	client_free(c);
}
END_TEST

START_TEST(events_go_on_from_what_is_stored)
{
	char error[256];
	struct slice result;
	struct client *c = client_new();
	write_todo(10);
	request(c, 1, "todo.subscribe", SLICE_NONE);
	turns();
	write_todo(10);
	store_answers(TXN_DONE);
	store_answers(TXN_DONE);
	ck_assert_uint_eq(reply(c, error, &result), 1); /* and not the event of either */
	ck_assert_str_eq(error, "");
	int64_t rev = mp_get_int(result, "rev", -1);
	ck_assert(next_frame(c, WAIT_MS));
	struct mp m = mp_of(c->frame);
	mp_next(&m);
	ck_assert_int_eq(mp_next(&m).i, 2);
	mp_next(&m);
	mp_next(&m);
	struct slice event = mp_skip(&m);
	ck_assert_int_eq(mp_get_int(event, "todo_rev", 0), 2);
	ck_assert_int_eq(mp_get_int(event, "prev", -1), rev);
	ck_assert_int_eq(mp_get_int(event, "rev", -1), rev + 1);
	ck_assert(!next_frame(c, 50));
	client_free(c);
}
END_TEST

START_TEST(whoever_has_gone_is_not_answered)
{
	struct client *c = client_new();
	write_todo(10);
	request(c, 1, "todo.lists", SLICE_NONE);
	request(c, 2, "todo.subscribe", SLICE_NONE);
	turns();
	ck_assert_uint_eq(w.server->n_calls, 2);
	client_free(c);
	store_answers(TXN_DONE);
	ck_assert_uint_eq(w.server->n_calls, 0);
	ck_assert_uint_eq(subs_count(w.server->subs), 0);
	ck_assert_uint_eq(w.server->hub.held, 0);
}
END_TEST

/* Answers that wait are as good as unwritten: nothing more is read meanwhile. */
START_TEST(long_answers_are_bounded_while_they_wait)
{
	struct client *c = client_new();
	for (int i = 0; i < 3; i++) {
		write_todo(PEER_BACKLOG_BYTES / 2 + (size_t)i);
		store_answers(TXN_DONE);
	}
	write_todo(10);
	for (uint32_t i = 0; i < 5; i++)
		request(c, i, "todo.subscribe", SLICE_NONE);
	turns();
	ck_assert_uint_eq(w.server->n_calls, 1);
	ck_assert_uint_gt(w.server->hub.held, PEER_BACKLOG_BYTES);
	store_answers(TXN_DONE);
	for (uint32_t i = 0; i < 5; i++)
		expect_fine(c, i);
	client_free(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rpc_stored");
	TCase *t = tcase_create("answers");
	log_init("test", LOG_ERROR);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, an_answer_waits_for_the_writes_before_it);
	tcase_add_test(t, what_could_not_be_stored_is_not_shown);
	tcase_add_test(t, a_list_is_told_as_it_is_now);
	tcase_add_test(t, a_refusal_waits_too);
	tcase_add_test(t, events_go_on_from_what_is_stored);
	tcase_add_test(t, whoever_has_gone_is_not_answered);
	tcase_add_test(t, long_answers_are_bounded_while_they_wait);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
