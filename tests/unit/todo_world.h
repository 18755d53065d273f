/* Todo lists for tests: writes in one line each, lists shown as a row of text. One world a program.
 */
#ifndef TESTS_UNIT_TODO_WORLD_H
#define TESTS_UNIT_TODO_WORLD_H

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

static inline void todo_setup(void)
{
	lists = todos_new();
	now = 1000;
}

static inline void todo_teardown(void)
{
	todo_change_done(&change);
	todos_free(lists);
}

static inline struct todo_by by_source(const char *source)
{
	bool all = strcmp(source, "*") == 0;

	return (struct todo_by){
		.list = "l", .source = all ? "me" : source, .all_sources = all, .now_ms = now
	};
}

/* Rows first, each with its content, then the one event of this revision. */
static inline void check_records(const struct txn *txn, int64_t rev)
{
	const struct txn_record *r = txn_first(txn);

	for (; r->kind == TXN_TODO; r = r->next) {
		ck_assert_ptr_nonnull(r->todo.content);
		ck_assert_str_eq(r->todo.list, change.list);
		ck_assert_int_eq(r->todo.rev, rev);
		ck_assert_int_eq(r->todo.removed,
				 !todos_has(lists, change.list, slice_str(r->todo.id)));
	}
	ck_assert_int_eq(r->kind, TXN_TODO_EVENT);
	ck_assert_int_eq(r->todo_event.rev, rev);
	ck_assert(slice_eq(r->todo_event.after, buf_slice(&change.after)));
	ck_assert_ptr_null(r->next);
}

static inline int do_write(const char *items, enum todos_mode mode, const struct todo_by *by)
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

static inline int replace_by(const char *source, const char *items)
{
	struct todo_by by = by_source(source);

	return do_write(items, TODOS_REPLACE, &by);
}

static inline int replace(const char *items)
{
	return replace_by("me", items);
}

static inline int merge(const char *items)
{
	struct todo_by by = by_source("me");

	return do_write(items, TODOS_MERGE, &by);
}

static inline int update(const char *id, const char *fields)
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

static inline int claim_lease(const char *id, const char *owner, int64_t lease_ms)
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

static inline int claim(const char *id, const char *owner)
{
	return claim_lease(id, owner, 0);
}

static inline int release(const char *id, const char *owner)
{
	struct txn *txn = txn_new(NULL, NULL);
	struct todo_by by = by_source("me");
	int r;

	todo_change_done(&change);
	r = todos_release(lists, &by, slice_str(id), slice_str(owner), txn, &change, &err);
	txn_free(txn);
	return r;
}

static inline int remove_item(const char *id)
{
	struct txn *txn = txn_new(NULL, NULL);
	struct todo_by by = by_source("me");
	int r;

	todo_change_done(&change);
	r = todos_remove(lists, &by, slice_str(id), txn, &change, &err);
	txn_free(txn);
	return r;
}

static inline bool op_started(uint64_t run, const char *id)
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

static inline bool op_ended(uint64_t run, const char *id, const char *error)
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
static inline char *show_array(struct slice array)
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

		at += (size_t)snprintf(
			to + at, 512 - at, "%.*s:%.*s:%c ", SLICE_FMT(mp_get_str(item, "id")),
			SLICE_FMT(mp_get_str(item, "content")), mp_get_str(item, "status").p[0]);
	}
	return to;
}

static inline char *show_filter(const struct todo_filter *filter)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);

	todos_pack(lists, "l", filter, &pk);
	return show_array(buf_slice(&b));
}

static inline char *show(void)
{
	return show_filter(&(struct todo_filter)TODO_FILTER_ALL);
}

static inline char *show_ready(void)
{
	return show_filter(&(struct todo_filter){ .ready = true });
}

static inline const struct todo_row *row(const char *id)
{
	const struct todo_row *r = todos_get(lists, "l", slice_str(id));

	ck_assert_msg(r != NULL, "no item '%s'", id);
	return r;
}

static inline void expect_err(int got, int sym, const char *says)
{
	ck_assert_int_eq(got, 1);
	ck_assert_msg(err.sym == sym && strstr(err.text, says), "got %d '%s'", err.sym, err.text);
}

static inline int todo_run_suite(const char *name, void (*fill)(TCase *t))
{
	Suite *s = suite_create(name);
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, todo_setup, todo_teardown);
	fill(t);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
