#include "daemon/todo_lists.h"

#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/store/store.h"

struct lost_list {
	struct lost_list *next;
	char name[];
};

static void lists_item(void *arg, const struct todo_row *row)
{
	todos_load(engine_todos(((struct todo_lists *)arg)->engine), row);
}

static void lists_rev(void *arg, const char *list, int64_t rev)
{
	todos_load_rev(engine_todos(((struct todo_lists *)arg)->engine), list, rev);
}

/* list NULL: all. */
static int lists_load(struct todo_lists *l, const char *list, struct err *e)
{
	struct store_todo_sink sink = { .item = lists_item, .list = lists_rev, .arg = l };
	return store_load_todos(l->store, list, &sink, e);
}

int todo_lists_load(struct todo_lists *l, struct err *e)
{
	return lists_load(l, NULL, e);
}

void todo_lists_lost(struct todo_lists *l, const char *list)
{
	size_t len = strlen(list) + 1;
	for (const struct lost_list *had = l->lost; had; had = had->next)
		if (strcmp(had->name, list) == 0)
			return;
	struct lost_list *lost = xmalloc(sizeof(*lost) + len);
	memcpy(lost->name, list, len);
	lost->next = l->lost;
	l->lost = lost;
}

static void lists_found(struct todo_lists *l)
{
	struct lost_list *first = l->lost;
	l->lost = first->next;
	free(first);
}

int todo_lists_reload(struct todo_lists *l, struct err *e)
{
	for (; l->lost; lists_found(l)) {
		todos_list_reset(engine_todos(l->engine), l->lost->name);
		if (lists_load(l, l->lost->name, e))
			return err_prefix(e, "list '%s': ", l->lost->name);
	}
	return 0;
}

void todo_lists_done(struct todo_lists *l)
{
	while (l->lost)
		lists_found(l);
}
