/*
 * The inside of the todo lists, shared by todo*.c only.
 *
 * An item is never changed in place: a write makes new items from rows that borrow from the old
 * ones and from the request, puts them into the list in place of the old, looks whether the list is
 * still sound, and either keeps that (with its event and rows in the transaction) or puts the old
 * ones back. See struct stage.
 */
#ifndef DAEMON_ENGINE_TODO_IMPL_H
#define DAEMON_ENGINE_TODO_IMPL_H

#include "common/table.h"

#include "daemon/engine/timers.h"
#include "daemon/engine/todo.h"

/* One block of memory with its strings behind it. */
struct todo {
	UT_hash_handle hh;  /* in todo_list.items, by row.id */
	uint32_t mark;	    /* == todos.serial: named by the write under way */
	uint64_t driven;    /* run whose op last moved it, 0: none. Not stored. */
	struct timer lease; /* in todos.leases while it is in the list and has one */
	int64_t lease_at;   /* when that is over, in lease time; 0: as its row says */
	struct todo_row row;
};

struct todo_list {
	UT_hash_handle hh; /* in todos.lists, by name */
	char *name;
	int64_t rev;
	int64_t next_made; /* above every "tN" that the list has ever seen */
	struct todo *items;
	struct todos *of;
};

struct todos {
	struct todo_list *lists;
	struct timers leases; /* at_ms: lease time */
	int64_t set_by;	      /* by how much the wall clock was set: it is ahead of lease time */
	uint32_t serial;      /* of the write under way */
};

/* --- todo_row.c --- */

struct todo *todo_new(const struct todo_row *row);
/* All that people see but rev and run. */
bool todo_row_equal(const struct todo_row *a, const struct todo_row *b);
/* Moves to `status` with what goes along: times, lease, error. */
void todo_row_move(struct todo_row *row, enum todo_status status, int64_t now_ms);
bool todo_row_is_error(const struct todo_row *row);

/* --- todo.c --- */

struct todo_list *todos_list(const struct todos *t, const char *name); /* NULL: none */
struct todo_list *todos_list_make(struct todos *t,
				  const char *name); /* the list, made when missing */
struct todo *todo_list_find(const struct todo_list *l, struct slice id);
void todo_list_put(struct todo_list *l, struct todo *item);
void todo_list_take(struct todo_list *l, struct todo *item);
/* Forgets a list that never was one: nothing was ever written to it. */
void todo_list_drop_unused(struct todos *t, struct todo_list *l);
/* Fills e with E_NOT_FOUND, naming what may have been meant; 1. */
int todo_list_no_item(const struct todo_list *l, struct slice id, struct err *e);
/* Remembers ids of the kind we make. */
void todo_list_note_id(struct todo_list *l, const char *id);
/* The items by position, malloced. */
struct todo **todo_list_sorted(const struct todo_list *l, size_t *ret_n);
/* The first that keeps an item from being ready (only what is in the list counts); NULL: none. */
const struct todo *todo_list_blocker(const struct todo_list *l, const struct todo_row *row);
/* The order in which ready items are to be taken; as qsort wants it, over struct todo *. */
int todo_ready_order(const void *a, const void *b);

/* --- todo_stage.c: one write under way --- */

struct stage_item {
	struct todo *old; /* NULL: it is made */
	struct todo *new; /* NULL: it is removed */
	bool changed;	  /* goes into event and transaction */
	bool named;	  /* the write named it: goes into ret->todos */
};

struct stage {
	struct todos *t;
	struct todo_list *list;
	const struct todo_by *by;
	struct stage_item *items;
	size_t n, cap;
	char **strings; /* what rows under construction borrow; bytes too */
	size_t n_strings, cap_strings;
	bool past; /* the rows are from the list's own past: nothing to be proved about them */
	int64_t restored; /* the revision they are from */
};

/* Checks base_rev. 0 or 1 with e; stage_done in either case. */
int stage_begin(struct stage *s, struct todos *t, const struct todo_by *by,
		struct err *e) _must_check_;
void stage_done(struct stage *s);
/* A C string that lives until stage_done; NULL for an absent or empty slice. */
const char *stage_str(struct stage *s, struct slice v);
/* The bytes of b, kept until stage_done; b is left empty. Absent when b is empty. */
struct slice stage_bytes(struct stage *s, struct buf *b);
/* The item is to become `row` (list, id and rev are put in); `old` may be NULL. The new item. */
struct todo *stage_set(struct stage *s, struct todo *old, struct todo_row *row, bool named);
/* The last one set counts as changed also when it reads the same: its revision and run become this
 * write's. */
void stage_touch(struct stage *s);
void stage_remove(struct stage *s, struct todo *old, bool named);
/*
 * Puts all into the list, checks it (limit, blocked_by), and fills txn and ret; `others` says
 * whether ret->others is wanted. 0, or 1 with e and the list as it was.
 */
int stage_commit(struct stage *s, bool others, struct txn *txn, struct todo_change *ret,
		 struct err *e) _must_check_;

#define _cleanup_stage_ _cleanup_(stage_done)

/* --- todo_check.c --- */

/* What the items of this write (already in the list) say about blocked_by and parent: blockers must
 * exist, no cycle of either. */
int todo_check_links(const struct stage *s, struct err *e) _must_check_;
/* Array of str. */
void todo_check_warnings(const struct stage *s, struct buf *ret);

/* --- todo_apply.c --- */

/* Lays the fields that the item gives over the row. 0, or 1 with e (text begins with the field's
 * name). */
int todo_apply(struct stage *s, const struct todo_item *item, struct todo_row *row,
	       struct err *e) _must_check_;

#endif
