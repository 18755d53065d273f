/*
 * Writes of todo lists on their way to the store. Each is a transaction of its own, so that its
 * failure is its answer. Lists show a write at once: whoever tells what they show waits here until
 * that is stored.
 */
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/live.h"

struct todo_commit {
	struct engine *e;
	struct todo_change *change;
	engine_todo_fn done;
	void *arg;
};

/* Somebody who waits for the writes before him. */
struct todo_waiter {
	struct list node;
	uint64_t at;   /* how many will have come to their end then */
	uint64_t lost; /* how many had failed before */
	engine_stored_fn fn;
	void *arg;
};

/* Between the event of this write and that of the next. */
static void tell_waiters(struct engine *e)
{
	struct todo_writes *w = &e->writes;
	while (!list_empty(&w->waiters)) {
		struct todo_waiter *x = list_entry(w->waiters.next, struct todo_waiter, node);
		if (x->at > w->ended)
			return;
		list_del(&x->node);
		x->fn(x->arg, x->lost != w->lost);
		free(x);
	}
}

static void todo_commit_done(void *arg, enum txn_status status, uint64_t existing,
			     const struct err *err)
{
	struct todo_commit *c = arg;
	struct engine *e = c->e;
	(void)existing;
	if (status == TXN_DONE)
		turn_emit_todo(e, c->change);
	/* Also when memory was loaded anew while this was on its way, after a write before it had
	 * failed. */
	if (status != TXN_DONE || todos_rev(e->todos, c->change->list) < c->change->rev) {
		e->ports.todos_lost(e->ports.arg, c->change->list);
		e->todos_lost = true;
		e->writes.lost++;
	}
	e->writes.ended++;
	c->done(c->arg, status == TXN_DONE ? NULL : err);
	tell_waiters(e);
	todo_change_done(c->change);
	free(c->change);
	free(c);
}

void engine_todo_commit(struct engine *e, struct txn *t, struct todo_change *change,
			engine_todo_fn done, void *arg)
{
	struct todo_commit *c = xmalloc(sizeof(*c));
	*c = (struct todo_commit){ .e = e, .change = change, .done = done, .arg = arg };
	txn_on_done(t, todo_commit_done, c);
	e->writes.begun++;
	e->ports.commit(e->ports.arg, t);
}

bool engine_todos_stored(const struct engine *e)
{
	return e->writes.ended == e->writes.begun;
}

uint64_t engine_todos_rev(const struct engine *e)
{
	return engine_todos_stored(e) ? 1 + e->writes.begun + e->writes.lost : 0;
}

void engine_after_todos(struct engine *e, engine_stored_fn fn, void *arg)
{
	struct todo_waiter *x = xmalloc(sizeof(*x));
	*x = (struct todo_waiter){
		.at = e->writes.begun, .lost = e->writes.lost, .fn = fn, .arg = arg
	};
	list_add_tail(&e->writes.waiters, &x->node);
	tell_waiters(e);
}

void todo_writes_drop(struct engine *e)
{
	list_for_safe (&e->writes.waiters, node) {
		list_del(node);
		free(list_entry(node, struct todo_waiter, node));
	}
}
