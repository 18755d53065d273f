/* A write under way: gathered, put into the list, checked, and kept or taken back. */
#include <string.h>

#include "common/xalloc.h"
#include "daemon/engine/todo_impl.h"
#include "proto/errors.h"

int stage_begin(struct stage *s, struct todos *t, const struct todo_by *by, struct err *e)
{
	*s = (struct stage){ .t = t, .by = by, .list = todos_list_make(t, by->list) };
	t->serial++;
	if (by->has_base_rev && by->base_rev != s->list->rev)
		return err_set(e, E_CONFLICT,
			       "list '%s' is at revision %lld, not %lld: read it again and write "
			       "on top of that",
			       by->list, (long long)s->list->rev, (long long)by->base_rev);
	return 0;
}

/* New items that were kept are the list's: stage_commit has taken them out. */
void stage_done(struct stage *s)
{
	if (s->list)
		todo_list_drop_unused(s->t, s->list);
	for (size_t i = 0; i < s->n; i++)
		free(s->items[i].new);
	for (size_t i = 0; i < s->n_strings; i++)
		free(s->strings[i]);
	free(s->items);
	free(s->strings);
	*s = (struct stage){ .t = NULL };
}

static char *stage_keep(struct stage *s, char *p)
{
	if (s->n_strings == s->cap_strings) {
		s->cap_strings = MAX2((size_t)16, s->cap_strings * 2);
		s->strings = xrealloc(s->strings, s->cap_strings, sizeof(*s->strings));
	}
	return s->strings[s->n_strings++] = p;
}

const char *stage_str(struct stage *s, struct slice v)
{
	return v.p && v.len > 0 ? stage_keep(s, xslicedup(v)) : NULL;
}

struct slice stage_bytes(struct stage *s, struct buf *b)
{
	size_t len = b->len;

	return len > 0 ? slice_of(stage_keep(s, buf_steal(b)), len) : SLICE_NONE;
}

static struct stage_item *stage_add(struct stage *s)
{
	if (s->n == s->cap) {
		s->cap = MAX2((size_t)8, s->cap * 2);
		s->items = xrealloc(s->items, s->cap, sizeof(*s->items));
	}
	s->items[s->n] = (struct stage_item){ .old = NULL };
	return &s->items[s->n++];
}

struct todo *stage_set(struct stage *s, struct todo *old, struct todo_row *row, bool named)
{
	struct stage_item *it = stage_add(s);

	it->changed = !old || !todo_row_equal(&old->row, row);
	row->list = s->list->name;
	row->removed = false;
	if (it->changed) {
		row->rev = s->list->rev + 1;
		row->run = s->by->run;
	} else {
		row->rev = old->row.rev;
		row->run = old->row.run;
	}
	it->old = old;
	it->new = todo_new(row);
	it->new->driven = old ? old->driven : 0;
	if (old && old->row.lease_until == row->lease_until) /* the clock may have been set since */
		it->new->lease_at = old->lease_at;
	it->new->mark = s->t->serial;
	it->named = named;
	if (old)
		old->mark = s->t->serial;
	return it->new;
}

void stage_touch(struct stage *s)
{
	struct stage_item *it = &s->items[s->n - 1];

	it->changed = true;
	it->new->row.rev = s->list->rev + 1;
	it->new->row.run = s->by->run;
}

void stage_remove(struct stage *s, struct todo *old, bool named)
{
	struct stage_item *it = stage_add(s);

	it->old = old;
	it->changed = true;
	it->named = named;
	old->mark = s->t->serial;
}

static void stage_swap(struct stage *s, bool forth)
{
	for (size_t i = 0; i < s->n; i++) {
		struct todo *out = forth ? s->items[i].old : s->items[i].new;

		if (out)
			todo_list_take(s->list, out);
	}
	for (size_t i = 0; i < s->n; i++) {
		struct todo *in = forth ? s->items[i].new : s->items[i].old;

		if (in)
			todo_list_put(s->list, in);
	}
}

static size_t row_bytes(const struct todo_row *r)
{
	const char *const texts[] = { r->id,	      r->content, r->active_form,
				      r->description, r->owner,	  r->parent,
				      r->at,	      r->error,	  r->source };
	size_t n = r->blocked_by.len + r->tags.len + r->meta.len;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		n += texts[i] ? strlen(texts[i]) : 0;
	return n;
}

static int stage_check(struct stage *s, struct err *e)
{
	unsigned count = HASH_COUNT(s->list->items);

	for (size_t i = 0; i < s->n && !s->past; i++)
		if (s->items[i].changed &&
		    s->items[i].new &&row_bytes(&s->items[i].new->row) > LIMIT_TODO_BYTES)
			return err_set(e, E_LIMIT, "item '%s' would be longer than %u bytes",
				       s->items[i].new->row.id, LIMIT_TODO_BYTES);

	if (count > LIMIT_TODOS)
		return err_set(e, E_LIMIT,
			       "list '%s' would have %u items, the limit is %d: remove some first",
			       s->list->name, count, LIMIT_TODOS);
	return s->past ? 0 : todo_check_links(s, e);
}

static void stage_records(struct stage *s, struct txn *txn, const struct todo_change *c)
{
	struct todo_event_row event = {
		.list = c->list,
		.source = c->source,
		.rev = c->rev,
		.time = c->time,
		.run = c->run,
		.restored = s->past ? s->restored : -1,
		.before = buf_slice(&c->before),
		.after = buf_slice(&c->after),
	};

	for (size_t i = 0; i < s->n; i++) {
		const struct stage_item *it = &s->items[i];

		if (it->changed && it->new) {
			txn_todo(txn, &it->new->row);
		} else if (it->changed) {
			struct todo_row row = it->old->row;

			row.removed = true;
			row.rev = c->rev;
			row.run = c->run;
			txn_todo(txn, &row);
		}
	}
	txn_todo_event(txn, &event);
}

static void stage_pack_others(const struct stage *s, struct pk *pk)
{
	size_t n;
	_cleanup_free_ struct todo **all = todo_list_sorted(s->list, &n);

	pk_array(pk);
	for (size_t i = 0; i < n; i++)
		if (all[i]->mark != s->t->serial)
			todo_pack(pk, &all[i]->row);
	pk_end(pk);
}

static void stage_tell(const struct stage *s, bool others, struct todo_change *ret)
{
	struct pk before = PK_INIT(&ret->before), after = PK_INIT(&ret->after);
	struct pk todos = PK_INIT(&ret->todos), rest = PK_INIT(&ret->others);

	ret->list = xstrdup(s->list->name);
	ret->source = s->by->source ? xstrdup(s->by->source) : NULL;
	ret->rev = s->list->rev + 1;
	ret->time = s->by->now_ms;
	ret->run = s->by->run;
	pk_array(&before);
	pk_array(&after);
	pk_array(&todos);
	for (size_t i = 0; i < s->n; i++) {
		const struct stage_item *it = &s->items[i];

		if (it->changed && it->old)
			todo_pack(&before, &it->old->row);
		if (it->changed && it->new)
			todo_pack(&after, &it->new->row);
		if (it->named)
			todo_pack(&todos, it->new ? &it->new->row : &it->old->row);
	}
	pk_end(&before);
	pk_end(&after);
	pk_end(&todos);
	if (others)
		stage_pack_others(s, &rest);
	todo_check_warnings(s, &ret->warnings);
}

int stage_commit(struct stage *s, bool others, struct txn *txn, struct todo_change *ret,
		 struct err *e)
{
	stage_swap(s, true);
	if (stage_check(s, e)) {
		stage_swap(s, false);
		return 1;
	}
	stage_tell(s, others, ret);
	stage_records(s, txn, ret);
	s->list->rev++;
	for (size_t i = 0; i < s->n; i++) {
		if (s->items[i].new)
			todo_list_note_id(s->list, s->items[i].new->row.id);
		free(s->items[i].old);
		s->items[i].new = NULL;
	}
	return 0;
}
