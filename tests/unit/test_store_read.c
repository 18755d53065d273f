/* Reading history, todo events and what start-up loads, from real databases. */
#include "store_world.h"

#include "mp_text.h"
#include "proto/errors.h"

static struct world w;

static void setup(void)
{
	world_init(&w);
}

static void teardown(void)
{
	world_done(&w);
}

/* --- reading --- */

struct listing {
	struct sql_run_filter filter;
	char got[128];
	int stop_after;
};

static bool list_one(void *arg, const struct run_row *row)
{
	struct listing *l = arg;
	size_t at = strlen(l->got);

	snprintf(l->got + at, sizeof(l->got) - at, "%llu ", (unsigned long long)row->run);
	return --l->stop_after != 0;
}

static void list_runs(struct sql_reader *r, void *arg)
{
	struct listing *l = arg;
	struct err e = ERR_INIT;

	ck_assert_msg(sql_runs_list(r, &l->filter, list_one, l, &e) == 0, "%s", e.text);
}

static const struct {
	const char *name;
	struct sql_run_filter filter;
	int stop_after;
	const char *want;
} listings[] = {
	{ "all", { 0 }, 0, "6 5 4 3 2 1 " },
	{ "live", { .states = SQL_STATES_LIVE }, 0, "6 5 4 " },
	{ "ended", { .states = SQL_STATES_ENDED }, 0, "3 2 1 " },
	{ "one state", { .states = 1u << RUN_FAILED }, 0, "2 " },
	{ "two states", { .states = 1u << RUN_FAILED | 1u << RUN_QUEUED }, 0, "6 5 4 2 " },
	{ "name", { .name = "odd" }, 0, "5 3 1 " },
	{ "name and state", { .name = "odd", .states = SQL_STATES_LIVE }, 0, "5 " },
	{ "group", { .group = "g" }, 0, "3 " },
	{ "project", { .project = "/p2" }, 0, "2 " },
	{ "before", { .before = 4, .limit = 2 }, 0, "3 2 " },
	{ "oldest", { .oldest_first = true, .limit = 2 }, 0, "1 2 " },
	{ "ended before", { .ended_before = 3003, .oldest_first = true }, 0, "1 2 " },
	{ "callback stops", { 0 }, 2, "6 5 " },
	{ "none", { .name = "x' OR 1" }, 0, "" },
};

START_TEST(runs_are_listed)
{
	struct answer a = { .n = 0 };
	struct listing l = { .filter = listings[_i].filter, .stop_after = listings[_i].stop_after };

	for (uint64_t i = 1; i <= 6; i++) {
		struct txn *t = txn_new(answer_fill, &a);
		struct run_row row = { .run = i,
				       .name = i % 2 ? "odd" : NULL,
				       .group = i == 3 ? "g" : NULL,
				       .project = i == 2 ? "/p2" : "/p" };

		txn_run_new(t, &row, slice_str("b"), SLICE_NONE);
		if (i <= 3) {
			row.state = i == 2 ? RUN_FAILED : RUN_SUCCEEDED;
			row.ended = 3000 + (int64_t)i;
			txn_run_update(t, &row);
		}
		commit_now(&w, t, &a);
	}
	world_read(&w, list_runs, &l);
	ck_assert_msg(strcmp(l.got, listings[_i].want) == 0, "%s: got '%s'", listings[_i].name,
		      l.got);
}
END_TEST

static bool op_one(void *arg, const struct op_row *row)
{
	char *got = arg;
	size_t at = strlen(got);

	snprintf(got + at, 64 - at, "%u%s ", row->op, row->id ? row->id : "");
	return true;
}

static void look_ops(struct sql_reader *r, void *arg _unused_)
{
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct err e = ERR_INIT;
	struct op_row row;
	uint32_t n;
	char got[5][64] = { "", "", "", "", "" };

	ck_assert_int_eq(sql_ops_list(r, 1, SQL_OPS_ALL, 0, 0, op_one, got[0], &e), 0);
	ck_assert_str_eq(got[0], "1 2b 3 4 5 ");
	ck_assert_int_eq(sql_ops_list(r, 1, SQL_OPS_ALL, 2, 2, op_one, got[1], &e), 0);
	ck_assert_str_eq(got[1], "3 4 ");
	ck_assert_int_eq(sql_ops_list(r, 1, SQL_OPS_FAILED, 0, 0, op_one, got[2], &e), 0);
	ck_assert_str_eq(got[2], "2b 4 ");
	ck_assert_int_eq(sql_ops_list(r, 1, SQL_OPS_NONE, 0, 0, op_one, got[3], &e), 0);
	ck_assert_str_eq(got[3], "");
	ck_assert_int_eq(sql_ops_count(r, 1, SQL_OPS_FAILED, &n, &e), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(sql_op_get(r, 1, 0, slice_str("b"), &row, &strings, &e), 0);
	ck_assert_uint_eq(row.op, 2);
	ck_assert_str_eq(row.text, "t2");
	ck_assert_int_eq(sql_op_get(r, 1, 3, SLICE_NONE, &row, &strings, &e), 0);
	ck_assert_uint_eq(row.op, 3);
	ck_assert_int_eq(sql_op_get(r, 1, 0, slice_str("c"), &row, &strings, &e), 1);
	ck_assert_str_eq(e.text, "run 1 has no op 'c'");
	ck_assert_int_eq(sql_attempts(r, 1, 2, op_one, got[4], &e), 0);
	ck_assert_str_eq(got[4], "2b 2b ");
}

START_TEST(ops_are_listed)
{
	struct answer a = { .n = 0 };
	struct txn *t = txn_of_run(&a, 1, NULL, 1);

	for (uint32_t i = 1; i <= 5; i++) {
		char text[8];
		struct op_row op = { .run = 1,
				     .op = i,
				     .text = text,
				     .id = i == 2 ? "b" : NULL,
				     .state = i == 2   ? OP_FAILED
					      : i == 4 ? OP_INTERRUPTED
						       : OP_SUCCEEDED };

		snprintf(text, sizeof(text), "t%u", i);
		txn_op(t, &op);
		for (uint32_t try = 1; i == 2 && try <= 2; try++) {
			op.attempts = try;
			txn_attempt(t, &op);
		}
	}
	commit_now(&w, t, &a);
	world_read(&w, look_ops, NULL);
}
END_TEST

struct nested {
	struct sql_reader *r;
	char got[256];
};

static bool nested_op(void *arg, const struct op_row *row)
{
	struct nested *x = arg;
	size_t at = strlen(x->got);

	snprintf(x->got + at, sizeof(x->got) - at, "%llu.%u ", (unsigned long long)row->run,
		 row->op);
	return true;
}

static bool nested_run(void *arg, const struct run_row *row)
{
	struct nested *x = arg;
	struct sql_run_filter before = { .before = row->run, .limit = 1 };
	struct err e = ERR_INIT;

	ck_assert_int_eq(sql_ops_list(x->r, row->run, SQL_OPS_ALL, 0, 0, nested_op, x, &e), 0);
	/* The very text that this is called for, until there is nothing before. */
	ck_assert_int_eq(sql_runs_list(x->r, &before, nested_run, x, &e), 0);
	return true;
}

static void look_nested(struct sql_reader *r, void *arg _unused_)
{
	struct sql_run_filter newest = { .before = 99, .limit = 1 };
	struct nested x = { .r = r };
	struct err e = ERR_INIT;

	/* More texts than the reader keeps, each of them before and after it had to go. */
	for (uint32_t i = 0; i < 64; i++) {
		struct sql_run_filter states = { .states = i % 32 + 1 };

		ck_assert_int_eq(sql_runs_list(r, &states, nested_run, &x, &e), 0);
		x.got[0] = '\0';
	}
	ck_assert_msg(sql_runs_list(r, &newest, nested_run, &x, &e) == 0, "%s", e.text);
	ck_assert_str_eq(x.got, "3.1 3.2 2.1 2.2 1.1 1.2 ");
}

START_TEST(a_reading_may_read)
{
	struct answer a = { .n = 0 };

	for (uint64_t run = 1; run <= 3; run++) {
		struct txn *t = txn_of_run(&a, run, NULL, 1);

		for (uint32_t op = 1; op <= 2; op++)
			txn_op(t, &(struct op_row){ .run = run, .op = op, .text = "t" });
		commit_now(&w, t, &a);
	}
	world_read(&w, look_nested, NULL);
}
END_TEST

/* One of several readings that share a look, each handed in after one more run was there. */
struct sees {
	uint64_t run;
	bool seen;
};

static unsigned n_looked;

static void sees_look(struct sql_reader *r, void *arg)
{
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct sees *x = arg;
	struct run_row row;
	struct err e = ERR_INIT;

	x->seen = sql_run_get(r, x->run, &row, &strings, &e) == 0 && row.run == x->run;
}

static void sees_done(void *arg _unused_)
{
	n_looked++;
}

START_TEST(a_reading_sees_all_before_it)
{
	enum { N = 150 };
	struct sees all[N];
	struct answer a = { .n = 0 };

	n_looked = 0;
	for (uint64_t i = 0; i < N; i++) {
		/* Every third waits for the read before it, so that groups of all sizes come about.
		 */
		commit_now(&w, txn_of_run(&a, i + 1, NULL, 1), &a);
		all[i] = (struct sees){ .run = i + 1 };
		store_read(w.store, sees_look, sees_done, &all[i]);
		while (i % 3 == 0 && n_looked <= i)
			event_base_loop(w.base, EVLOOP_ONCE);
	}
	for (uint64_t i = 0; i < N; i++)
		store_read(w.store, sees_look, sees_done, &all[N - 1 - i]);
	while (n_looked < 2 * N)
		event_base_loop(w.base, EVLOOP_ONCE);
	for (unsigned i = 0; i < N; i++)
		ck_assert_msg(all[i].seen, "run %u", i + 1);
}
END_TEST

/* --- todos --- */

/* The item's map without the packed row's other fields: the store looks at id and position alone.
 */
static void put_event(struct txn *t, int64_t rev, const char *before, const char *after)
{
	_cleanup_buf_ struct buf b = BUF_INIT, a = BUF_INIT;
	struct todo_event_row event = {
		.list = "l", .rev = rev, .time = 100 + rev, .source = "me"
	};

	mp_text(&b, before);
	mp_text(&a, after);
	event.before = buf_slice(&b);
	event.after = buf_slice(&a);
	txn_todo_event(t, &event);
}

static enum txn_status write_event(int64_t rev, const char *before, const char *after,
				   struct answer *a)
{
	struct txn *t = txn_new(answer_fill, a);

	put_event(t, rev, before, after);
	commit_now(&w, t, a);
	return a->status;
}

static void at_rev(struct sql_reader *r, int64_t rev, const char *want)
{
	_cleanup_buf_ struct buf got = BUF_INIT, expect = BUF_INIT;
	struct err e = ERR_INIT;

	ck_assert_msg(sql_todo_at(r, "l", rev, &got, &e) == 0, "%s", e.text);
	mp_text(&expect, want);
	ck_assert_msg(slice_eq(buf_slice(&got), buf_slice(&expect)), "revision %d", (int)rev);
}

static void look_past(struct sql_reader *r, void *arg _unused_)
{
	_cleanup_buf_ struct buf none = BUF_INIT;
	struct err e = ERR_INIT;

	at_rev(r, 0, "[]");
	at_rev(r, 1, "[{'id':'a','position':1,'v':1},{'id':'b','position':2}]");
	at_rev(r, 2, "[{'id':'b','position':2},{'id':'a','position':3,'v':2}]");
	at_rev(r, 3, "[{'id':'a','position':3,'v':2}]");
	at_rev(r, 4, "[{'id':'b','position':1},{'id':'a','position':3,'v':2}]");
	ck_assert_int_eq(sql_todo_at(r, "l", 5, &none, &e), 1);
	ck_assert_int_eq(e.sym, E_NOT_FOUND);
	ck_assert_int_eq(sql_todo_at(r, "other", 1, &none, &e), 1);
}

static bool history_one(void *arg, const struct todo_event_row *row)
{
	int64_t *sum = arg;

	ck_assert_str_eq(row->source, "me");
	ck_assert_int_eq(row->time, 100 + row->rev);
	*sum = *sum * 10 + row->rev;
	return true;
}

static void look_history(struct sql_reader *r, void *arg _unused_)
{
	struct err e = ERR_INIT;
	int64_t all = 0, since = 0, limited = 0;

	ck_assert_int_eq(sql_todo_history(r, "l", 0, 0, history_one, &all, &e), 0);
	ck_assert_int_eq(all, 1234);
	ck_assert_int_eq(sql_todo_history(r, "l", 2, 0, history_one, &since, &e), 0);
	ck_assert_int_eq(since, 34);
	ck_assert_int_eq(sql_todo_history(r, "l", 0, 2, history_one, &limited, &e), 0);
	ck_assert_int_eq(limited, 12);
}

START_TEST(a_list_has_a_past)
{
	struct answer a = { .n = 0 };

	ck_assert_int_eq(
		write_event(1, "[]", "[{'id':'a','position':1,'v':1},{'id':'b','position':2}]", &a),
		TXN_DONE);
	ck_assert_int_eq(write_event(2, "[{'id':'a','position':1,'v':1}]",
				     "[{'id':'a','position':3,'v':2}]", &a),
			 TXN_DONE);
	ck_assert_int_eq(write_event(3, "[{'id':'b','position':2}]", "[]", &a), TXN_DONE);
	ck_assert_int_eq(write_event(4, "[]", "[{'id':'b','position':1}]", &a), TXN_DONE);
	world_read(&w, look_past, NULL);
	world_read(&w, look_history, NULL);
}
END_TEST

START_TEST(a_write_on_top_of_a_lost_one_is_lost_too)
{
	struct answer a = { .n = 0 };
	struct txn *mixed = txn_of_run(&a, 1, NULL, 1);

	ck_assert_int_eq(write_event(2, "[]", "[]", &a), TXN_FAILED);
	ck_assert_ptr_nonnull(strstr(a.e.text, "does not follow revision 0"));
	ck_assert_int_eq(write_event(1, "[]", "[]", &a), TXN_DONE);
	ck_assert_int_eq(write_event(1, "[]", "[]", &a), TXN_FAILED);
	/* Beside an op's result too: the op has then failed. */
	put_event(mixed, 7, "[]", "[]");
	commit_now(&w, mixed, &a);
	ck_assert_int_eq(a.status, TXN_FAILED);
	ck_assert_int_eq(write_event(2, "[]", "[]", &a), TXN_DONE);
}
END_TEST

struct seen {
	char lists[64], items[64];
};

static void seen_list(void *arg, const char *list, int64_t rev)
{
	struct seen *s = arg;
	size_t at = strlen(s->lists);

	snprintf(s->lists + at, sizeof(s->lists) - at, "%s=%d ", list, (int)rev);
}

static void seen_item(void *arg, const struct todo_row *row)
{
	struct seen *s = arg;
	size_t at = strlen(s->items);

	snprintf(s->items + at, sizeof(s->items) - at, "%s.%s%s ", row->list, row->id,
		 row->removed ? "(removed)" : "");
	if (strcmp(row->id, "a") == 0) {
		ck_assert_str_eq(row->content, "first");
		ck_assert_int_eq(row->status, TODO_COMPLETED);
		ck_assert_int_eq(row->priority, TODO_LOW);
		ck_assert(slice_eq(row->tags, slice_of("\x91\xa1x", 3)));
		ck_assert_ptr_null(row->meta.p);
		ck_assert_int_eq(row->lease_until, 77);
	}
}

static bool lists_one(void *arg, const struct sql_todo_list *row)
{
	buf_addf(arg, "%s rev %d total %u completed %u; ", row->list, (int)row->rev, row->total,
		 row->count[TODO_COMPLETED]);
	return true;
}

static void look_lists(struct sql_reader *r, void *arg)
{
	struct err e = ERR_INIT;

	ck_assert_int_eq(sql_todo_lists(r, lists_one, arg, &e), 0);
}

START_TEST(items_are_loaded)
{
	_cleanup_buf_ struct buf lists = BUF_INIT;
	struct answer a = { .n = 0 };
	struct txn *t = txn_new(answer_fill, &a);
	struct todo_row item = { .list = "l",
				 .id = "a",
				 .content = "first",
				 .status = TODO_COMPLETED,
				 .priority = TODO_LOW,
				 .tags = slice_of("\x91\xa1x", 3),
				 .position = 2,
				 .rev = 1,
				 .lease_until = 77 };
	struct todo_event_row event = { .list = "l", .rev = 1 };
	struct seen all = { "", "" }, one = { "", "" };
	struct err e = ERR_INIT;

	txn_todo(t, &item);
	item.id = "b";
	item.position = 1;
	txn_todo(t, &item);
	item.id = "c";
	item.removed = true;
	txn_todo(t, &item);
	txn_todo_event(t, &event);
	event.list = "m";
	txn_todo_event(t, &event);
	commit_now(&w, t, &a);
	ck_assert_int_eq(a.status, TXN_DONE);
	ck_assert_int_eq(store_load_todos(w.store, NULL,
					  &(struct store_todo_sink){ seen_item, seen_list, &all },
					  &e),
			 0);
	ck_assert_str_eq(all.lists, "l=1 m=1 ");
	ck_assert_str_eq(all.items, "l.b l.c(removed) l.a ");
	ck_assert_int_eq(store_load_todos(w.store, "m",
					  &(struct store_todo_sink){ seen_item, seen_list, &one },
					  &e),
			 0);
	ck_assert_str_eq(one.lists, "m=1 ");
	ck_assert_str_eq(one.items, "");
	world_read(&w, look_lists, &lists);
	ck_assert_str_eq(buf_str(&lists),
			 "l rev 1 total 2 completed 2; m rev 1 total 0 completed 0; ");
}
END_TEST

static void fill(Suite *s)
{
	TCase *t = tcase_create("all");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, runs_are_listed, 0, ARRAY_SIZE(listings));
	tcase_add_test(t, ops_are_listed);
	tcase_add_test(t, a_reading_may_read);
	tcase_add_test(t, a_reading_sees_all_before_it);
	tcase_add_test(t, a_list_has_a_past);
	tcase_add_test(t, a_write_on_top_of_a_lost_one_is_lost_too);
	tcase_add_test(t, items_are_loaded);
	suite_add_tcase(s, t);
}

int main(void)
{
	return world_run_suites("store_read", fill);
}
