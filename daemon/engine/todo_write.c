/* todo.write, todo.update, todo.remove, todo.restore. */
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "daemon/engine/todo_impl.h"
#include "proto/errors.h"
#include "proto/mp.h"

/* --- a whole write --- */

struct given {
	struct todo_item item;
	struct buf meta;  /* what item.meta may point to */
	struct todo *old; /* the item it is about, NULL: a new one */
	struct todo_row row;
};

struct write {
	struct stage s;
	enum todos_mode mode;
	struct given *given;
	uint32_t n;
	struct todo **by_content; /* sorted; what can be matched by content */
	size_t n_by_content;
};

static void write_done(struct write *w)
{
	for (uint32_t i = 0; i < w->n; i++)
		buf_done(&w->given[i].meta);
	free(w->given);
	free(w->by_content);
	stage_done(&w->s);
}

static bool same_source(const struct write *w, const struct todo *item)
{
	const char *a = w->s.by->source, *b = item->row.source;

	return w->s.by->all_sources || a == b || (a && b && strcmp(a, b) == 0);
}

/* Where an item stands in error texts: "todos[3]". */
static int at_item(uint32_t i, const char *sep, struct err *e)
{
	return err_prefix(e, "todos[%u]%s", i, sep);
}

static int write_decode(struct write *w, struct slice items, struct err *e)
{
	struct mp m = mp_of(items);
	struct mp_value head = mp_next(&m);

	if (head.type != MP_ARRAY)
		return err_set(e, E_PARAMS, "todos: must be an array");
	if (head.count > LIMIT_TODOS)
		return err_set(e, E_LIMIT, "todos: %u items, the limit is %d", head.count,
			       LIMIT_TODOS);
	w->given = xcalloc(head.count + 1, sizeof(*w->given));
	for (uint32_t i = 0; i < head.count; i++) {
		struct given *g = &w->given[w->n++];
		char path[32];

		g->item = (struct todo_item)TODO_ITEM_INIT;
		snprintf(path, sizeof(path), "todos[%u]", i);
		if (todo_item_decode(mp_skip(&m), path, &g->item, &g->meta, e))
			return 1;
	}
	return 0;
}

static int id_order(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;
	int r = memcmp(x->p, y->p, MIN2(x->len, y->len));

	return r ? r : x->len < y->len ? -1 : x->len > y->len;
}

static int write_distinct(const struct write *w, struct err *e)
{
	_cleanup_free_ struct slice *ids = xmalloc((w->n + 1) * sizeof(*ids));
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->n; i++)
		if (w->given[i].item.id.p)
			ids[n++] = w->given[i].item.id;
	qsort(ids, n, sizeof(*ids), id_order);
	for (uint32_t i = 1; i < n; i++)
		if (slice_eq(ids[i - 1], ids[i]))
			return err_set(e, E_PARAMS, "todos: id '%.*s' comes twice",
				       SLICE_FMT(ids[i]));
	return 0;
}

static void write_match_ids(struct write *w)
{
	for (uint32_t i = 0; i < w->n; i++) {
		struct given *g = &w->given[i];

		g->old = todo_list_find(w->s.list, g->item.id);
		if (g->old)
			g->old->mark = w->s.t->serial;
		else if (g->item.id.p)
			todo_list_note_id(w->s.list, stage_str(&w->s, g->item.id));
	}
}

/* --- items without id are found by their content --- */

static int content_order(const void *a, const void *b, void *arg)
{
	const struct todo *x = *(struct todo *const *)a, *y = *(struct todo *const *)b;
	const struct write *w = arg;
	int r = strcmp(x->row.content, y->row.content);

	if (r)
		return r;
	if (same_source(w, x) != same_source(w, y))
		return same_source(w, x) ? -1 : 1;
	if (x->row.position != y->row.position)
		return x->row.position < y->row.position ? -1 : 1;
	return strverscmp(x->row.id, y->row.id);
}

/* Replace looks among the items it may remove, merge among all. */
static void write_sort_content(struct write *w)
{
	size_t n;

	w->by_content = todo_list_sorted(w->s.list, &n);
	for (size_t i = 0; i < n; i++)
		if (w->mode == TODOS_MERGE || same_source(w, w->by_content[i]))
			w->by_content[w->n_by_content++] = w->by_content[i];
	qsort_r(w->by_content, w->n_by_content, sizeof(struct todo *), content_order, w);
}

static size_t content_first(const struct write *w, struct slice content)
{
	size_t lo = 0, hi = w->n_by_content;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		struct slice have = slice_str(w->by_content[mid]->row.content);

		if (id_order(&have, &content) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/*
 * Each item is found once. A merge that adds "run the tests" means new work when the old one of
 * that name is done, unless it says of itself that it is done too.
 */
static struct todo *write_find_content(const struct write *w, const struct todo_item *item)
{
	for (size_t i = content_first(w, item->content); i < w->n_by_content; i++) {
		struct todo *t = w->by_content[i];

		if (!slice_is(item->content, t->row.content))
			break;
		if (t->mark == w->s.t->serial)
			continue;
		if (w->mode == TODOS_MERGE && t->row.status >= TODO_COMPLETED &&
		    item->status < TODO_COMPLETED)
			continue;
		return t;
	}
	return NULL;
}

static void write_match_content(struct write *w)
{
	write_sort_content(w);
	for (uint32_t i = 0; i < w->n; i++) {
		struct given *g = &w->given[i];

		if (g->item.id.p)
			continue;
		g->old = write_find_content(w, &g->item);
		if (g->old)
			g->old->mark = w->s.t->serial;
	}
}

/* --- what the items become --- */

static const char *write_make_id(struct write *w)
{
	char id[32];

	do
		snprintf(id, sizeof(id), "t%lld", (long long)w->s.list->next_made++);
	while (todo_list_find(w->s.list, slice_str(id)));
	return stage_str(&w->s, slice_str(id));
}

static int write_row(struct write *w, uint32_t i, struct err *e)
{
	struct given *g = &w->given[i];

	if (g->old) {
		g->row = g->old->row;
		if (w->mode == TODOS_REPLACE && !w->s.by->all_sources)
			g->row.source = w->s.by->source;
	} else {
		if (!g->item.content.p)
			return err_set(
				e, E_PARAMS,
				"todos[%u].content: required, since list '%s' has no item '%.*s'",
				i, w->s.list->name, SLICE_FMT(g->item.id));
		g->row = (struct todo_row){
			.id = g->item.id.p ? stage_str(&w->s, g->item.id) : write_make_id(w),
			.priority = TODO_MEDIUM,
			.source = w->s.by->source,
			.created = w->s.by->now_ms,
		};
	}
	return todo_apply(&w->s, &g->item, &g->row, e) ? at_item(i, ".", e) : 0;
}

static int64_t last_position(const struct write *w)
{
	int64_t last = 0;

	for (const struct todo *t = w->s.list->items; t; t = t->hh.next)
		last = MAX2(last, t->row.position);
	return last;
}

/*
 * The order as written, moving as few items as can be: who already stands behind his forerunner
 * stays. New ones at the end go behind everything that is there; a merge puts its new ones there
 * and moves nobody.
 */
static void write_positions(struct write *w)
{
	int64_t last = last_position(w), at = 0;
	uint32_t tail = w->n;

	while (tail > 0 && !w->given[tail - 1].old)
		tail--;
	for (uint32_t i = 0; i < w->n; i++) {
		struct given *g = &w->given[i];

		if (i >= tail || (w->mode == TODOS_MERGE && !g->old))
			g->row.position = ++last;
		else if (w->mode == TODOS_REPLACE)
			g->row.position = MAX2(g->old ? g->old->row.position : 0, at + 1);
		at = g->row.position;
		last = MAX2(last, at);
	}
}

static void write_stage(struct write *w)
{
	size_t n;
	_cleanup_free_ struct todo **all = NULL;

	for (uint32_t i = 0; i < w->n; i++)
		stage_set(&w->s, w->given[i].old, &w->given[i].row, true);
	if (w->mode != TODOS_REPLACE)
		return;
	all = todo_list_sorted(w->s.list, &n);
	for (size_t i = 0; i < n; i++)
		if (all[i]->mark != w->s.t->serial && same_source(w, all[i]))
			stage_remove(&w->s, all[i], false);
}

int todos_write(struct todos *t, const struct todo_by *by, struct slice items, enum todos_mode mode,
		struct txn *txn, struct todo_change *ret, struct err *e)
{
	_cleanup_(write_done) struct write w = { .mode = mode };

	if (stage_begin(&w.s, t, by, e) || write_decode(&w, items, e) || write_distinct(&w, e))
		return 1;
	write_match_ids(&w);
	write_match_content(&w);
	for (uint32_t i = 0; i < w.n; i++)
		if (write_row(&w, i, e))
			return 1;
	write_positions(&w);
	write_stage(&w);
	return stage_commit(&w.s, true, txn, ret, e);
}

/* --- one item --- */

int todos_update(struct todos *t, const struct todo_by *by, const struct todo_item *item,
		 struct txn *txn, struct todo_change *ret, struct err *e)
{
	_cleanup_stage_ struct stage s = { .t = NULL };
	struct todo_row row;
	struct todo *old;

	if (stage_begin(&s, t, by, e))
		return 1;
	old = todo_list_find(s.list, item->id);
	if (!old)
		return todo_list_no_item(s.list, item->id, e);
	row = old->row;
	if (todo_apply(&s, item, &row, e))
		return 1;
	stage_set(&s, old, &row, true);
	return stage_commit(&s, false, txn, ret, e);
}

int todos_remove(struct todos *t, const struct todo_by *by, struct slice id, struct txn *txn,
		 struct todo_change *ret, struct err *e)
{
	_cleanup_stage_ struct stage s = { .t = NULL };
	struct todo *old;

	if (stage_begin(&s, t, by, e))
		return 1;
	old = todo_list_find(s.list, id);
	if (!old)
		return todo_list_no_item(s.list, id, e);
	stage_remove(&s, old, true);
	return stage_commit(&s, false, txn, ret, e);
}

/* --- back to a revision --- */

static void restore_items(struct stage *s, struct slice items)
{
	struct mp m = mp_of(items);
	struct mp_value head = mp_next(&m);
	_cleanup_buf_ struct buf strings = BUF_INIT;

	for (uint32_t n = head.type == MP_ARRAY ? head.count : 0; n > 0; n--) {
		struct todo_row row;

		todo_unpack(mp_skip(&m), &strings, &row);
		if (row.id && row.content)
			stage_set(s, todo_list_find(s->list, slice_str(row.id)), &row, true);
	}
}

int todos_restore(struct todos *t, const struct todo_by *by, int64_t rev, struct slice items,
		  struct txn *txn, struct todo_change *ret, struct err *e)
{
	_cleanup_stage_ struct stage s = { .t = NULL };
	_cleanup_free_ struct todo **all = NULL;
	size_t n;

	if (stage_begin(&s, t, by, e))
		return 1;
	s.past = true;
	s.restored = rev;
	restore_items(&s, items);
	all = todo_list_sorted(s.list, &n);
	for (size_t i = 0; i < n; i++)
		if (all[i]->mark != t->serial)
			stage_remove(&s, all[i], false);
	return stage_commit(&s, false, txn, ret, e);
}
