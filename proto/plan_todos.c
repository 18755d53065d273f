#include <inttypes.h>
#include <stdlib.h>

#include "proto/limits.h"
#include "proto/plan_impl.h"
#include "proto/todo_item.h"
#include "proto/value.h"

/* An id and where it stood. */
struct todo_id {
	struct slice id;
	uint32_t index;
	struct mp at; /* the search: what of blocked_by has not been looked at */
	uint32_t left;
	uint8_t colour; /* 0: not looked at, 1: on the path, 2: done */
};

static int todo_id_order(const void *a, const void *b)
{
	const struct todo_id *x = a, *y = b;
	int r = memcmp(x->id.p, y->id.p, MIN2(x->id.len, y->id.len));
	if (r == 0)
		r = (x->id.len > y->id.len) - (x->id.len < y->id.len);
	return r ? r : (x->index > y->index) - (x->index < y->index);
}

static int plan_todo_ids(struct todo_id *ids, uint32_t n, const char *path, struct err *e)
{
	char text[VALUE_QUOTE_MAX];
	qsort(ids, n, sizeof(*ids), todo_id_order);
	for (uint32_t i = 1; i < n; i++)
		if (slice_eq(ids[i - 1].id, ids[i].id))
			return err_set(
				e, E_PARAMS,
				"%s.todos[%" PRIu32 "].id: '%s' is also that of todos[%" PRIu32 "]",
				path, ids[i].index, value_quote(ids[i].id, text), ids[i - 1].index);
	return 0;
}

/* The next of its blocked_by, if that is one of these; NULL otherwise. */
static struct todo_id *todo_blocker(struct todo_id *ids, uint32_t n, struct todo_id *of)
{
	of->left--;
	struct slice key = mp_next(&of->at).bytes;
	uint32_t lo = 0, hi = n;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		int r = memcmp(ids[mid].id.p, key.p, MIN2(ids[mid].id.len, key.len));
		r = r ? r : (ids[mid].id.len > key.len) - (ids[mid].id.len < key.len);
		if (r == 0)
			return &ids[mid];
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Items of one op that block each other in a ring, depth first; ids are sorted. */
static int plan_todo_cycles(struct todo_id *ids, uint32_t n, const char *path, struct err *e)
{
	char text[VALUE_QUOTE_MAX];
	_cleanup_free_ struct todo_id **stack = calloc((size_t)n + 1, sizeof(*stack));
	if (!stack)
		return err_set(e, E_MEMORY, "no memory for %" PRIu32 " todos", n);
	for (uint32_t root = 0; root < n; root++) {
		uint32_t depth = 0;
		if (ids[root].colour == 0)
			stack[depth++] = &ids[root];
		while (depth > 0) {
			struct todo_id *t = stack[depth - 1];
			t->colour = t->left > 0 ? 1 : 2;
			if (t->left == 0) {
				depth--;
				continue;
			}
			struct todo_id *b = todo_blocker(ids, n, t);
			if (b && b->colour == 1)
				return err_set(
					e, E_PARAMS,
					"%s.todos[%" PRIu32
					"].blocked_by: '%s' is blocked by this item in turn: "
					"take one of the two out",
					path, t->index, value_quote(b->id, text));
			else if (b && b->colour == 0)
				stack[depth++] = b;
		}
	}
	return 0;
}

int plan_check_todos(const struct batch_op *op, const char *path, struct err *e)
{
	uint32_t n, n_ids = 0;
	if (op->kind != KIND_TODOS)
		return 0;
	struct mp at = array_open(op->todos, &n);
	if (n > LIMIT_TODOS)
		return err_set(e, E_LIMIT, "%s.todos: more than %d items", path, LIMIT_TODOS);
	_cleanup_free_ struct todo_id *ids = calloc(n + 1, sizeof(*ids));
	if (!ids)
		return err_set(e, E_MEMORY, "no memory for %" PRIu32 " todos", n);
	for (uint32_t i = 0; i < n; i++) {
		char place[PLAN_PATH_MAX + 32];
		struct todo_item item;
		snprintf(place, sizeof(place), "%s.todos[%" PRIu32 "]", path, i);
		if (todo_item_decode(mp_skip(&at), place, &item, NULL, e))
			return 1;
		if (!item.id.p)
			continue;
		struct todo_id *id = &ids[n_ids++];
		*id = (struct todo_id){ .id = item.id, .index = i };
		if (item.blocked_by.p)
			id->at = array_open(item.blocked_by, &id->left);
	}
	return plan_todo_ids(ids, n_ids, path, e) || plan_todo_cycles(ids, n_ids, path, e);
}
