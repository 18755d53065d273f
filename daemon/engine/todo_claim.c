/* Who works on an item: claim, release, and ops that drive items. */
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "daemon/engine/todo_impl.h"
#include "proto/errors.h"

/* `now_ms` here and below: lease time. */
static bool lease_over(const struct todo *item, int64_t now_ms)
{
	return item->row.lease_until != 0 && item->lease_at <= now_ms;
}

static bool is_owner(const struct todo_row *row, struct slice owner)
{
	return row->owner && slice_is(owner, row->owner);
}

/* Somebody else's, also when only assigned to him. */
static bool is_others(const struct todo *item, struct slice owner, int64_t now_ms)
{
	return item->row.owner && !is_owner(&item->row, owner) && !lease_over(item, now_ms);
}

static bool can_take(const struct todo_list *l, const struct todo *item, struct slice owner,
		     int64_t now_ms)
{
	const struct todo_row *row = &item->row;

	if (row->status == TODO_IN_PROGRESS)
		return lease_over(item, now_ms);
	return row->status == TODO_PENDING && !is_others(item, owner, now_ms) &&
	       !todo_list_blocker(l, row);
}

static struct todo *claim_first(const struct todo_list *l, struct slice owner, int64_t now_ms)
{
	struct todo *best = NULL;

	for (struct todo *item = l->items; item; item = item->hh.next)
		if (can_take(l, item, owner, now_ms) &&
		    (!best || todo_ready_order(&item, &best) < 0))
			best = item;
	return best;
}

/* 0: `owner` may take it. */
static int claim_refused(const struct todo_list *l, const struct todo *item, struct slice owner,
			 int64_t now_ms, struct err *e)
{
	const struct todo_row *row = &item->row;
	const struct todo *blocker;

	if (row->status >= TODO_COMPLETED)
		return err_set(e, E_STATE, "item '%s' is %s", row->id,
			       todo_status_names[row->status]);
	if (is_others(item, owner, now_ms))
		return err_set(e, E_CONFLICT, "item '%s' is taken by '%s'", row->id, row->owner);
	if (row->status == TODO_IN_PROGRESS)
		return row->owner || lease_over(item, now_ms)
			       ? 0
			       : err_set(e, E_CONFLICT,
					 "item '%s' is taken: in_progress without an owner",
					 row->id);
	blocker = todo_list_blocker(l, row);
	return blocker ? err_set(e, E_STATE, "item '%s' is blocked by '%s', which is %s", row->id,
				 blocker->row.id, todo_status_names[blocker->row.status])
		       : 0;
}

static int claim_find(const struct stage *s, const struct todo_claim *c, struct todo **ret,
		      struct err *e)
{
	int64_t now_ms = s->by->now_ms - s->t->set_by;
	struct todo *item;

	if (!c->id.p) {
		*ret = claim_first(s->list, c->owner, now_ms);
		return 0;
	}
	item = todo_list_find(s->list, c->id);
	if (!item)
		return todo_list_no_item(s->list, c->id, e);
	if (claim_refused(s->list, item, c->owner, now_ms, e))
		return 1;
	*ret = item;
	return 0;
}

int todos_claim(struct todos *t, const struct todo_by *by, const struct todo_claim *c,
		struct txn *txn, struct todo_change *ret, struct err *e)
{
	_cleanup_stage_ struct stage s = { .t = NULL };
	struct todo *old = NULL;
	struct todo_row row;

	if (stage_begin(&s, t, by, e) || claim_find(&s, c, &old, e))
		return 1;
	if (!old) {
		ret->nothing = true;
		ret->list = xstrdup(by->list);
		ret->rev = s.list->rev;
		return 0;
	}
	row = old->row;
	if (!is_owner(&row, c->owner))
		row.started = 0;
	todo_row_move(&row, TODO_IN_PROGRESS, by->now_ms);
	if (row.started == 0)
		row.started = by->now_ms;
	row.owner = stage_str(&s, c->owner);
	row.lease_until = c->lease_ms > 0 ? by->now_ms + c->lease_ms : 0;
	stage_set(&s, old, &row, true);
	return stage_commit(&s, false, txn, ret, e);
}

int todos_release(struct todos *t, const struct todo_by *by, struct slice id, struct slice owner,
		  struct txn *txn, struct todo_change *ret, struct err *e)
{
	_cleanup_stage_ struct stage s = { .t = NULL };
	struct todo *old;
	struct todo_row row;

	if (stage_begin(&s, t, by, e))
		return 1;
	old = todo_list_find(s.list, id);
	if (!old)
		return todo_list_no_item(s.list, id, e);
	row = old->row;
	if (row.status >= TODO_COMPLETED)
		return err_set(e, E_STATE, "item '%s' is %s", row.id,
			       todo_status_names[row.status]);
	if (!row.owner && row.status == TODO_PENDING)
		return err_set(e, E_STATE, "nobody holds item '%s'", row.id);
	if (owner.p && row.owner && !is_owner(&row, owner))
		return err_set(e, E_CONFLICT, "item '%s' is taken by '%s', not by '%.*s'", row.id,
			       row.owner, SLICE_FMT(owner));
	todo_row_move(&row, TODO_PENDING, by->now_ms);
	row.owner = NULL;
	row.lease_until = 0;
	stage_set(&s, old, &row, true);
	return stage_commit(&s, false, txn, ret, e);
}

/* --- leases --- */

void todos_clock_was_set(struct todos *t, int64_t by_ms)
{
	t->set_by = by_ms;
}

int64_t todos_next_lease(const struct todos *t)
{
	const struct timer *first = timers_first(&t->leases);

	return first ? first->at_ms + t->set_by : INT64_MAX;
}

bool todos_end_leases(struct todos *t, int64_t now_ms, struct txn *txn, struct todo_change *ret)
{
	_cleanup_stage_ struct stage s = { .t = NULL };
	const struct timer *first = timers_first(&t->leases);
	struct todo_by by = { .now_ms = now_ms };

	int64_t at_ms = now_ms - t->set_by;

	if (!first || first->at_ms > at_ms)
		return false;
	by.list = ((const struct todo *)first->owner)->row.list;
	if (stage_begin(&s, t, &by, NULL))
		return false;
	for (struct todo *item = s.list->items; item; item = item->hh.next) {
		struct todo_row row = item->row;

		if (!lease_over(item, at_ms))
			continue;
		todo_row_move(&row, TODO_PENDING, now_ms);
		row.owner = NULL;
		row.lease_until = 0;
		stage_set(&s, item, &row, true);
	}
	return stage_commit(&s, false, txn, ret, NULL) == 0;
}

/* --- ops --- */

/* The row goes in whatever it is: nothing about blocked_by changes, so it cannot be refused. */
static bool drive_set(struct todos *t, const struct todo_by *by, struct todo *old,
		      struct todo_row *row, struct txn *txn, struct todo_change *ret)
{
	_cleanup_stage_ struct stage s = { .t = NULL };
	struct todo_by plain = *by;

	plain.has_base_rev = false;
	if (stage_begin(&s, t, &plain, NULL))
		return false;
	stage_set(&s, old, row, true)->driven = by->run;
	stage_touch(&s);
	return stage_commit(&s, false, txn, ret, NULL) == 0;
}

bool todos_op_started(struct todos *t, const struct todo_by *by, struct slice id, struct txn *txn,
		      struct todo_change *ret)
{
	struct todo_list *l = todos_list(t, by->list);
	struct todo *item = l ? todo_list_find(l, id) : NULL;
	struct todo_row row;

	if (!item || (item->driven == by->run && item->row.run != by->run))
		return false;
	item->driven = by->run;
	if (item->row.status == TODO_IN_PROGRESS && item->row.run == by->run)
		return false;
	row = item->row;
	todo_row_move(&row, TODO_IN_PROGRESS, by->now_ms);
	row.lease_until = 0;
	return drive_set(t, by, item, &row, txn, ret);
}

bool todos_op_ended(struct todos *t, const struct todo_by *by, struct slice id, const char *error,
		    struct txn *txn, struct todo_change *ret)
{
	struct todo_list *l = todos_list(t, by->list);
	struct todo *item = l ? todo_list_find(l, id) : NULL;
	struct todo_row row;

	if (!item || item->row.run != by->run)
		return false;
	row = item->row;
	if (error) {
		if (row.status == TODO_CANCELLED ||
		    (row.status == TODO_PENDING && todo_row_is_error(&row)))
			return false;
		todo_row_move(&row, TODO_PENDING, by->now_ms);
		row.error = error;
	} else {
		if (row.status >= TODO_COMPLETED)
			return false;
		todo_row_move(&row, TODO_COMPLETED, by->now_ms);
	}
	return drive_set(t, by, item, &row, txn, ret);
}
