/*
 * The todo lists: contract section 1, "Todos". Lists are shown as a row of text; a random walk checks that the events alone tell all
 * that happened.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "daemon/engine/todo.h"
#include "mp_text.h"
#include "proto/errors.h"
#include "proto/mp.h"

static struct todos *lists;
static struct todo_change change;
static struct err err;
static int64_t now;

static void setup(void)
{
	lists = todos_new();
	now = 1000;
}

static void teardown(void)
{
	todo_change_done(&change);
	todos_free(lists);
}

static struct todo_by by_source(const char *source)
{
	return (struct todo_by){ .list = "l", .source = source, .now_ms = now };
}

/* Rows first, each with its content, then the one event of this revision. */
static void check_records(const struct txn *txn, int64_t rev)
{
	const struct txn_record *r = txn_first(txn);

	for (; r->kind == TXN_TODO; r = r->next) {
		ck_assert_ptr_nonnull(r->todo.content);
		ck_assert_str_eq(r->todo.list, change.list);
		ck_assert_int_eq(r->todo.rev, rev);
		ck_assert_int_eq(r->todo.removed, !todos_has(lists, change.list, slice_str(r->todo.id)));
	}
	ck_assert_int_eq(r->kind, TXN_TODO_EVENT);
	ck_assert_int_eq(r->todo_event.rev, rev);
	ck_assert(slice_eq(r->todo_event.after, buf_slice(&change.after)));
	ck_assert_ptr_null(r->next);
}

static int do_write(const char *items, enum todos_mode mode, const struct todo_by *by)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct txn *txn = txn_new(NULL, NULL);
	int64_t before = todos_rev(lists, by->list);
	int r;

	todo_change_done(&change);
	err = (struct err)ERR_INIT;
	mp_text(&b, items);
	r = todos_write(lists, by, buf_slice(&b), mode, txn, &change, &err);
	ck_assert_int_eq(todos_rev(lists, by->list), before + (r == 0));
	ck_assert_msg(txn_empty(txn) == (r != 0), "records exactly when it was taken");
	if (r == 0) {
		ck_assert_int_eq(change.rev, before + 1);
		check_records(txn, before + 1);
	}
	txn_free(txn);
	return r;
}

static int replace_by(const char *source, const char *items)
{
	struct todo_by by = by_source(source);

	return do_write(items, TODOS_REPLACE, &by);
}

static int replace(const char *items)
{
	return replace_by("me", items);
}

static int merge(const char *items)
{
	struct todo_by by = by_source("me");

	return do_write(items, TODOS_MERGE, &by);
}

static int update(const char *id, const char *fields)
{
	_cleanup_buf_ struct buf b = BUF_INIT, meta = BUF_INIT;
	struct todo_item item = TODO_ITEM_INIT;
	struct txn *txn = txn_new(NULL, NULL);
	struct todo_by by = by_source("me");
	struct err e = ERR_INIT;
	int r;

	todo_change_done(&change);
	mp_text(&b, fields);
	ck_assert_msg(todo_item_decode(buf_slice(&b), "todo", &item, &meta, &e) == 0, "%s", e.text);
	item.id = slice_str(id);
	r = todos_update(lists, &by, &item, txn, &change, &err);
	txn_free(txn);
	return r;
}

static int claim_lease(const char *id, const char *owner, int64_t lease_ms)
{
	struct todo_claim c = { slice_str(id), slice_str(owner), lease_ms };
	struct txn *txn = txn_new(NULL, NULL);
	struct todo_by by = by_source("me");
	int r;

	todo_change_done(&change);
	r = todos_claim(lists, &by, &c, txn, &change, &err);
	ck_assert(txn_empty(txn) == (r != 0 || change.nothing));
	txn_free(txn);
	return r;
}

static int claim(const char *id, const char *owner)
{
	return claim_lease(id, owner, 0);
}

static int release(const char *id, const char *owner)
{
	struct txn *txn = txn_new(NULL, NULL);
	struct todo_by by = by_source("me");
	int r;

	todo_change_done(&change);
	r = todos_release(lists, &by, slice_str(id), slice_str(owner), txn, &change, &err);
	txn_free(txn);
	return r;
}

static int remove_item(const char *id)
{
	struct txn *txn = txn_new(NULL, NULL);
	struct todo_by by = by_source("me");
	int r;

	todo_change_done(&change);
	r = todos_remove(lists, &by, slice_str(id), txn, &change, &err);
	txn_free(txn);
	return r;
}

static bool op_started(uint64_t run, const char *id)
{
	struct txn *txn = txn_new(NULL, NULL);
	struct todo_by by = { .list = "l", .run = run, .now_ms = now };
	bool r;

	todo_change_done(&change);
	r = todos_op_started(lists, &by, slice_str(id), txn, &change);
	ck_assert(txn_empty(txn) == !r);
	txn_free(txn);
	return r;
}

static bool op_ended(uint64_t run, const char *id, const char *error)
{
	struct txn *txn = txn_new(NULL, NULL);
	struct todo_by by = { .list = "l", .run = run, .now_ms = now };
	bool r;

	todo_change_done(&change);
	r = todos_op_ended(lists, &by, slice_str(id), error, txn, &change);
	ck_assert(txn_empty(txn) == !r);
	txn_free(txn);
	return r;
}

/* --- showing --- */

/* Items as "id:content:S " where S is the first letter of the status. */
static char *show_array(struct slice array)
{
	static char text[4][512];
	static int turn;
	char *to = text[turn++ % 4];
	struct mp m = mp_of(array);
	struct mp_value head = mp_next(&m);
	size_t at = 0;

	ck_assert_int_eq(head.type, MP_ARRAY);
	to[0] = '\0';
	for (uint32_t i = 0; i < head.count; i++) {
		struct slice item = mp_skip(&m);

		at += (size_t)snprintf(to + at, 512 - at, "%.*s:%.*s:%c ", SLICE_FMT(mp_get_str(item, "id")),
				       SLICE_FMT(mp_get_str(item, "content")), mp_get_str(item, "status").p[0]);
	}
	return to;
}

static char *show_filter(const struct todo_filter *filter)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);

	todos_pack(lists, "l", filter, &pk);
	return show_array(buf_slice(&b));
}

static char *show(void)
{
	return show_filter(&(struct todo_filter)TODO_FILTER_ALL);
}

static char *show_ready(void)
{
	return show_filter(&(struct todo_filter){ .ready = true });
}

static const struct todo_row *row(const char *id)
{
	const struct todo_row *r = todos_get(lists, "l", slice_str(id));

	ck_assert_msg(r != NULL, "no item '%s'", id);
	return r;
}

static void expect_err(int got, int sym, const char *says)
{
	ck_assert_int_eq(got, 1);
	ck_assert_msg(err.sym == sym && strstr(err.text, says), "got %d '%s'", err.sym, err.text);
}

/* --- replace and merge --- */

START_TEST(ids_are_made_and_kept)
{
	ck_assert_int_eq(replace("[{'content':'A'},{'content':'B','id':'b'},{'content':'C'}]"), 0);
	ck_assert_str_eq(show(), "t1:A:p b:B:p t2:C:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "t1:A:p b:B:p t2:C:p ");
	ck_assert_str_eq(show_array(buf_slice(&change.before)), "");
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "t1:A:p b:B:p t2:C:p ");
	/* Found again by content; what is not said stays. */
	ck_assert_int_eq(replace("[{'content':'A','status':'in_progress'},{'content':'B'},{'content':'C'}]"), 0);
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
	ck_assert_int_eq(replace("[{'content':'A'},{'content':'B','id':'t1'},{'content':'C','id':'t7'}]"), 0);
	ck_assert_str_eq(show(), "t8:A:p t1:B:p t7:C:p ");
	todos_load(lists, &(struct todo_row){ .list = "l", .id = "t20", .content = "gone", .removed = true });
	ck_assert_int_eq(merge("[{'content':'D'}]"), 0);
	ck_assert_ptr_nonnull(todos_get(lists, "l", slice_str("t21")));
	ck_assert(!todos_has(lists, "l", slice_str("t20")));
}
END_TEST

START_TEST(same_contents_are_matched_once_each)
{
	ck_assert_int_eq(replace("[{'content':'X'},{'content':'X'},{'content':'Y'}]"), 0);
	ck_assert_int_eq(replace("[{'content':'X','status':'completed'},{'content':'X'},{'content':'X'}]"), 0);
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
	ck_assert_int_eq(replace("[{'content':'N'},{'content':'A'},{'content':'C'},{'content':'B'}]"), 0);
	ck_assert_str_eq(show(), "t4:N:p t1:A:p t3:C:p t2:B:p ");
	/* Dropping one moves nobody. */
	ck_assert_int_eq(replace("[{'content':'N'},{'content':'C'},{'content':'B'},{'content':'Z'}]"), 0);
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
	ck_assert_int_eq(replace_by("a", "[{'content':'A'},{'content':'B','status':'completed'}]"), 0);
	ck_assert_int_eq(merge("[{'content':'A','owner':'eve'},{'content':'B'},{'id':'n','content':'N'}]"), 0);
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
	{ "no content", "[{'content':'A'},{'id':'x'}]", E_PARAMS, "todos[1].content: required, since list 'l' has no item 'x'" },
	{ "same id", "[{'id':'x','content':'A'},{'content':'B'},{'id':'x','content':'C'}]", E_PARAMS, "id 'x' comes twice" },
	{ "status", "[{'content':'A','status':'doing'}]", E_PARAMS, "todos[0].status" },
	{ "unknown blocker", "[{'id':'x','content':'A','blocked_by':['y']}]", E_PARAMS, "blocked_by of item 'x': no item 'y' in list 'l'" },
	{ "itself", "[{'id':'x','content':'A','blocked_by':['x']}]", E_PARAMS, "blocked_by goes in a circle: 'x' waits for 'x'" },
	{ "circle", "[{'id':'x','content':'A','blocked_by':['y']},{'id':'y','content':'A','blocked_by':['z']},"
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
	expect_err(do_write("[]", TODOS_REPLACE, &by), E_CONFLICT, "list 'l' is at revision 1, not 0");
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
	ck_assert_int_eq(replace("[{'id':'a','content':'A','owner':'o','description':'d','tags':['x','y','x'],'meta':{'k':1,'l':2}},"
				 "{'id':'b','content':'B'}]"), 0);
	ck_assert(slice_eq(row("a")->tags, slice_of("\x92\xa1x\xa1y", 5)));
	ck_assert_int_eq(update("a", "{'id':'a','description':'','blocked_by':['b'],'meta':{'k':nil,'n':3},'priority':'critical'}"), 0);
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
	expect_err(update("zz", "{'id':'zz','content':'x'}"), E_NOT_FOUND, "no item 'zz' in list 'l'");
}
END_TEST

START_TEST(an_item_survives_packing)
{
	_cleanup_buf_ struct buf b = BUF_INIT, again = BUF_INIT, strings = BUF_INIT;
	struct pk pk = PK_INIT(&b), pk2 = PK_INIT(&again);
	struct todo_row r;

	ck_assert_int_eq(replace("[{'id':'b','content':'B'},{'id':'a','content':'A','status':'in_progress','priority':'low','active_form':'f',"
				 "'description':'d','owner':'o','blocked_by':['b'],'parent':'b','tags':['x'],'at':'f:1','meta':{'k':[1]}}]"), 0);
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

	ck_assert_int_eq(replace("[{'id':'a','content':'A','owner':'o'},{'content':'B','blocked_by':['a'],'tags':['t']}]"), 0);
	todos_pack(lists, "l", &all, &pk);
	todo_change_done(&change);
	ck_assert_msg(todos_write(lists, &by, buf_slice(&b), TODOS_REPLACE, txn, &change, &err) == 0, "%s", err.text);
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "");
	txn_free(txn);
}
END_TEST

/* --- ready, claim, release --- */

START_TEST(ready_is_in_the_order_to_take)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A','priority':'low'},{'id':'b','content':'B'},"
				 "{'id':'c','content':'C','blocked_by':['b','a']},{'id':'d','content':'D','priority':'high'},"
				 "{'id':'e','content':'E','priority':'high','error':'boom'},{'id':'f','content':'F','status':'cancelled'},"
				 "{'id':'g','content':'G','blocked_by':['f']}]"), 0);
	ck_assert_str_eq(show_ready(), "d:D:p b:B:p a:A:p e:E:p ");
	ck_assert_int_eq(update("b", "{'id':'b','status':'completed'}"), 0);
	ck_assert_str_eq(show_ready(), "d:D:p a:A:p e:E:p ");
	/* A blocker that is removed blocks no more. */
	ck_assert_int_eq(remove_item("a"), 0);
	ck_assert_str_eq(show_ready(), "d:D:p c:C:p e:E:p ");
	/* ... and may stay named. */
	ck_assert_int_eq(update("c", "{'id':'c','blocked_by':['a','b'],'content':'C2'}"), 0);
}
END_TEST

START_TEST(filters)
{
	struct todo_filter f = { .status_mask = 1u << TODO_COMPLETED | 1u << TODO_IN_PROGRESS };

	ck_assert_int_eq(replace("[{'id':'a','content':'A','status':'completed'},{'id':'b','content':'B','owner':'eve'},"
				 "{'id':'c','content':'C','status':'in_progress'}]"), 0);
	ck_assert_str_eq(show_filter(&f), "a:A:c c:C:i ");
	f = (struct todo_filter){ .owner = slice_str("eve") };
	ck_assert_str_eq(show_filter(&f), "b:B:p ");
	f = (struct todo_filter){ .owner = slice_str("ev") };
	ck_assert_str_eq(show_filter(&f), "");
}
END_TEST

START_TEST(claim_takes_the_first_ready)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'},{'id':'b','content':'B','priority':'high'},{'id':'c','content':'C','owner':'zoe',"
				 "'priority':'high'}]"), 0);
	ck_assert_int_eq(claim(NULL, "eve"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "b:B:i ");
	ck_assert_str_eq(row("b")->owner, "eve");
	ck_assert_int_eq(row("b")->started, 1000);
	ck_assert_int_eq(claim(NULL, "bob"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "a:A:i ");
	ck_assert_int_eq(claim(NULL, "bob"), 0);
	ck_assert_msg(change.nothing && change.rev == 3, "nothing is ready for bob");
	ck_assert_int_eq(claim(NULL, "zoe"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "c:C:i ");
}
END_TEST

START_TEST(claim_by_id)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'},{'id':'b','content':'B','blocked_by':['a']},"
				 "{'id':'c','content':'C','status':'completed'},{'id':'d','content':'D','status':'in_progress'}]"), 0);
	ck_assert_int_eq(claim("a", "eve"), 0);
	expect_err(claim("a", "bob"), E_CONFLICT, "item 'a' is taken by 'eve'");
	ck_assert_int_eq(claim("a", "eve"), 0);
	expect_err(claim("b", "bob"), E_STATE, "item 'b' is blocked by 'a', which is in_progress");
	expect_err(claim("c", "bob"), E_STATE, "item 'c' is completed");
	expect_err(claim("d", "bob"), E_CONFLICT, "item 'd' is taken");
	expect_err(claim("x", "bob"), E_NOT_FOUND, "no item 'x'");
	ck_assert_int_eq(todos_rev(lists, "l"), 3);
}
END_TEST

START_TEST(a_lease_ends)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'}]"), 0);
	ck_assert_int_eq(claim_lease("a", "eve", 500), 0);
	ck_assert_int_eq(row("a")->lease_until, 1500);
	now = 1499;
	expect_err(claim("a", "bob"), E_CONFLICT, "'eve'");
	ck_assert_int_eq(claim_lease("a", "eve", 500), 0);
	now = 1998;
	expect_err(claim("a", "bob"), E_CONFLICT, "'eve'");
	now = 1999;
	ck_assert_int_eq(claim(NULL, "bob"), 0);
	ck_assert(!change.nothing);
	ck_assert_str_eq(row("a")->owner, "bob");
	ck_assert_int_eq(row("a")->lease_until, 0);
	ck_assert_int_eq(row("a")->started, 1999);
	ck_assert_int_eq(claim(NULL, "eve"), 0);
	ck_assert(change.nothing);
}
END_TEST

START_TEST(release_gives_back)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'},{'id':'c','content':'C','status':'completed'}]"), 0);
	expect_err(release("a", NULL), E_STATE, "nobody holds item 'a'");
	ck_assert_int_eq(claim_lease("a", "eve", 500), 0);
	expect_err(release("a", "bob"), E_CONFLICT, "taken by 'eve', not by 'bob'");
	ck_assert_int_eq(release("a", "eve"), 0);
	ck_assert_str_eq(show_ready(), "a:A:p ");
	ck_assert_ptr_null(row("a")->owner);
	ck_assert_int_eq(row("a")->lease_until, 0);
	ck_assert_int_eq(claim("a", "bob"), 0);
	ck_assert_int_eq(release("a", NULL), 0);
	expect_err(release("c", NULL), E_STATE, "is completed");
}
END_TEST

START_TEST(warnings_name_who_does_too_much)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A','status':'in_progress','owner':'eve'},"
				 "{'id':'b','content':'B','status':'in_progress','owner':'bob'},{'id':'c','content':'C'}]"), 0);
	ck_assert_uint_eq(change.warnings.len, 1);
	ck_assert_int_eq(claim("c", "eve"), 0);
	ck_assert_ptr_nonnull(memmem(change.warnings.p, change.warnings.len, "2 items of 'eve' are in_progress: 'a', 'c'", 42));
	ck_assert_int_eq(update("b", "{'id':'b','priority':'low'}"), 0);
	ck_assert_uint_eq(change.warnings.len, 1);
	ck_assert_int_eq(merge("[{'content':'x','status':'in_progress'},{'content':'y','status':'in_progress'}]"), 0);
	ck_assert_ptr_nonnull(memmem(change.warnings.p, change.warnings.len, "2 items without owner are in_progress", 37));
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

	ck_assert_int_eq(replace("[{'id':'a','content':'A','owner':'o'},{'id':'b','content':'B','blocked_by':['a'],'status':'completed'},"
				 "{'id':'c','content':'C'}]"), 0);
	todos_pack(lists, "l", &all, &pk);
	ck_assert_int_eq(remove_item("b"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.before)), "b:B:c ");
	ck_assert_str_eq(show_array(buf_slice(&change.after)), "");
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "b:B:c ");
	expect_err(remove_item("b"), E_NOT_FOUND, "no item 'b'");
	ck_assert_int_eq(merge("[{'id':'n','content':'N'},{'id':'a','content':'A2'}]"), 0);
	todo_change_done(&change);
	now = 5000;
	ck_assert_int_eq(todos_restore(lists, &by, buf_slice(&then), txn, &change, &err), 0);
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

/* --- ops --- */

START_TEST(an_op_moves_its_item)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'}]"), 0);
	now = 2000;
	ck_assert(op_started(7, "a"));
	ck_assert_str_eq(show(), "a:A:i ");
	ck_assert_uint_eq(row("a")->run, 7);
	ck_assert_int_eq(row("a")->started, 2000);
	ck_assert_msg(!op_started(7, "a"), "a second op of the run finds it moved");
	ck_assert(op_ended(7, "a", NULL));
	ck_assert_str_eq(show(), "a:A:c ");
	ck_assert(!op_ended(7, "a", NULL));
	ck_assert_msg(op_started(8, "a"), "another run starts it over");
	ck_assert(op_ended(8, "a", "make: exit 2"));
	ck_assert_str_eq(show(), "a:A:p ");
	ck_assert_str_eq(row("a")->error, "make: exit 2");
	ck_assert_msg(!op_ended(8, "a", "later"), "the first error stays");
	ck_assert(op_started(9, "a"));
	ck_assert_ptr_null(row("a")->error);
	ck_assert(!op_started(9, "no such item"));
	ck_assert(!op_ended(9, "no such item", NULL));
}
END_TEST

START_TEST(an_op_takes_over_what_is_in_progress)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A','status':'in_progress'}]"), 0);
	ck_assert(op_started(7, "a"));
	ck_assert(op_ended(7, "a", NULL));
	ck_assert_str_eq(show(), "a:A:c ");
}
END_TEST

START_TEST(an_op_leaves_what_others_changed)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'},{'id':'b','content':'B'}]"), 0);
	ck_assert(op_started(7, "a"));
	ck_assert_int_eq(update("a", "{'id':'a','status':'cancelled'}"), 0);
	ck_assert_uint_eq(row("a")->run, 0);
	ck_assert(!op_ended(7, "a", NULL));
	ck_assert(!op_started(7, "a"));
	ck_assert(!op_ended(7, "a", "x"));
	ck_assert_int_eq(row("a")->status, TODO_CANCELLED);
	/* Writing the list again as it is changes nothing, so it is nobody's change. */
	ck_assert(op_started(7, "b"));
	ck_assert_int_eq(replace("[{'id':'a'},{'id':'b'}]"), 0);
	ck_assert(op_ended(7, "b", NULL));
	ck_assert_int_eq(row("b")->status, TODO_COMPLETED);
}
END_TEST

START_TEST(driving_survives_a_restart)
{
	struct todo_row copy;
	_cleanup_buf_ struct buf b = BUF_INIT, strings = BUF_INIT;
	struct pk pk = PK_INIT(&b);

	ck_assert_int_eq(replace("[{'id':'a','content':'A'}]"), 0);
	ck_assert(op_started(7, "a"));
	todo_pack(&pk, row("a"));
	todo_unpack(buf_slice(&b), &strings, &copy);
	copy.list = "l";
	todos_list_reset(lists, "l");
	ck_assert_int_eq(todos_rev(lists, "l"), 0);
	ck_assert(!todos_has(lists, "l", slice_str("a")));
	todos_load_rev(lists, "l", 2);
	todos_load(lists, &copy);
	ck_assert(op_ended(7, "a", NULL));
	ck_assert_int_eq(change.rev, 3);
}
END_TEST

/* --- lists --- */

static void count_list(void *arg, const struct todo_list_info *info)
{
	buf_addf(arg, "%s rev %d: %u, %u pending; ", info->list, (int)info->rev, info->total, info->count[TODO_PENDING]);
}

START_TEST(lists_are_told)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct todo_by by = { .list = "b list", .now_ms = 1 }, bad = { .list = "never" };

	ck_assert_int_eq(do_write("[{'content':'A'},{'content':'B','status':'completed'}]", TODOS_REPLACE, &by), 0);
	ck_assert_int_eq(do_write("[{'id':'x'}]", TODOS_REPLACE, &bad), 1);
	ck_assert_int_eq(replace("[]"), 0);
	todos_each_list(lists, count_list, &b);
	ck_assert_str_eq(buf_str(&b), "b list rev 1: 2, 1 pending; l rev 1: 0, 0 pending; ");
}
END_TEST

/* --- properties: random writes against the rules that always hold --- */

static unsigned seed;

static unsigned rnd(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void random_items(struct buf *b)
{
	static const char *const states[] = { "", ",'status':'pending'", ",'status':'in_progress'", ",'status':'completed'" };

	buf_addc(b, '[');
	for (unsigned n = rnd(6); n > 0; n--) {
		buf_adds(b, "{");
		if (rnd(2))
			buf_addf(b, "'id':'i%u',", rnd(8));
		buf_addf(b, "'content':'c%u'%s", rnd(4), states[rnd(4)]);
		if (rnd(3) == 0)
			buf_addf(b, ",'blocked_by':['i%u']", rnd(8));
		buf_adds(b, "},");
	}
	buf_addc(b, ']');
}

/* One list item by item, as the events tell it. */
static void apply_event(struct buf *shadow)
{
	_cleanup_buf_ struct buf next = BUF_INIT;
	struct pk pk = PK_INIT(&next);
	struct slice sides[] = { buf_slice(&change.before), buf_slice(&change.after) };
	struct mp m = mp_of(buf_slice(shadow)), a;
	struct mp_value head = mp_next(&m), v;

	pk_array(&pk);
	for (uint32_t i = 0; i < head.count; i++) {
		struct slice item = mp_skip(&m);
		bool dropped = false;

		for (size_t k = 0; k < 2; k++) {
			a = mp_of(sides[k]);
			v = mp_next(&a);
			for (uint32_t j = 0; j < v.count; j++)
				dropped |= slice_eq(mp_get_str(mp_skip(&a), "id"), mp_get_str(item, "id"));
		}
		if (!dropped)
			pk_raw(&pk, item);
	}
	a = mp_of(sides[1]);
	v = mp_next(&a);
	for (uint32_t j = 0; j < v.count; j++)
		pk_raw(&pk, mp_skip(&a));
	pk_end(&pk);
	buf_clear(shadow);
	buf_addslice(shadow, buf_slice(&next));
}

static void check_same(const struct buf *shadow)
{
	struct mp m = mp_of(buf_slice(shadow));
	struct mp_value head = mp_next(&m);
	struct todo_filter all = TODO_FILTER_ALL;
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	struct mp real;

	todos_pack(lists, "l", &all, &pk);
	real = mp_of(buf_slice(&b));
	ck_assert_uint_eq(mp_next(&real).count, head.count);
	for (uint32_t i = 0; i < head.count; i++) {
		_cleanup_buf_ struct buf one = BUF_INIT;
		struct slice item = mp_skip(&m);
		struct pk pk1 = PK_INIT(&one);
		const struct todo_row *r = todos_get(lists, "l", mp_get_str(item, "id"));

		ck_assert_ptr_nonnull(r);
		todo_pack(&pk1, r);
		ck_assert_msg(slice_eq(buf_slice(&one), item), "item '%s' is not what the events say", r->id);
	}
}

START_TEST(events_tell_the_whole_truth)
{
	_cleanup_buf_ struct buf shadow = BUF_INIT;
	struct pk pk = PK_INIT(&shadow);
	int taken = 0;

	seed = (unsigned)_i + 1;
	pk_array(&pk);
	pk_end(&pk);
	for (int step = 0; step < 300; step++) {
		_cleanup_buf_ struct buf items = BUF_INIT;
		static const char *const sources[] = { "a", "b", "*" };
		char id[8];
		int r;

		now++;
		snprintf(id, sizeof(id), "i%u", rnd(8));
		random_items(&items);
		switch (rnd(8)) {
		case 0:
			r = merge(buf_str(&items));
			break;
		case 1:
			r = remove_item(id);
			break;
		case 2:
			r = claim_lease(rnd(2) ? id : NULL, rnd(2) ? "eve" : "bob", rnd(10)) || change.nothing;
			break;
		case 3:
			r = release(id, NULL);
			break;
		case 4:
			r = !op_started(1 + rnd(3), id);
			break;
		case 5:
			r = !op_ended(1 + rnd(3), id, rnd(2) ? "bad" : NULL);
			break;
		default:
			r = replace_by(sources[rnd(3)], buf_str(&items));
		}
		if (r)
			continue;
		taken++;
		apply_event(&shadow);
		check_same(&shadow);
	}
	ck_assert_int_gt(taken, 50);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("todo");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, ids_are_made_and_kept);
	tcase_add_test(t, a_made_id_keeps_clear_of_given_ones);
	tcase_add_test(t, same_contents_are_matched_once_each);
	tcase_add_test(t, others_stay_and_are_returned);
	tcase_add_test(t, replace_takes_over_what_it_names);
	tcase_add_test(t, the_order_is_as_written);
	tcase_add_test(t, merge_touches_only_what_it_names);
	tcase_add_test(t, a_write_that_changes_nothing_is_a_revision);
	tcase_add_loop_test(t, what_is_refused_changes_nothing, 0, sizeof(refusals) / sizeof(refusals[0]));
	tcase_add_test(t, base_rev_guards);
	tcase_add_test(t, a_list_has_a_limit);
	tcase_add_test(t, a_long_chain_is_no_circle);
	tcase_add_test(t, times_follow_the_status);
	tcase_add_test(t, update_changes_what_is_given);
	tcase_add_test(t, an_item_survives_packing);
	tcase_add_test(t, an_item_can_be_written_back_as_listed);
	tcase_add_test(t, ready_is_in_the_order_to_take);
	tcase_add_test(t, filters);
	tcase_add_test(t, claim_takes_the_first_ready);
	tcase_add_test(t, claim_by_id);
	tcase_add_test(t, a_lease_ends);
	tcase_add_test(t, release_gives_back);
	tcase_add_test(t, warnings_name_who_does_too_much);
	tcase_add_test(t, remove_and_restore);
	tcase_add_test(t, an_op_moves_its_item);
	tcase_add_test(t, an_op_takes_over_what_is_in_progress);
	tcase_add_test(t, an_op_leaves_what_others_changed);
	tcase_add_test(t, driving_survives_a_restart);
	tcase_add_test(t, lists_are_told);
	tcase_add_loop_test(t, events_tell_the_whole_truth, 0, 20);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
