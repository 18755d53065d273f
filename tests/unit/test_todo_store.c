/*
 * Todo lists and the store together: after any number of writes a fresh batchd loads what was
 * there, and each past revision is what the list then was.
 */
#include "store_world.h"
#include "todo_world.h"

#define STEPS 120

static struct world w;

static void setup(void)
{
	world_init_in(&w, "/dev/shm");
	todo_setup();
}

static void teardown(void)
{
	todo_teardown();
	world_done(&w);
}

static void load_item(void *arg, const struct todo_row *row)
{
	todos_load(arg, row);
}

static void load_list(void *arg, const char *list, int64_t rev)
{
	todos_load_rev(arg, list, rev);
}

static struct todos *load_all(void)
{
	struct todos *t = todos_new();
	struct store_todo_sink sink = { load_item, load_list, t };
	struct err e = ERR_INIT;

	ck_assert_msg(store_load_todos(w.store, NULL, &sink, &e) == 0, "%s", e.text);
	return t;
}

static void pack_list(const struct todos *t, struct buf *b)
{
	struct pk pk = PK_INIT(b);
	struct todo_filter all = TODO_FILTER_ALL;

	todos_pack(t, "l", &all, &pk);
}

static unsigned seed;

static unsigned rnd(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void random_items(struct buf *b)
{
	buf_addc(b, '[');
	for (unsigned n = rnd(5); n > 0; n--)
		buf_addf(b, "{'content':'c%u','owner':'o%u','tags':['x%u'],'meta':{'k':%u}},",
			 rnd(14), rnd(2), rnd(3), rnd(3));
	buf_addc(b, ']');
}

/* One write of some kind into txn; its result. */
static int random_write(struct txn *txn, struct todo_change *c)
{
	_cleanup_buf_ struct buf text = BUF_INIT, items = BUF_INIT;
	struct todo_by by = { .list = "l", .source = rnd(2) ? "a" : "b", .now_ms = ++now };
	struct todo_claim claim = { .owner = slice_str("eve"), .lease_ms = rnd(3) };
	struct err e = ERR_INIT;
	char id[8];

	snprintf(id, sizeof(id), "t%u", rnd(20));
	switch (rnd(5)) {
	case 0:
		return todos_remove(lists, &by, slice_str(id), txn, c, &e);
	case 1:
		return todos_claim(lists, &by, &claim, txn, c, &e) || c->nothing;
	default:
		random_items(&text);
		mp_text(&items, buf_str(&text));
		return todos_write(lists, &by, buf_slice(&items),
				   rnd(2) ? TODOS_REPLACE : TODOS_MERGE, txn, c, &e);
	}
}

static struct buf past[STEPS + 1];

static void check_past(struct sql_reader *r, void *arg)
{
	for (int64_t rev = 0; rev <= *(int64_t *)arg; rev++) {
		_cleanup_buf_ struct buf got = BUF_INIT;
		struct err e = ERR_INIT;

		ck_assert_msg(sql_todo_at(r, "l", rev, &got, &e) == 0, "%s", e.text);
		ck_assert_msg(slice_eq(buf_slice(&got), buf_slice(&past[rev])),
			      "revision %d reads otherwise", (int)rev);
	}
}

static void check_loaded(void)
{
	struct todos *fresh = load_all();
	_cleanup_buf_ struct buf there = BUF_INIT, here = BUF_INIT;

	pack_list(lists, &here);
	pack_list(fresh, &there);
	ck_assert_msg(slice_eq(buf_slice(&here), buf_slice(&there)),
		      "what is loaded is not what was");
	ck_assert_int_eq(todos_rev(fresh, "l"), todos_rev(lists, "l"));
	todos_free(lists);
	lists = fresh;
}

START_TEST(what_was_written_is_loaded_and_has_its_past)
{
	int64_t rev = 0;

	seed = (unsigned)_i + 1;
	pack_list(lists, &past[0]);
	for (int step = 0; step < STEPS; step++) {
		struct todo_change c = TODO_CHANGE_INIT;
		struct answer a = { .n = 0 };
		struct txn *txn = txn_new(answer_fill, &a);

		if (random_write(txn, &c) == 0) {
			commit_now(&w, txn, &a);
			ck_assert_int_eq(a.status, TXN_DONE);
			ck_assert_int_eq(c.rev, ++rev);
			pack_list(lists, &past[rev]);
		} else {
			txn_free(txn);
		}
		todo_change_done(&c);
		if (rnd(20) == 0)
			check_loaded();
	}
	ck_assert_int_gt(rev, STEPS / 2);
	check_loaded();
	world_read(&w, check_past, &rev);
	for (int64_t i = 0; i <= rev; i++)
		buf_done(&past[i]);
}
END_TEST

struct reading {
	int64_t rev;
	struct buf items;
};

static void read_past(struct sql_reader *r, void *arg)
{
	struct reading *reading = arg;
	struct err e = ERR_INIT;

	ck_assert_msg(sql_todo_at(r, "l", reading->rev, &reading->items, &e) == 0, "%s", e.text);
}

START_TEST(a_revision_is_restored)
{
	struct reading reading = { 1, BUF_INIT };
	struct answer a = { .n = 0 };
	struct todo_by by = { .list = "l", .source = "me", .now_ms = 5 };
	struct txn *txn;
	static const char *const writes[] = {
		"[{'content':'A'},{'content':'B','status':'completed'}]", "[{'content':'C'}]"
	};

	for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
		_cleanup_buf_ struct buf items = BUF_INIT;

		txn = txn_new(answer_fill, &a);
		todo_change_done(&change);
		mp_text(&items, writes[i]);
		ck_assert_int_eq(todos_write(lists, &by, buf_slice(&items), TODOS_REPLACE, txn,
					     &change, &err),
				 0);
		commit_now(&w, txn, &a);
	}
	ck_assert_str_eq(show(), "t3:C:p ");
	world_read(&w, read_past, &reading);
	txn = txn_new(answer_fill, &a);
	todo_change_done(&change);
	ck_assert_int_eq(todos_restore(lists, &by, reading.rev, buf_slice(&reading.items), txn,
				       &change, &err),
			 0);
	commit_now(&w, txn, &a);
	ck_assert_int_eq(a.status, TXN_DONE);
	ck_assert_str_eq(show(), "t1:A:p t2:B:c ");
	check_loaded();
	buf_done(&reading.items);
}
END_TEST

START_TEST(a_lost_write_is_thrown_away)
{
	struct answer first = { .n = 0 }, second = { .n = 0 };
	struct todo_by by = { .list = "l", .source = "me", .now_ms = 5 };
	struct store_todo_sink sink = { load_item, load_list, NULL };
	struct err e = ERR_INIT;
	struct txn *lost = txn_new(NULL, NULL), *built_on_it = txn_new(answer_fill, &first),
		   *again = txn_new(answer_fill, &second);

	_cleanup_buf_ struct buf items = BUF_INIT;

	mp_text(&items, "[{'content':'A'}]");
	ck_assert_int_eq(
		todos_write(lists, &by, buf_slice(&items), TODOS_MERGE, lost, &change, &err), 0);
	txn_free(lost);
	todo_change_done(&change);
	ck_assert_int_eq(
		todos_write(lists, &by, buf_slice(&items), TODOS_MERGE, built_on_it, &change, &err),
		0);
	commit_now(&w, built_on_it, &first);
	ck_assert_int_eq(first.status, TXN_FAILED);
	todos_list_reset(lists, "l");
	sink.arg = lists;
	ck_assert_int_eq(store_load_todos(w.store, "l", &sink, &e), 0);
	ck_assert_str_eq(show(), "");
	todo_change_done(&change);
	ck_assert_int_eq(
		todos_write(lists, &by, buf_slice(&items), TODOS_MERGE, again, &change, &err), 0);
	ck_assert_int_eq(change.rev, 1);
	commit_now(&w, again, &second);
	ck_assert_int_eq(second.status, TXN_DONE);
	check_loaded();
}
END_TEST

static void fill(Suite *s)
{
	TCase *t = tcase_create("all");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, what_was_written_is_loaded_and_has_its_past, 0, 10);
	tcase_add_test(t, a_revision_is_restored);
	tcase_add_test(t, a_lost_write_is_thrown_away);
	suite_add_tcase(s, t);
}

int main(void)
{
	return world_run_suites("todo_store", fill);
}
