/* What todo.write, todo.update, todo.remove and todo.restore do to a list: contract section 1,
 * "Todos". */
#include "todo_world.h"

/* --- replace and merge --- */

START_TEST(ids_are_made_and_kept)
{
	ck_assert_int_eq(replace("[{'content':'A'},{'content':'B','id':'b'},{'content':'C'}]"), 0);
	ck_assert_str_eq(show(), "t1:A:p b:B:p t2:C:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "t1:A:p b:B:p t2:C:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.before)), "");
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "t1:A:p b:B:p t2:C:p ");
	/* Found again by content; what is not said stays. */
	ck_assert_int_eq(
		replace("[{'content':'A','status':'in_progress'},{'content':'B'},{'content':'C'}]"),
		0);
	ck_assert_str_eq(show(), "t1:A:i b:B:p t2:C:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.before)), "t1:A:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "t1:A:i ");
	ck_assert_int_eq(row("t1")->rev, 2);
	ck_assert_int_eq(row("t2")->rev, 1);
	/* A removed one's id is not made again. */
	ck_assert_int_eq(replace("[{'content':'D'},{'content':'B'}]"), 0);
	ck_assert_str_eq(show(), "t3:D:p b:B:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.before)), "t1:A:i t2:C:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "t3:D:p ");
}
END_TEST

START_TEST(a_made_id_keeps_clear_of_given_ones)
{
	ck_assert_int_eq(
		replace("[{'content':'A'},{'content':'B','id':'t1'},{'content':'C','id':'t7'}]"),
		0);
	ck_assert_str_eq(show(), "t8:A:p t1:B:p t7:C:p ");
	todos_load(lists, &(struct todo_row){
				  .list = "l", .id = "t20", .content = "gone", .removed = true });
	ck_assert_int_eq(merge("[{'content':'D'}]"), 0);
	ck_assert_ptr_nonnull(todos_get(lists, "l", slice_str("t21")));
	ck_assert(!todos_has(lists, "l", slice_str("t20")));
}
END_TEST

START_TEST(same_contents_are_matched_once_each)
{
	ck_assert_int_eq(replace("[{'content':'X'},{'content':'X'},{'content':'Y'}]"), 0);
	ck_assert_int_eq(
		replace("[{'content':'X','status':'completed'},{'content':'X'},{'content':'X'}]"),
		0);
	ck_assert_str_eq(show(), "t1:X:c t2:X:p t4:X:p ");
}
END_TEST

START_TEST(others_stay_and_are_returned)
{
	ck_assert_int_eq(replace_by("a", "[{'content':'A1'},{'content':'A2'}]"), 0);
	ck_assert_int_eq(replace_by("b", "[{'content':'B1'},{'content':'A1'}]"), 0);
	/* Another's item of the same content is another item. */
	ck_assert_str_eq(show_array(buf_slice(&change.others)), "t1:A1:p t2:A2:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "t3:B1:p t4:A1:p ");
	ck_assert_int_eq(replace_by("a", "[]"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.others)), "t3:B1:p t4:A1:p ");
	ck_assert_str_eq(show(), "t3:B1:p t4:A1:p ");
	ck_assert_int_eq(replace_by("*", "[{'content':'A1'}]"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.others)), "");
	ck_assert_str_eq(show(), "t4:A1:p ");
	ck_assert_str_eq(row("t4")->source, "b");
}
END_TEST

START_TEST(replace_takes_over_what_it_names)
{
	ck_assert_int_eq(replace_by("a", "[{'id':'x','content':'A'}]"), 0);
	ck_assert_int_eq(replace_by("b", "[{'id':'x','status':'completed'}]"), 0);
	ck_assert_str_eq(row("x")->source, "b");
	ck_assert_str_eq(row("x")->content, "A");
	ck_assert_int_eq(merge("[{'id':'x','priority':'low'}]"), 0);
	ck_assert_str_eq(row("x")->source, "b");
}
END_TEST

START_TEST(the_order_is_as_written)
{
	int64_t b;

	ck_assert_int_eq(replace("[{'content':'A'},{'content':'B'},{'content':'C'}]"), 0);
	b = row("t2")->rev;
	ck_assert_int_eq(
		replace("[{'content':'N'},{'content':'A'},{'content':'C'},{'content':'B'}]"), 0);
	ck_assert_str_eq(show(), "t4:N:p t1:A:p t3:C:p t2:B:p ");
	/* Dropping one moves nobody. */
	ck_assert_int_eq(
		replace("[{'content':'N'},{'content':'C'},{'content':'B'},{'content':'Z'}]"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "t5:Z:p ");
	ck_assert_str_eq(show(), "t4:N:p t3:C:p t2:B:p t5:Z:p ");
	ck_assert_int_gt(row("t2")->rev, b);
	ck_assert_int_eq(merge("[{'content':'M'},{'content':'N'}]"), 0);
	ck_assert_str_eq(show(), "t4:N:p t3:C:p t2:B:p t5:Z:p t6:M:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "t6:M:p t4:N:p ");
}
END_TEST

START_TEST(merge_touches_only_what_it_names)
{
	ck_assert_int_eq(replace_by("a", "[{'content':'A'},{'content':'B','status':'completed'}]"),
			 0);
	ck_assert_int_eq(
		merge("[{'content':'A','owner':'eve'},{'content':'B'},{'id':'n','content':'N'}]"),
		0);
	/* Done work of that name does not hinder new work. */
	ck_assert_str_eq(show(), "t1:A:p t2:B:c t3:B:p n:N:p ");
	ck_assert_str_eq(row("t1")->owner, "eve");
	ck_assert_int_eq(merge("[{'content':'B','status':'completed'}]"), 0);
	ck_assert_str_eq(show(), "t1:A:p t2:B:c t3:B:c n:N:p ");
	ck_assert_int_eq(merge("[{'content':'B','status':'completed','tags':['x']}]"), 0);
	ck_assert_str_eq(show(), "t1:A:p t2:B:c t3:B:c n:N:p ");
}
END_TEST

START_TEST(a_write_that_changes_nothing_is_a_revision)
{
	ck_assert_int_eq(replace("[{'content':'A','tags':['x'],'meta':{'k':1}}]"), 0);
	ck_assert_int_eq(replace("[{'content':'A','tags':['x'],'meta':{'k':1}}]"), 0);
	ck_assert_int_eq(change.rev, 2);
	ck_assert_str_eq(show_array(buf_slice(&change.before)), "");
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "");
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "t1:A:p ");
	ck_assert_int_eq(row("t1")->rev, 1);
}
END_TEST

static const struct {
	const char *name, *items;
	int sym;
	const char *says;
} refusals[] = {
	{ "no array", "{}", E_PARAMS, "todos: must be an array" },
	{ "no content", "[{'content':'A'},{'id':'x'}]", E_PARAMS,
	  "todos[1].content: required, since list 'l' has no item 'x'" },
	{ "same id", "[{'id':'x','content':'A'},{'content':'B'},{'id':'x','content':'C'}]",
	  E_PARAMS, "id 'x' comes twice" },
	{ "status", "[{'content':'A','status':'doing'}]", E_PARAMS, "todos[0].status" },
	{ "unknown blocker", "[{'id':'x','content':'A','blocked_by':['y']}]", E_PARAMS,
	  "blocked_by of item 'x': no item 'y' in list 'l'" },
	{ "itself", "[{'id':'x','content':'A','blocked_by':['x']}]", E_PARAMS,
	  "blocked_by goes in a circle: 'x' waits for 'x'" },
	{ "circle",
	  "[{'id':'x','content':'A','blocked_by':['y']},{'id':'y','content':'A','blocked_by':['z']}"
	  ","
	  "{'id':'z','content':'A','blocked_by':['keep','x']}]",
	  E_PARAMS, "circle: 'x' waits for 'y' waits for 'z' waits for 'x'" },
	{ "nul", "[{'content':'A\\x00B'}]", E_PARAMS, "todos[0].content: must not hold a NUL" },
	{ "bad utf-8", "[{'content':'A\\xff'}]", E_UTF8, "todos[0].content" },
};

START_TEST(what_is_refused_changes_nothing)
{
	ck_assert_int_eq(replace("[{'id':'keep','content':'K'}]"), 0);
	expect_err(replace(refusals[_i].items), refusals[_i].sym, refusals[_i].says);
	ck_assert_str_eq(show(), "keep:K:p ");
	ck_assert_int_eq(todos_rev(lists, "l"), 1);
	ck_assert_int_eq(replace("[{'id':'keep','content':'K2'}]"), 0);
	ck_assert_str_eq(show(), "keep:K2:p ");
}
END_TEST

START_TEST(base_rev_guards)
{
	struct todo_by by = by_source("me");

	ck_assert_int_eq(replace("[{'content':'A'}]"), 0);
	by.has_base_rev = true;
	by.base_rev = 0;
	expect_err(do_write("[]", TODOS_REPLACE, &by), E_CONFLICT,
		   "list 'l' is at revision 1, not 0");
	ck_assert_str_eq(show(), "t1:A:p ");
	by.base_rev = 1;
	ck_assert_int_eq(do_write("[]", TODOS_REPLACE, &by), 0);
}
END_TEST

START_TEST(a_list_has_a_limit)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	buf_addc(&text, '[');
	for (int i = 0; i < LIMIT_TODOS; i++)
		buf_addf(&text, "{'content':'c%d'},", i);
	buf_addc(&text, ']');
	ck_assert_int_eq(replace(buf_str(&text)), 0);
	ck_assert_int_eq(replace(buf_str(&text)), 0); /* all matched by content */
	expect_err(merge("[{'content':'one more'}]"), E_LIMIT, "would have 10001 items");
	ck_assert_int_eq(update("t5", "{'content':'x'}"), 0);
}
END_TEST

START_TEST(a_long_chain_is_no_circle)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	buf_addc(&text, '[');
	for (int i = 0; i < 9999; i++)
		buf_addf(&text, "{'id':'c%d','content':'x','blocked_by':['c%d']},", i, i + 1);
	buf_adds(&text, "{'id':'c9999','content':'x'}]");
	ck_assert_int_eq(replace(buf_str(&text)), 0);
	expect_err(update("c9999", "{'content':'x','blocked_by':['c0']}"), E_PARAMS, "circle");
	ck_assert_ptr_nonnull(strstr(err.text, "..."));
}
END_TEST

/* --- fields --- */

START_TEST(times_follow_the_status)
{
	ck_assert_int_eq(replace("[{'content':'A'},{'content':'B','status':'completed'}]"), 0);
	ck_assert_int_eq(row("t1")->created, 1000);
	ck_assert_int_eq(row("t1")->started, 0);
	ck_assert_int_eq(row("t2")->completed, 1000);
	now = 2000;
	ck_assert_int_eq(update("t1", "{'id':'t1','status':'in_progress'}"), 0);
	ck_assert_int_eq(row("t1")->started, 2000);
	now = 3000;
	ck_assert_int_eq(update("t1", "{'id':'t1','status':'completed'}"), 0);
	ck_assert_int_eq(row("t1")->started, 2000);
	ck_assert_int_eq(row("t1")->completed, 3000);
	now = 4000;
	ck_assert_int_eq(update("t1", "{'id':'t1','status':'completed'}"), 0);
	ck_assert_int_eq(row("t1")->completed, 3000);
	ck_assert_int_eq(update("t1", "{'id':'t1','status':'pending'}"), 0);
	ck_assert_int_eq(row("t1")->started, 0);
	ck_assert_int_eq(row("t1")->completed, 0);
	ck_assert_int_eq(row("t1")->created, 1000);
}
END_TEST

START_TEST(update_changes_what_is_given)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A','owner':'o','description':'d','tags':['"
				 "x','y','x'],'meta':{'k':1,'l':2}},"
				 "{'id':'b','content':'B'}]"),
			 0);
	ck_assert(slice_eq(row("a")->tags, slice_of("\x92\xa1x\xa1y", 5)));
	ck_assert_int_eq(update("a", "{'id':'a','description':'','blocked_by':['b'],'meta':{'k':"
				     "nil,'n':3},'priority':'critical'}"),
			 0);
	ck_assert_str_eq(row("a")->content, "A");
	ck_assert_str_eq(row("a")->owner, "o");
	ck_assert_ptr_null(row("a")->description);
	ck_assert_int_eq(row("a")->priority, TODO_HIGH);
	ck_assert_int_eq(mp_get_int(row("a")->meta, "l", 0), 2);
	ck_assert_int_eq(mp_get_int(row("a")->meta, "n", 0), 3);
	ck_assert_ptr_null(mp_find(row("a")->meta, "k").p);
	ck_assert(slice_is(mp_get_str(row("a")->meta, "priority"), "critical"));
	ck_assert_int_eq(update("a", "{'id':'a','tags':[],'meta':{},'blocked_by':[]}"), 0);
	ck_assert_ptr_null(row("a")->tags.p);
	ck_assert_ptr_null(row("a")->meta.p);
	ck_assert_ptr_null(row("a")->blocked_by.p);
	expect_err(update("zz", "{'id':'zz','content':'x'}"), E_NOT_FOUND,
		   "no item 'zz' in list 'l'");
}
END_TEST

START_TEST(an_item_survives_packing)
{
	_cleanup_buf_ struct buf b = BUF_INIT, again = BUF_INIT, strings = BUF_INIT;
	struct pk pk = PK_INIT(&b), pk2 = PK_INIT(&again);
	struct todo_row r;

	ck_assert_int_eq(replace("[{'id':'b','content':'B'},{'id':'a','content':'A','status':'in_"
				 "progress','priority':'low','active_form':'f',"
				 "'description':'d','owner':'o','blocked_by':['b'],'parent':'b','"
				 "tags':['x'],'at':'f:1','meta':{'k':[1]}}]"),
			 0);
	ck_assert_int_eq(claim_lease("a", "o", 50), 0);
	todo_pack(&pk, row("a"));
	todo_unpack(buf_slice(&b), &strings, &r);
	ck_assert_int_eq(r.lease_until, 1050);
	ck_assert_ptr_null(r.error);
	todo_pack(&pk2, &r);
	ck_assert(slice_eq(buf_slice(&b), buf_slice(&again)));
	ck_assert_int_eq(mp_find(buf_slice(&b), "run").len, 0);
	ck_assert(slice_is(mp_get_str(buf_slice(&b), "at"), "f:1"));
}
END_TEST

START_TEST(an_item_can_be_written_back_as_listed)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	struct todo_filter all = TODO_FILTER_ALL;
	struct todo_by by = by_source("me");
	struct txn *txn = txn_new(NULL, NULL);

	ck_assert_int_eq(replace("[{'id':'a','content':'A','owner':'o'},{'content':'B','blocked_by'"
				 ":['a'],'tags':['t']}]"),
			 0);
	todos_pack(lists, "l", &all, &pk);
	todo_change_done(&change);
	ck_assert_msg(todos_write(lists, &by, buf_slice(&b), TODOS_REPLACE, txn, &change, &err) ==
			      0,
		      "%s", err.text);
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "");
	txn_free(txn);
}
END_TEST

/* --- removing and restoring --- */

START_TEST(remove_and_restore)
{
	_cleanup_buf_ struct buf then = BUF_INIT;
	struct pk pk = PK_INIT(&then);
	struct todo_filter all = TODO_FILTER_ALL;
	struct todo_by by = by_source("other");
	struct txn *txn = txn_new(NULL, NULL);

	ck_assert_int_eq(replace("[{'id':'a','content':'A','owner':'o'},{'id':'b','content':'B','"
				 "blocked_by':['a'],'status':'completed'},"
				 "{'id':'c','content':'C'}]"),
			 0);
	todos_pack(lists, "l", &all, &pk);
	ck_assert_int_eq(remove_item("b"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.before)), "b:B:c ");
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "");
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "b:B:c ");
	expect_err(remove_item("b"), E_NOT_FOUND, "no item 'b'");
	ck_assert_int_eq(merge("[{'id':'n','content':'N'},{'id':'a','content':'A2'}]"), 0);
	todo_change_done(&change);
	now = 5000;
	ck_assert_int_eq(todos_restore(lists, &by, 1, buf_slice(&then), txn, &change, &err), 0);
	ck_assert_str_eq(show(), "a:A:p b:B:c c:C:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.before)), "a:A2:p n:N:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "a:A:p b:B:c ");
	ck_assert_int_eq(row("b")->completed, 1000);
	ck_assert_str_eq(row("b")->source, "me");
	ck_assert_int_eq(row("b")->rev, 4);
	ck_assert_int_eq(row("c")->rev, 1);
	txn_free(txn);
}
END_TEST

/* --- lists --- */

static bool count_list(void *arg, const struct todo_list_info *info)
{
	buf_addf(arg, "%s rev %d: %u, %u pending; ", info->list, (int)info->rev, info->total,
		 info->count[TODO_PENDING]);
	return true;
}

START_TEST(lists_are_told)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct todo_by by = { .list = "b list", .now_ms = 1 }, bad = { .list = "never" };

	ck_assert_int_eq(do_write("[{'content':'A'},{'content':'B','status':'completed'}]",
				  TODOS_REPLACE, &by),
			 0);
	ck_assert_int_eq(do_write("[{'id':'x'}]", TODOS_REPLACE, &bad), 1);
	ck_assert_int_eq(replace("[]"), 0);
	todos_each_list(lists, NULL, count_list, &b);
	ck_assert_str_eq(buf_str(&b), "b list rev 1: 2, 1 pending; l rev 1: 0, 0 pending; ");
	buf_clear(&b);
	todos_each_list(lists, "b list", count_list, &b);
	ck_assert_str_eq(buf_str(&b), "l rev 1: 0, 0 pending; ");
}
END_TEST

static void fill(TCase *t)
{
	tcase_add_test(t, ids_are_made_and_kept);
	tcase_add_test(t, a_made_id_keeps_clear_of_given_ones);
	tcase_add_test(t, same_contents_are_matched_once_each);
	tcase_add_test(t, others_stay_and_are_returned);
	tcase_add_test(t, replace_takes_over_what_it_names);
	tcase_add_test(t, the_order_is_as_written);
	tcase_add_test(t, merge_touches_only_what_it_names);
	tcase_add_test(t, a_write_that_changes_nothing_is_a_revision);
	tcase_add_loop_test(t, what_is_refused_changes_nothing, 0,
			    sizeof(refusals) / sizeof(refusals[0]));
	tcase_add_test(t, base_rev_guards);
	tcase_add_test(t, a_list_has_a_limit);
	tcase_add_test(t, a_long_chain_is_no_circle);
	tcase_add_test(t, times_follow_the_status);
	tcase_add_test(t, update_changes_what_is_given);
	tcase_add_test(t, an_item_survives_packing);
	tcase_add_test(t, an_item_can_be_written_back_as_listed);
	tcase_add_test(t, remove_and_restore);
	tcase_add_test(t, lists_are_told);
}

int main(void)
{
	return todo_run_suite("todo", fill);
}
