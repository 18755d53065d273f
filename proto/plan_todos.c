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
		if (item.id.p)
			ids[n_ids++] = (struct todo_id){ item.id, i };
	}
	return plan_todo_ids(ids, n_ids, path, e);
}
