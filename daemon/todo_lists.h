/*
 * Todo lists on their way from the store to the engine: all of them at the start, and one anew
 * whose last write could not be stored, before it is used again. Loop thread only.
 */
#ifndef DAEMON_TODO_LISTS_H
#define DAEMON_TODO_LISTS_H

#include "common/err.h"

struct engine;
struct lost_list;
struct store;

struct todo_lists {
	struct store *store;
	struct engine *engine;
	struct lost_list *lost;
};

/* 0 or err. */
int todo_lists_load(struct todo_lists *l, struct err *e) _must_check_;
/* What the engine holds of this list is not what is stored. */
void todo_lists_lost(struct todo_lists *l, const char *list);
/* Loads those again. 0, or err: they are still to be loaded. */
int todo_lists_reload(struct todo_lists *l, struct err *e) _must_check_;
void todo_lists_done(struct todo_lists *l);

#endif
