/*
 * Todos moved by ops: the `todos` ops, and ops with `todo: ID`. Changes ride in the turn's
 * transaction; their events follow it.
 */
#include <stdlib.h>

#include "common/log.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"
#include "proto/errors.h"
#include "proto/mp.h"

#define TODOS_OP_SOURCE "batch"

static struct todo_by drive_by(const struct live_run *r, const char *list)
{
	return (struct todo_by){
		.list = list, .source = TODOS_OP_SOURCE, .run = r->id, .now_ms = time_wall_ms()
	};
}

/* A transaction of its own, so that it stands in line with what clients write to the list. */
static void drive_commit(struct engine *e, struct txn *t, const struct todo_change *c,
			 engine_todo_fn done, void *arg)
{
	struct todo_change *kept = xmalloc(sizeof(*kept));
	*kept = *c;
	engine_todo_commit(e, t, kept, done, arg);
}

/* --- acceptance: every `todo: ID` must name an item that is in the list, or that this or an
 * earlier message sets --- */

struct todo_name {
	uint32_t message; /* first that sets it; UINT32_MAX: none does */
	uint32_t drive;	  /* 1-based into run->drives, 0: no op drives it */
	UT_hash_handle hh;
	char id[];
};

static struct todo_name *names_get(struct todo_name **names, struct slice id, uint32_t message)
{
	struct todo_name *n;
	HASH_FIND(hh, *names, id.p, id.len, n);
	if (n)
		return n;
	n = xcalloc(1, sizeof(*n) + id.len + 1);
	memcpy(n->id, id.p, id.len);
	n->message = message;
	HASH_ADD(hh, *names, id[0], id.len, n);
	return n;
}

static void names_free(struct todo_name **names)
{
	struct todo_name *n, *next;
	HASH_ITER(hh, *names, n, next)
	{
		HASH_DEL(*names, n);
		free(n);
	}
}

/* The ids that the batch's own `todos` ops set in the run's list. */
static void names_of_batch(struct live_run *r, struct todo_name **names)
{
	struct batch_op spec;
	for (uint32_t op = 0; op < r->plan->n_ops; op++) {
		if (r->plan->ops[op].kind != KIND_TODOS)
			continue;
		plan_op_decode(r->plan, op, &spec);
		if (spec.list.p && !slice_is(spec.list, r->list))
			continue;
		struct mp m = mp_of(spec.todos);
		struct mp_value items = mp_next(&m);
		for (uint32_t i = 0; items.type == MP_ARRAY && i < items.count; i++) {
			struct slice id = mp_get_str(mp_skip(&m), "id");
			if (id.p)
				names_get(names, id, r->plan->ops[op].message);
		}
	}
}

static uint32_t drive_new(struct live_run *r, uint32_t op, const struct todo_name *n)
{
	if ((r->n_drives & (r->n_drives - 1)) == 0) /* room for the next power of two */
		r->drives = xrealloc(r->drives, r->n_drives ? 2 * (size_t)r->n_drives : 1,
				     sizeof(r->drives[0]));
	r->drives[r->n_drives] = (struct drive){ .id = xstrdup(n->id),
						 .first = op,
						 .set = n->message <= r->plan->ops[op].message };
	return ++r->n_drives;
}

static void drive_one(struct live_run *r, uint32_t op, struct todo_name **names)
{
	struct batch_op spec;
	plan_op_decode(r->plan, op, &spec);
	struct todo_name *n = names_get(names, spec.todo, UINT32_MAX);
	if (!n->drive)
		n->drive = drive_new(r, op, n);
	r->ops[op].drive = n->drive;
	r->drives[n->drive - 1].left++;
}

void drive_prepare(struct live_run *r)
{
	struct todo_name *names = NULL;
	names_of_batch(r, &names);
	for (uint32_t op = 0; op < r->plan->n_ops; op++)
		if (r->plan->ops[op].has_todo)
			drive_one(r, op, &names);
	names_free(&names);
}

/* Ops come in the order of their messages: what is there in time for the first of a todo's ops is
 * so for all. */
int drive_check(struct live_run *r, struct err *err)
{
	if (engine_todos_check(r->e, err))
		return 1;
	for (uint32_t i = 0; i < r->n_drives; i++) {
		const struct drive *d = &r->drives[i];
		uint32_t message = r->plan->ops[d->first].message;
		if (d->set || todos_has(engine_todos(r->e), r->list, slice_str(d->id)))
			continue;
		return err_set(err, E_PARAMS,
			       "messages[%u].ops[%u].todo: no item '%s' in list '%s' and none "
			       "set by this or an "
			       "earlier message: add it to a `todos` op, or check the id",
			       message, d->first - r->plan->messages[message].first, d->id,
			       r->list);
	}
	return 0;
}

/* --- while it runs --- */

/* One move of an item. It outlives its run: what could not be stored is tried again until it can.
 */
struct move {
	struct list open; /* in engine.moves.open */
	struct list node; /* in engine.moves.waiting */
	struct engine *e;
	uint64_t nth, run;
	char *list, *id, *error;
	bool ended; /* else: the op starts */
};

static void move_free(struct move *m)
{
	list_del(&m->open);
	free(m->list);
	free(m->id);
	free(m->error);
	free(m);
}

/* Moves that fail one after the other, and those that were made meanwhile, in their order. */
static void move_wait(struct move *m)
{
	struct list *at = m->e->moves.waiting.prev;
	while (at != &m->e->moves.waiting && list_entry(at, struct move, node)->nth > m->nth)
		at = at->prev;
	list_add_tail(at->next, &m->node);
	turn_retry_later(m->e);
}

static void move_done(void *arg, const struct err *err)
{
	struct move *m = arg;
	if (!err) {
		struct engine *e = m->e;
		move_free(m);
		turn_out_of_trouble(e);
		turn_unhold(e);
		return;
	}
	turn_in_trouble(m->e, err);
	move_wait(m);
	turn_fail_answers(m->e, err);
}

/* 0; or 1 with err: it has to wait, what is stored cannot be read. */
static int move_make(struct move *m, struct err *err)
{
	struct todo_by by = {
		.list = m->list, .source = TODOS_OP_SOURCE, .run = m->run, .now_ms = time_wall_ms()
	};
	struct todo_change c = TODO_CHANGE_INIT;
	/* What is not loaded would have no such item. */
	if (engine_todos_check(m->e, err)) {
		turn_in_trouble(m->e, err);
		return 1;
	}
	struct txn *t = txn_new(NULL, NULL);
	bool moved = m->ended ? todos_op_ended(engine_todos(m->e), &by, slice_str(m->id), m->error,
					       t, &c)
			      : todos_op_started(engine_todos(m->e), &by, slice_str(m->id), t, &c);
	if (moved) {
		drive_commit(m->e, t, &c, move_done, m);
		return 0;
	}
	txn_free(t);
	todo_change_done(&c);
	move_free(m);
	return 0;
}

bool drive_is_open(const struct engine *e, uint64_t made)
{
	return !list_empty(&e->moves.open) &&
	       list_entry(e->moves.open.next, struct move, open)->nth < made;
}

/* error NULL with `ended`: all is done. */
static void drive_move(struct live_run *r, const struct drive *d, bool ended, const char *error)
{
	struct engine *e = r->e;
	struct move *m = xmalloc(sizeof(*m));
	*m = (struct move){ .e = e,
			    .nth = e->moves.made++,
			    .run = r->id,
			    .list = xstrdup(r->list),
			    .id = xstrdup(d->id),
			    .error = error ? xstrdup(error) : NULL,
			    .ended = ended };
	list_init(&m->node);
	list_add_tail(&e->moves.open, &m->open);
	struct err err;
	if (!list_empty(&e->moves.waiting) || move_make(m, &err))
		move_wait(m);
}

void drive_retry(struct engine *e)
{
	struct list now;
	list_init(&now);
	list_for_safe (&e->moves.waiting, node) {
		list_del(node);
		list_add_tail(&now, node);
	}
	struct err err;
	bool waits = false;
	list_for_safe (&now, node) {
		struct move *m = list_entry(node, struct move, node);
		list_del(node);
		if (move_make(m, &err)) {
			move_wait(m);
			waits = true;
		}
	}
	if (waits)
		turn_fail_answers(e, &err);
}

void drive_free(struct engine *e)
{
	list_for_safe (&e->moves.open, node)
		move_free(list_entry(node, struct move, open));
}

void drive_started(struct live_run *r, uint32_t op)
{
	const struct drive *d = r->ops[op].drive ? &r->drives[r->ops[op].drive - 1] : NULL;
	if (d && !d->failed) /* else it stays what the failure made of it */
		drive_move(r, d, false, NULL);
}

/* Why an op's todo is not done, in one line. */
static void drive_error(struct live_run *r, uint32_t op, struct buf *b)
{
	const struct live_op *o = &r->ops[op];
	struct batch_op spec;
	plan_op_decode(r->plan, op, &spec);
	batch_op_text(&spec, b);
	buf_adds(b, ": ");
	if (live_try(o)->error)
		buf_adds(b, live_try(o)->error);
	else if (o->cause == CAUSE_EXIT)
		buf_addf(b, "exit %d", live_try(o)->exit);
	else
		buf_addf(b, "%s",
			 o->cause ? op_cause_names[o->cause] : op_state_names[live_op_state(o)]);
}

void drive_settled(struct live_run *r, uint32_t op)
{
	if (!r->ops[op].drive)
		return;
	struct drive *d = &r->drives[r->ops[op].drive - 1];
	bool good = r->ops[op].phase == PHASE_SUCCEEDED;
	d->left--;
	d->failed = d->failed || !good;
	if (good && (d->left > 0 || d->failed))
		return;
	_cleanup_buf_ struct buf error = BUF_INIT;
	if (!good)
		drive_error(r, op, &error);
	drive_move(r, d, true, good ? NULL : buf_str(&error));
}

/* --- leases: not of any op, but moved as they move --- */

static void leases_told(void *arg, const struct err *err)
{
	struct engine *e = arg;
	e->lease_at = INT64_MAX; /* the list is loaded anew, with the lease that is over */
	if (err)
		e->lease_after = e->now_ms + STORE_RETRY_MS;
}

void drive_end_leases(struct engine *e)
{
	e->lease_at = INT64_MAX;
	for (;;) {
		struct todo_change c = TODO_CHANGE_INIT;
		struct txn *t = txn_new(NULL, NULL);
		if (!todos_end_leases(engine_todos(e), time_wall_ms(), t, &c)) {
			txn_free(t);
			todo_change_done(&c);
			return;
		}
		drive_commit(e, t, &c, leases_told, e);
	}
}

void drive_arm_leases(struct engine *e)
{
	int64_t at = todos_next_lease(engine_todos(e));
	if (at == e->lease_at)
		return;
	e->lease_at = at;
	timer_disarm(&e->timers, &e->lease_timer);
	if (at == INT64_MAX)
		return;
	int64_t in = MIN2(MAX2(at - time_wall_ms(), 0), CLOCK_LOOK_MS);
	timer_arm(&e->timers, &e->lease_timer, MAX2(time_mono_ms() + in, e->lease_after));
}

/* --- the `todos` op: it has ended when its write is durable, and its row is part of that write ---
 */

struct todos_op {
	struct engine *e;
	int64_t begun_ms; /* monotonic */
	struct exec_result result;
};

static void todos_op_done(void *arg, const struct err *err)
{
	struct todos_op *x = arg;
	if (err) {
		x->result.cause = CAUSE_IO;
		x->result.error = *err;
	}
	x->result.ended = time_wall_ms();
	x->result.duration_ms = time_mono_ms() - x->begun_ms;
	engine_op_ended(x->e, &x->result);
	free(x);
}

/* As the op's row will be when the transaction it stands in is stored. */
static void todos_op_row(struct live_run *r, uint32_t op, struct txn *t)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct op_row row;
	live_fill_op(r, op, &text, &row);
	row.state = OP_SUCCEEDED;
	row.cause = CAUSE_NONE; /* an earlier try's, and its error */
	row.error = NULL;
	row.ended = time_wall_ms();
	row.duration_ms = 0;
	txn_op(t, &row);
}

static void refused_done(void *arg, enum txn_status status, uint64_t existing,
			 const struct err *err)
{
	struct todos_op *x = arg;
	(void)status;
	(void)existing;
	(void)err;
	engine_op_ended(x->e, &x->result);
	free(x);
}

void drive_todos_op(struct live_run *r, uint32_t op, const struct batch_op *spec)
{
	struct todos_op *x = xcalloc(1, sizeof(*x));
	x->e = r->e;
	x->result.token = token_make(r->id, op + 1, r->ops[op].attempts);
	x->result.is_file_op = true;
	x->result.started = live_try_make(&r->ops[op])->started = time_wall_ms();
	x->begun_ms = time_mono_ms();
	_cleanup_free_ char *list = spec->list.p ? xslicedup(spec->list) : xstrdup(r->list);
	struct todo_by by = drive_by(r, list);
	struct todo_change c = TODO_CHANGE_INIT;
	struct txn *t = txn_new(NULL, NULL);
	if (todos_write(engine_todos(r->e), &by, spec->todos, (enum todos_mode)spec->todos_mode, t,
			&c, &x->result.error) == 0) {
		todos_op_row(r, op, t);
		drive_commit(r->e, t, &c, todos_op_done, x);
		return;
	}
	txn_free(t);
	todo_change_done(&c);
	x->result.cause = x->result.error.sym == E_LIMIT ? CAUSE_LIMIT : CAUSE_CONFLICT;
	r->e->ports.commit(r->e->ports.arg,
			   txn_new(refused_done, x)); /* answered after start() has returned */
}
