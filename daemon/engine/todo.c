#include "daemon/engine/todo.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/todo_impl.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/suggest.h"

/* --- lists --- */

struct todos *todos_new(void)
{
	return xcalloc(1, sizeof(struct todos));
}

static void todo_list_empty(struct todo_list *l)
{
	struct todo *item, *next;

	HASH_ITER(hh, l->items, item, next)
	{
		todo_list_take(l, item);
		free(item);
	}
}

static void todo_list_free(struct todos *t, struct todo_list *l)
{
	HASH_DEL(t->lists, l);
	todo_list_empty(l);
	free(l->name);
	free(l);
}

struct todos *todos_free(struct todos *t)
{
	struct todo_list *l, *next;

	if (!t)
		return NULL;
	HASH_ITER(hh, t->lists, l, next)
	todo_list_free(t, l);
	timers_done(&t->leases);
	free(t);
	return NULL;
}

struct todo_list *todos_list(const struct todos *t, const char *name)
{
	struct todo_list *l;

	HASH_FIND_STR(t->lists, name, l);
	return l;
}

struct todo_list *todos_list_make(struct todos *t, const char *name)
{
	struct todo_list *l = todos_list(t, name);

	if (l)
		return l;
	l = xcalloc(1, sizeof(*l));
	l->name = xstrdup(name);
	l->next_made = 1;
	l->of = t;
	HASH_ADD_KEYPTR(hh, t->lists, l->name, strlen(l->name), l);
	return l;
}

struct todo *todo_list_find(const struct todo_list *l, struct slice id)
{
	struct todo *item = NULL;

	if (id.p)
		HASH_FIND(hh, l->items, id.p, id.len, item);
	return item;
}

void todo_list_put(struct todo_list *l, struct todo *item)
{
	item->row.list = l->name;
	HASH_ADD_KEYPTR(hh, l->items, item->row.id, strlen(item->row.id), item);
	item->lease.owner = item;
	if (!item->row.lease_until)
		return;
	if (!item->lease_at)
		item->lease_at = item->row.lease_until - l->of->set_by;
	timer_arm(&l->of->leases, &item->lease, item->lease_at);
}

void todo_list_take(struct todo_list *l, struct todo *item)
{
	HASH_DEL(l->items, item);
	timer_disarm(&l->of->leases, &item->lease);
}

void todo_list_drop_unused(struct todos *t, struct todo_list *l)
{
	if (l->rev == 0 && !l->items)
		todo_list_free(t, l);
}

int todo_list_no_item(const struct todo_list *l, struct slice id, struct err *e)
{
	struct suggest near = SUGGEST_INIT(id);
	char hint[SUGGEST_TEXT_MAX];

	for (const struct todo *item = l->items; item; item = item->hh.next)
		suggest_offer(&near, item->row.id);
	return err_set(e, E_NOT_FOUND, "no item '%.*s' in list '%s'%s", SLICE_FMT(id), l->name,
		       suggest_text(&near, hint));
}

void todo_list_note_id(struct todo_list *l, const char *id)
{
	int64_t n;

	if (id[0] == 't' && parse_int(slice_str(id + 1), 0, LIMIT_INT, &n) && n >= l->next_made)
		l->next_made = n + 1;
}

/* --- loading --- */

void todos_load(struct todos *t, const struct todo_row *row)
{
	struct todo_list *l = todos_list_make(t, row->list);
	struct todo *item;

	todo_list_note_id(l, row->id);
	if (row->removed)
		return;
	item = todo_new(row);
	item->driven = row->run;
	/* From the future: the clock was set back meanwhile. */
	int64_t now_ms = time_wall_ms();
	if (row->lease_until && row->started > now_ms)
		item->lease_at = now_ms - t->set_by + row->lease_until - row->started;
	todo_list_put(l, item);
}

void todos_load_rev(struct todos *t, const char *list, int64_t rev)
{
	todos_list_make(t, list)->rev = rev;
}

/* The list itself stays: what is never given twice is not forgotten. */
void todos_list_reset(struct todos *t, const char *list)
{
	struct todo_list *l = todos_list(t, list);

	if (!l)
		return;
	todo_list_empty(l);
	l->rev = 0;
}

/* --- looking --- */

int64_t todos_rev(const struct todos *t, const char *list)
{
	const struct todo_list *l = todos_list(t, list);

	return l ? l->rev : 0;
}

const struct todo_row *todos_get(const struct todos *t, const char *list, struct slice id)
{
	const struct todo_list *l = todos_list(t, list);
	const struct todo *item = l ? todo_list_find(l, id) : NULL;

	return item ? &item->row : NULL;
}

bool todos_has(const struct todos *t, const char *list, struct slice id)
{
	return todos_get(t, list, id) != NULL;
}

static int todo_position_order(const void *a, const void *b)
{
	const struct todo *x = *(struct todo *const *)a, *y = *(struct todo *const *)b;

	if (x->row.position != y->row.position)
		return x->row.position < y->row.position ? -1 : 1;
	return strverscmp(x->row.id, y->row.id);
}

int todo_ready_order(const void *a, const void *b)
{
	const struct todo *x = *(struct todo *const *)a, *y = *(struct todo *const *)b;
	bool x_failed = todo_row_is_error(&x->row), y_failed = todo_row_is_error(&y->row);

	if (x_failed != y_failed)
		return x_failed ? 1 : -1;
	if (x->row.priority != y->row.priority)
		return x->row.priority < y->row.priority ? -1 : 1;
	return todo_position_order(a, b);
}

struct todo **todo_list_sorted(const struct todo_list *l, size_t *ret_n)
{
	struct todo **all = xmalloc((HASH_COUNT(l->items) + 1) * sizeof(*all));
	size_t n = 0;

	for (struct todo *item = l->items; item; item = item->hh.next)
		all[n++] = item;
	qsort(all, n, sizeof(*all), todo_position_order);
	*ret_n = n;
	return all;
}

const struct todo *todo_list_blocker(const struct todo_list *l, const struct todo_row *row)
{
	struct mp m = mp_of(row->blocked_by);
	struct mp_value head =
		row->blocked_by.p ? mp_next(&m) : (struct mp_value){ .type = MP_NIL };

	for (uint32_t n = head.type == MP_ARRAY ? head.count : 0; n > 0; n--) {
		const struct todo *item = todo_list_find(l, mp_next(&m).bytes);

		if (item && item->row.status != TODO_COMPLETED)
			return item;
	}
	return NULL;
}

static bool filter_takes(const struct todo_list *l, const struct todo_filter *f,
			 const struct todo_row *row)
{
	if (f->status_mask && !(f->status_mask & 1u << row->status))
		return false;
	if (f->owner.p && !(row->owner && slice_is(f->owner, row->owner)))
		return false;
	return !f->ready || (row->status == TODO_PENDING && !todo_list_blocker(l, row));
}

/* Writes the item unless it makes too much. */
static bool pack_fits(struct pk *pk, const struct todo_filter *f, const struct todo_row *row,
		      struct buf *scratch)
{
	struct pk one = { .b = scratch, .omit_nil = pk->omit_nil };

	if (!f->max_bytes) {
		todo_pack(pk, row);
		return true;
	}
	buf_clear(scratch);
	todo_pack(&one, row);
	if (pk->b->len + scratch->len > f->max_bytes)
		return false;
	pk_raw(pk, buf_slice(scratch));
	return true;
}

uint32_t todos_pack(const struct todos *t, const char *list, const struct todo_filter *filter,
		    struct pk *pk)
{
	const struct todo_list *l = todos_list(t, list);
	_cleanup_free_ struct todo **all = NULL;
	_cleanup_buf_ struct buf scratch = BUF_INIT;
	uint32_t at = 0, next = 0;
	size_t n = 0;

	if (l)
		all = todo_list_sorted(l, &n);
	if (all && filter->ready)
		qsort(all, n, sizeof(*all), todo_ready_order);
	pk_array(pk);
	for (size_t i = 0; i < n && !next; i++) {
		if (!filter_takes(l, filter, &all[i]->row) || at++ < filter->offset)
			continue;
		if ((filter->limit && at > filter->offset + filter->limit) ||
		    !pack_fits(pk, filter, &all[i]->row, &scratch))
			next = at - 1;
	}
	pk_end(pk);
	return next;
}

static int todo_list_order(const void *a, const void *b)
{
	const struct todo_list *x = *(struct todo_list *const *)a,
			       *y = *(struct todo_list *const *)b;

	return strcmp(x->name, y->name);
}

bool todos_list_info(const struct todos *t, const char *list, struct todo_list_info *ret)
{
	const struct todo_list *l = todos_list(t, list);

	/* A list whose first write was not stored is none. */
	if (!l || l->rev == 0)
		return false;
	*ret = (struct todo_list_info){ .list = l->name, .rev = l->rev };
	for (const struct todo *item = l->items; item; item = item->hh.next) {
		ret->count[item->row.status]++;
		ret->total++;
	}
	return true;
}

void todos_each_list(const struct todos *t, const char *after,
		     bool (*fn)(void *arg, const struct todo_list_info *info), void *arg)
{
	_cleanup_free_ struct todo_list **all = xmalloc((HASH_COUNT(t->lists) + 1) * sizeof(*all));
	struct todo_list_info info;
	size_t n = 0;

	for (struct todo_list *l = t->lists; l; l = l->hh.next)
		if (!after || strcmp(l->name, after) > 0)
			all[n++] = l;
	qsort(all, n, sizeof(*all), todo_list_order);
	for (size_t i = 0; i < n; i++)
		if (todos_list_info(t, all[i]->name, &info) && !fn(arg, &info))
			return;
}

void todo_change_done(struct todo_change *c)
{
	free(c->list);
	free(c->source);
	buf_done(&c->before);
	buf_done(&c->after);
	buf_done(&c->todos);
	buf_done(&c->others);
	buf_done(&c->warnings);
	*c = (struct todo_change)TODO_CHANGE_INIT;
}
