#include <signal.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"

#define REV_RESERVE 10000
/* How long what nobody waits for may wait for company in its commit. */
#define LINGER_MS 25

/* A result is stored after what it made of a todo: with the result stored nobody would make that
 * move again. */
static void turn_commit(struct engine *e, struct turn *t)
{
	if (drive_is_open(e, t->moves))
		e->held = t;
	else
		e->ports.commit(e->ports.arg, t->txn);
}

void turn_unhold(struct engine *e)
{
	struct turn *t = e->held;
	e->held = NULL;
	if (t)
		turn_commit(e, t);
}

/* Storing failed: running ops go on, results are kept here and offered again until they are taken.
 */
void turn_retry(struct engine *e)
{
	struct turn *t = e->failed;
	e->failed = NULL;
	drive_retry(e);
	if (t)
		turn_commit(e, t);
	else
		turn_unhold(e); /* a move may have come to nothing */
}

bool engine_is_behind(const struct engine *e)
{
	return e->failed;
}

void engine_offer_again(struct engine *e)
{
	turn_retry(e);
}

static void turn_free(struct turn *t)
{
	free(t->posts);
	free(t);
}

void turn_drop(struct engine *e)
{
	struct turn *turns[] = { e->turn, e->failed, e->held };
	for (size_t i = 0; i < ARRAY_SIZE(turns); i++) {
		if (!turns[i])
			continue;
		txn_free(turns[i]->txn);
		turn_free(turns[i]);
	}
}

static void turn_fail_its_answers(struct turn *t, const struct err *err)
{
	for (size_t i = 0; t && i < t->n_posts; i++) {
		struct post *p = &t->posts[i];
		engine_todo_fn answer = p->kind == POST_ANSWER ? p->answer : NULL;
		if (!answer)
			continue;
		p->answer = NULL;
		answer(p->arg, err);
	}
}

void turn_fail_answers(struct engine *e, const struct err *err)
{
	turn_fail_its_answers(e->failed, err);
	turn_fail_its_answers(e->held, err);
	turn_fail_its_answers(e->turn, err);
}

void turn_in_trouble(struct engine *e, const struct err *err)
{
	trouble_say(TROUBLE_STORE, 3 * STORE_RETRY_MS,
		    "results are kept in memory until they can be stored: %s", err->text);
	if (!e->in_trouble)
		log_error("results are kept in memory until they can be stored: %s", err->text);
	e->in_trouble = true;
}

void turn_out_of_trouble(struct engine *e)
{
	if (e->in_trouble) {
		trouble_over(TROUBLE_STORE);
		log_info("results can be stored again");
	}
	e->in_trouble = false;
}

static void turn_keep(struct turn *t, const struct err *err)
{
	struct engine *e = t->e;
	turn_in_trouble(e, err);
	e->failed = t;
	txn_keep(t->txn);
	turn_fail_answers(e, err);
	turn_retry_later(e);
}

void turn_retry_later(struct engine *e)
{
	if (!e->retry_timer.pos)
		timer_arm(&e->timers, &e->retry_timer, e->now_ms + STORE_RETRY_MS);
}

static void turn_event(struct engine *e, struct event *ev)
{
	ev->rev = ++e->rev;
	ev->time = time_wall_ms();
	e->ports.event(e->ports.arg, ev);
}

void turn_emit_op(struct live_run *r, uint32_t op)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	const struct engine_ports *ports = &r->e->ports;
	struct op_row row;
	if (ports->op_heard && !ports->op_heard(ports->arg, r->id)) {
		r->e->rev++;
		return;
	}
	live_show_op(r, op, &text, &row);
	turn_event(r->e, &(struct event){ .type = EVENT_OP_STATE, .run = r->id, .op = &row });
}

void turn_emit_run(struct live_run *r)
{
	_cleanup_buf_ struct buf messages = BUF_INIT;
	struct run_row row;
	live_show_row(r, &row);
	live_show_messages(r, &messages);
	row.messages = buf_slice(&messages);
	turn_event(r->e, &(struct event){ .type = EVENT_RUN_STATE, .run = r->id, .row = &row });
}

void turn_emit_todo(struct engine *e, const struct todo_change *c)
{
	turn_event(e, &(struct event){ .type = EVENT_TODO_CHANGED,
				       .run = c->run,
				       .list = c->list,
				       .todo_rev = c->rev,
				       .before = buf_slice(&c->before),
				       .after = buf_slice(&c->after) });
}

static void turn_run_gone(struct live_run *r)
{
	struct engine *e = r->e;
	uint64_t id = r->id;
	enum run_state state = r->told = r->state;
	turn_emit_run(r);
	live_free(r);
	e->ports.run_done(e->ports.arg, id);
	accept_run_ended(e, id, state);
}

/* What is on its way to the store of an op that has settled (by 1), or has come there (by -1). */
static void op_unstored(struct live_run *r, uint32_t op, int by)
{
	uint32_t d = (uint32_t)by;
	r->messages[r->plan->ops[op].message].unstored += d;
	outcome_count(&r->unstored, r, op, by);
	r->n_files_unstored += live_is_file(&r->plan->ops[op]) ? d : 0;
}

static void turn_op_stored(struct live_run *r, uint32_t op)
{
	op_unstored(r, op, -1);
	r->ops[op].shown = (uint8_t)live_op_state(&r->ops[op]);
	turn_emit_op(r, op);
	if (live_is_file(&r->plan->ops[op]) && r->n_files_unstored == 0)
		sched_update(r);
}

static void turn_run_stored(struct live_run *r, enum run_state state)
{
	r->n_telling--;
	r->told = state;
	/* No sooner: a batchd that did not know of it would never have them go on. */
	if (state == RUN_PAUSED && r->frozen)
		flow_signal_run(r, SIGSTOP);
	turn_emit_run(r);
}

static void turn_deliver(struct engine *e, const struct post *p)
{
	struct live_run *r = p->kind == POST_ACK ? NULL : live_find(e, p->id);
	switch (p->kind) {
	case POST_ACK:
		e->ports.ack(e->ports.arg, p->id);
		break;
	case POST_OP:
		if (r)
			turn_op_stored(r, p->op);
		break;
	case POST_RUN:
		if (r)
			turn_run_stored(r, p->state);
		break;
	case POST_CLAIM:
		if (r)
			claims_durable(r, p->op);
		break;
	case POST_GONE:
		if (r)
			turn_run_gone(r);
		break;
	case POST_CALL:
		p->fn(p->arg);
		break;
	case POST_ANSWER:
		if (p->answer)
			p->answer(p->arg, NULL);
		break;
	}
}

static void turn_done(void *arg, enum txn_status status, uint64_t existing, const struct err *err)
{
	struct turn *t = arg;
	(void)existing;
	if (status != TXN_DONE) {
		turn_keep(t, err);
		return;
	}
	struct engine *e = t->e;
	turn_out_of_trouble(e);
	e->committing = false;
	for (size_t i = 0; i < t->n_posts; i++)
		turn_deliver(e, &t->posts[i]);
	turn_free(t);
	sched_run(e);
}

static struct turn *turn_now(struct engine *e)
{
	if (!e->turn) {
		e->turn = xcalloc(1, sizeof(*e->turn));
		e->turn->e = e;
		e->turn->txn = txn_new(turn_done, e->turn);
		e->turn->due_ms = e->now_ms + LINGER_MS;
	}
	return e->turn;
}

struct txn *turn_txn(struct engine *e)
{
	turn_now(e)->hurry = true;
	return e->turn->txn;
}

struct txn *turn_txn_later(struct engine *e)
{
	return turn_now(e)->txn;
}

static struct post *turn_add_post(struct engine *e)
{
	struct turn *t = turn_now(e);
	if (t->n_posts == t->cap_posts) {
		t->cap_posts = t->cap_posts ? t->cap_posts * 2 : 16;
		t->posts = xrealloc(t->posts, t->cap_posts, sizeof(t->posts[0]));
	}
	return &t->posts[t->n_posts++];
}

void turn_post(struct engine *e, enum post_kind kind, uint64_t id, uint32_t op)
{
	*turn_add_post(e) = (struct post){ .kind = kind, .id = id, .op = op };
}

void turn_hurry(struct engine *e)
{
	if (e->turn)
		e->turn->hurry = true;
}

void turn_tell_run(struct live_run *r)
{
	r->n_telling++;
	*turn_add_post(r->e) = (struct post){ .kind = POST_RUN, .id = r->id, .state = r->state };
	turn_hurry(r->e);
}

void engine_after(struct engine *e, void (*fn)(void *arg), void *arg)
{
	*turn_add_post(e) = (struct post){ .kind = POST_CALL, .fn = fn, .arg = arg };
	turn_hurry(e);
}

void engine_answer_after(struct engine *e, engine_todo_fn fn, void *arg)
{
	*turn_add_post(e) = (struct post){ .kind = POST_ANSWER, .answer = fn, .arg = arg };
	turn_hurry(e);
}

void turn_store_op(struct live_run *r, uint32_t op)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct op_row row;
	live_fill_op(r, op, &text, &row);
	bool lingers = r->plan->ops[op].kind != KIND_TODOS;
	txn_op(lingers ? turn_txn_later(r->e) : turn_txn(r->e), &row);
	turn_post(r->e, POST_OP, r->id, op);
	op_unstored(r, op, 1);
}

void turn_store_going(struct live_run *r, uint32_t op, enum op_cause stop)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct op_row row;
	live_fill_op(r, op, &text, &row);
	row.cause = stop;
	if (r->ops[op].shown != OP_RUNNING) /* these are an earlier try's */
		row.started = row.pid = 0;
	txn_op(turn_txn_later(r->e), &row);
	r->ops[op].kept = 1;
}

static void store_run(struct live_run *r, struct txn *t)
{
	_cleanup_buf_ struct buf messages = BUF_INIT;
	struct run_row row;
	live_fill_row(r, &row);
	live_pack_messages(r, &messages);
	row.messages = buf_slice(&messages);
	row.meta = SLICE_NONE; /* it does not change, and may be long */
	txn_run_update(t, &row);
}

void turn_store_run(struct live_run *r)
{
	store_run(r, turn_txn(r->e));
}

void turn_store_run_later(struct live_run *r)
{
	store_run(r, turn_txn_later(r->e));
}

/*
 * One turn's transaction is on its way at a time; what happens meanwhile gathers in the next. So
 * records reach the store in order also when it was in trouble, and the busier it gets the more
 * shares one commit.
 */
void engine_flush(struct engine *e)
{
	claims_flush(e);
	drive_arm_leases(e);
	if (!e->turn || e->committing)
		return;
	struct turn *t = e->turn;
	if (e->rev + REV_RESERVE / 2 > e->rev_stored) {
		e->rev_stored = e->rev + REV_RESERVE;
		txn_rev(t->txn, e->rev_stored);
	}
	e->turn = NULL;
	e->committing = true;
	e->sweep_left = SWEEP_PER_TURN;
	t->moves = e->moves.made;
	turn_commit(e, t);
}

void engine_flush_due(struct engine *e)
{
	const struct turn *t = e->turn;
	bool full = e->sweep_left == 0;
	if (!t || e->committing || t->hurry || full || e->now_ms >= t->due_ms) {
		engine_flush(e);
		return;
	}
	drive_arm_leases(e);
	if (!e->linger_timer.pos)
		timer_arm(&e->timers, &e->linger_timer, t->due_ms);
}
