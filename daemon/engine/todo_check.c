/* Whether a list is sound: blockers that exist, no cycle; and what is only worth a warning. */
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "daemon/engine/todo_impl.h"
#include "proto/errors.h"
#include "proto/mp.h"

#define CYCLE_NAMES_MAX 10
#define WARNING_NAMES_MAX 5

static uint32_t names_open(struct slice array, struct mp *m)
{
	struct mp_value head;

	if (!array.p)
		return 0;
	*m = mp_of(array);
	head = mp_next(m);
	return head.type == MP_ARRAY ? head.count : 0;
}

static bool names_have(struct slice array, struct slice name)
{
	struct mp m;

	for (uint32_t n = names_open(array, &m); n > 0; n--)
		if (slice_eq(mp_next(&m).bytes, name))
			return true;
	return false;
}

static int blocker_unknown(const struct stage *s, const struct todo *item, struct slice id,
			   struct err *e)
{
	struct err why = ERR_INIT;

	if (todo_list_no_item(s->list, id, &why))
		err_set(e, E_PARAMS, "blocked_by of item '%s': %s", item->row.id, why.text);
	return 1;
}

/* A blocker that is gone by now may stay where it stood. */
static int check_known(const struct stage *s, const struct stage_item *it, struct err *e)
{
	struct mp m;

	for (uint32_t n = names_open(it->new->row.blocked_by, &m); n > 0; n--) {
		struct slice id = mp_next(&m).bytes;

		if (!todo_list_find(s->list, id) &&
		    !(it->old && names_have(it->old->row.blocked_by, id)))
			return blocker_unknown(s, it->new, id, e);
	}
	return 0;
}

/* --- cycles: depth first, with a path of our own since 10 000 items may stand in one row --- */

struct visit {
	UT_hash_handle hh;
	const struct todo *item;
	bool on_path;
	struct mp at; /* its blockers not looked at yet */
	uint32_t left;
};

/* Along blocked_by, or from child to parent. */
struct walk {
	const struct todo_list *list;
	bool parents;
	struct visit *seen;
	struct visit **path;
	size_t n, cap;
};

static struct visit *walk_seen(struct walk *w, const struct todo *item)
{
	struct visit *v;

	HASH_FIND_PTR(w->seen, &item, v);
	return v;
}

static void walk_enter(struct walk *w, const struct todo *item)
{
	struct visit *v = xcalloc(1, sizeof(*v));

	v->item = item;
	v->on_path = true;
	v->left = w->parents ? item->row.parent != NULL : names_open(item->row.blocked_by, &v->at);
	HASH_ADD_PTR(w->seen, item, v);
	if (w->n == w->cap) {
		w->cap = MAX2((size_t)16, w->cap * 2);
		w->path = xrealloc(w->path, w->cap, sizeof(struct visit *));
	}
	w->path[w->n++] = v;
}

static int walk_cycle(const struct walk *w, const struct visit *back, struct err *e)
{
	_cleanup_buf_ struct buf names = BUF_INIT;
	size_t from = w->n;

	while (from > 0 && w->path[from - 1] != back)
		from--;
	for (size_t i = from > 0 ? from - 1 : 0, shown = 0; i < w->n && shown < CYCLE_NAMES_MAX;
	     i++, shown++)
		buf_addf(&names, "'%s' %s ", w->path[i]->item->row.id,
			 w->parents ? "is part of" : "waits for");
	if (w->n - from + 1 > CYCLE_NAMES_MAX)
		buf_adds(&names, "... ");
	buf_addf(&names, "'%s'", back->item->row.id);
	return err_set(e, E_PARAMS, "%s goes in a circle: %s", w->parents ? "parent" : "blocked_by",
		       buf_str(&names));
}

static const struct todo *walk_next(const struct walk *w, struct visit *v)
{
	v->left--;
	return todo_list_find(w->list,
			      w->parents ? slice_str(v->item->row.parent) : mp_next(&v->at).bytes);
}

static int walk_from(struct walk *w, const struct todo *start, struct err *e)
{
	if (walk_seen(w, start))
		return 0;
	walk_enter(w, start);
	while (w->n > 0) {
		struct visit *top = w->path[w->n - 1], *met;
		const struct todo *next;

		if (top->left == 0) {
			top->on_path = false;
			w->n--;
			continue;
		}
		next = walk_next(w, top);
		met = next ? walk_seen(w, next) : NULL;
		if (met && met->on_path)
			return walk_cycle(w, met, e);
		if (next && !met)
			walk_enter(w, next);
	}
	return 0;
}

static void walk_done(struct walk *w)
{
	struct visit *v, *next;

	HASH_ITER(hh, w->seen, v, next)
	{
		HASH_DEL(w->seen, v);
		free(v);
	}
	free(w->path);
}

int todo_check_links(const struct stage *s, struct err *e)
{
	_cleanup_(walk_done) struct walk blockers = { .list = s->list };
	_cleanup_(walk_done) struct walk parents = { .list = s->list, .parents = true };

	for (size_t i = 0; i < s->n; i++) {
		const struct stage_item *it = &s->items[i];

		if (!it->changed || !it->new)
			continue;
		if (it->new->row.blocked_by.p &&
		    (check_known(s, it, e) || walk_from(&blockers, it->new, e)))
			return 1;
		if (it->new->row.parent && walk_from(&parents, it->new, e))
			return 1;
	}
	return 0;
}

/* --- warnings --- */

static int owner_order(const void *a, const void *b)
{
	const struct todo *x = *(struct todo *const *)a, *y = *(struct todo *const *)b;

	return strcmp(x->row.owner ? x->row.owner : "", y->row.owner ? y->row.owner : "");
}

static void warn_busy(struct pk *pk, struct todo *const *items, size_t n)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	if (items[0]->row.owner)
		buf_addf(&text, "%zu items of '%s' are in_progress: ", n, items[0]->row.owner);
	else
		buf_addf(&text, "%zu items without owner are in_progress: ", n);
	for (size_t i = 0; i < n && i < WARNING_NAMES_MAX; i++)
		buf_addf(&text, "%s'%s'", i ? ", " : "", items[i]->row.id);
	if (n > WARNING_NAMES_MAX)
		buf_adds(&text, ", ...");
	pk_str(pk, buf_slice(&text));
}

/* Only owners of whom this write names an item that is in_progress: others have been warned. */
static bool warn_concerns(const struct stage *s, struct todo *const *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (items[i]->mark == s->t->serial)
			return true;
	return false;
}

void todo_check_warnings(const struct stage *s, struct buf *ret)
{
	size_t n, busy = 0;
	_cleanup_free_ struct todo **all = todo_list_sorted(s->list, &n);
	struct pk pk = PK_INIT(ret);

	for (size_t i = 0; i < n; i++)
		if (all[i]->row.status == TODO_IN_PROGRESS)
			all[busy++] = all[i];
	/* Not qsort's business to keep positions, but few are in_progress: owners first, then as
	 * they come. */
	qsort(all, busy, sizeof(struct todo *), owner_order);
	pk_array(&pk);
	for (size_t i = 0, j; i < busy; i = j) {
		for (j = i + 1; j < busy && owner_order(&all[i], &all[j]) == 0; j++)
			;
		if (j - i > 1 && warn_concerns(s, &all[i], j - i))
			warn_busy(&pk, &all[i], j - i);
	}
	pk_end(&pk);
}
