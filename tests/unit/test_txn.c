/* Transactions: records keep their order and are copies of all they were given. */
#include <check.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/txn.h"

struct told {
	int n;
	enum txn_status status;
	struct txn *keep, *again;
};

static void tell(void *arg, enum txn_status status, uint64_t existing _unused_,
		 const struct err *e _unused_)
{
	struct told *told = arg;

	told->n++;
	told->status = status;
	if (told->keep) {
		txn_keep(told->keep);
		told->again = TAKE_PTR(told->keep);
	}
}

/* But for a batch, which may be long. */
START_TEST(records_are_deep_copies)
{
	struct txn *t = txn_new(NULL, NULL);
	char name[] = "build", blob[] = "\x81\xa1k\x01", batch[] = "\x80";
	struct run_row row = {
		.run = 7, .name = name, .meta = slice_of(blob, 4), .messages = SLICE_NONE
	};
	const struct txn_record *r;

	txn_run_new(t, &row, slice_of(batch, 1), slice_of("", 0));
	memset(name, 'x', sizeof(name) - 1);
	memset(blob, 'x', sizeof(blob) - 1);
	r = txn_first(t);
	ck_assert_str_eq(r->run_new.row.name, "build");
	ck_assert_ptr_null(r->run_new.row.key);
	ck_assert_int_eq(r->run_new.row.meta.p[0], (char)0x81);
	ck_assert_ptr_null(r->run_new.row.messages.p);
	ck_assert_ptr_eq(r->run_new.batch.p, batch);
	ck_assert_msg(r->run_new.env.p && r->run_new.env.len == 0, "an empty slice stays present");
	txn_free(t);
}
END_TEST

START_TEST(order_is_kept_over_many_chunks)
{
	struct txn *t = txn_new(NULL, NULL);
	uint32_t n = 0;

	ck_assert(txn_empty(t));
	for (uint32_t i = 1; i <= 20000; i++) {
		char text[32];
		struct op_row row = { .run = 1, .op = i, .text = text };

		snprintf(text, sizeof(text), "echo %u", i);
		txn_op(t, &row);
	}
	ck_assert(!txn_empty(t));
	for (const struct txn_record *r = txn_first(t); r; r = r->next) {
		char text[32];

		snprintf(text, sizeof(text), "echo %u", ++n);
		ck_assert_int_eq(r->kind, TXN_OP);
		ck_assert_uint_eq(r->op.op, n);
		ck_assert_str_eq(r->op.text, text);
	}
	ck_assert_uint_eq(n, 20000);
	txn_free(t);
}
END_TEST

START_TEST(a_record_larger_than_any_chunk)
{
	struct txn *t = txn_new(NULL, NULL);
	size_t len = 3u << 20;
	char *big = xmalloc(len);
	struct run_row row = { .run = 1 };

	memset(big, 'b', len);
	txn_run_new(t, &row, SLICE_NONE, slice_of(big, len));
	txn_rev(t, 5);
	ck_assert(slice_eq(txn_first(t)->run_new.env, slice_of(big, len)));
	ck_assert_int_eq(txn_first(t)->next->rev, 5);
	free(big);
	txn_free(t);
}
END_TEST

START_TEST(todo_records)
{
	struct txn *t = txn_new(NULL, NULL);
	struct todo_row row = {
		.list = "l", .id = "a", .content = "c", .tags = slice_of("\x90", 1)
	};
	struct todo_event_row event = {
		.list = "l", .rev = 3, .before = slice_of("\x90", 1), .after = slice_of("\x90", 1)
	};

	txn_todo(t, &row);
	txn_todo_event(t, &event);
	txn_forget(t, 9);
	ck_assert_str_eq(txn_first(t)->todo.id, "a");
	ck_assert_ptr_ne(txn_first(t)->todo.tags.p, row.tags.p);
	ck_assert_int_eq(txn_first(t)->next->todo_event.rev, 3);
	ck_assert_uint_eq(txn_first(t)->next->next->forget, 9);
	txn_free(t);
}
END_TEST

START_TEST(done_is_told_once)
{
	struct told told = { .n = 0 };

	txn_finish(txn_new(tell, &told), TXN_KEY_SAME, 3, NULL);
	ck_assert_int_eq(told.n, 1);
	ck_assert_int_eq(told.status, TXN_KEY_SAME);
	txn_free(txn_new(tell, &told));
	ck_assert_int_eq(told.n, 1);
	txn_finish(txn_new(NULL, NULL), TXN_DONE, 0, NULL);
}
END_TEST

START_TEST(a_kept_transaction_can_be_finished_again)
{
	struct told told = { .n = 0 }, second = { .n = 0 };
	struct txn *t = txn_new(tell, &told);

	txn_rev(t, 8);
	told.keep = t;
	txn_finish(t, TXN_FAILED, 0, NULL);
	ck_assert_ptr_eq(told.again, t);
	ck_assert_int_eq(txn_first(t)->rev, 8);
	txn_on_done(t, tell, &second);
	txn_finish(t, TXN_DONE, 0, NULL);
	ck_assert_int_eq(told.n, 1);
	ck_assert_int_eq(second.n, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("txn");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(t, records_are_deep_copies);
	tcase_add_test(t, order_is_kept_over_many_chunks);
	tcase_add_test(t, a_record_larger_than_any_chunk);
	tcase_add_test(t, todo_records);
	tcase_add_test(t, done_is_told_once);
	tcase_add_test(t, a_kept_transaction_can_be_finished_again);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
