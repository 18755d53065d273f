/*
 * The engine's public face: what rpc asks for, what executors report, what is due. The flow itself
 * is in flow.c.
 */
#include "daemon/engine/engine.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "common/log.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"
#include "proto/errors.h"
#include "proto/mp.h"

/* How far the wall clock is ahead of one that nobody sets. */
static int64_t engine_wall_ahead_ms(void)
{
	return time_wall_ms() - time_boot_ns() / 1000000;
}

struct engine *engine_new(const struct engine_config *config, const struct engine_ports *ports,
			  uint64_t next_run, int64_t rev)
{
	struct engine *e = xcalloc(1, sizeof(*e));
	e->config = *config;
	e->ports = *ports;
	e->next_run = next_run;
	e->rev = e->rev_stored = rev;
	e->todos = todos_new();
	e->wall_ahead_ms = engine_wall_ahead_ms();
	e->now_ms = time_mono_ms();
	e->retry_timer = (struct timer){ .kind = TIMER_ENGINE, .owner = e };
	e->busy_timer = (struct timer){ .kind = TIMER_ENGINE, .owner = e };
	e->lease_timer = (struct timer){ .kind = TIMER_ENGINE, .owner = e };
	e->linger_timer = (struct timer){ .kind = TIMER_ENGINE, .owner = e };
	e->lease_at = INT64_MAX;
	list_init(&e->moves.waiting);
	list_init(&e->moves.open);
	list_init(&e->writes.waiters);
	list_init(&e->dirty);
	list_init(&e->sweeping);
	e->sweep_left = SWEEP_PER_TURN;
	list_init(&e->back);
	engine_reconfigure(e, config);
	return e;
}

struct engine *engine_free(struct engine *e)
{
	struct live_run *r, *next;
	if (!e)
		return NULL;
	HASH_ITER(hh, e->runs, r, next)
	live_free(r);
	pools_free(e);
	drive_free(e);
	turn_drop(e);
	todo_writes_drop(e);
	lend_list_free(&e->back);
	todos_free(e->todos);
	timers_done(&e->timers);
	free(e);
	return NULL;
}

/* --- looking --- */

bool engine_run_row(struct engine *e, uint64_t run, struct run_row *ret)
{
	struct live_run *r = live_find(e, run);
	if (!r || !r->accepted)
		return false;
	live_show_row(r, ret);
	return true;
}

bool engine_run_ends(struct engine *e, uint64_t run)
{
	struct live_run *r = live_find(e, run);
	return r && r->end_sent;
}

bool engine_run_messages(struct engine *e, uint64_t run, struct buf *b)
{
	struct live_run *r = live_find(e, run);
	if (!r || !r->accepted)
		return false;
	live_show_messages(r, b);
	return true;
}

bool engine_op_row(struct engine *e, uint64_t run, uint32_t op, struct buf *text,
		   struct op_row *ret)
{
	struct live_run *r = live_find(e, run);
	if (!r || op == 0 || op > r->plan->n_ops)
		return false;
	live_show_op(r, op - 1, text, ret);
	return true;
}

uint32_t engine_op_find(struct engine *e, uint64_t run, struct slice id)
{
	struct live_run *r = live_find(e, run);
	uint32_t op = r ? plan_find(r->plan, id) : NO_OP;
	return op == NO_OP ? 0 : op + 1;
}

bool engine_op_at_work(struct engine *e, uint64_t run, uint32_t op)
{
	struct live_run *r = live_find(e, run);
	if (!r || op < 1 || op > r->plan->n_ops)
		return false;
	successor_begun(e, token_make(run, op, 1)); /* who asks for it is it */
	return op_busy(&r->ops[op - 1]);
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

void engine_live_runs(struct engine *e, struct buf *ids)
{
	struct live_run *r, *next;
	HASH_ITER(hh, e->runs, r, next)
	if (r->accepted)
		buf_add(ids, &r->id, sizeof(r->id));
	if (ids->len)
		qsort(ids->p, ids->len / sizeof(uint64_t), sizeof(uint64_t), by_id);
}

uint32_t engine_running_ops(struct engine *e)
{
	return e->running;
}

int64_t engine_rev(struct engine *e)
{
	return e->rev;
}

int engine_todos_check(struct engine *e, struct err *err)
{
	if (!e->todos_lost)
		return 0;
	e->todos_lost = false; /* loading calls engine_todos */
	e->todos_lost = e->ports.todos_reload(e->ports.arg, err) != 0;
	return e->todos_lost;
}

/* Less than a second: somebody keeps it right. */
static void engine_see_to_clock(struct engine *e)
{
	int64_t ahead = engine_wall_ahead_ms();
	if (llabs(ahead - e->wall_ahead_ms - e->wall_set_by_ms) >= 1000)
		e->wall_set_by_ms = ahead - e->wall_ahead_ms;
	todos_clock_was_set(e->todos, e->wall_set_by_ms);
}

struct todos *engine_todos(struct engine *e)
{
	struct err err;
	engine_see_to_clock(e);
	if (engine_todos_check(e, &err))
		log_debug("todo lists cannot be loaded: %s", err.text);
	return e->todos;
}

/* --- acting --- */

static struct live_run *find_live(struct engine *e, uint64_t run, struct err *err)
{
	struct live_run *r = live_find(e, run);
	if (r && r->accepted && !r->end_sent)
		return r;
	err_set(err, E_STATE, "run %" PRIu64 " has ended", run);
	return NULL;
}

static int cancel_op(struct live_run *r, const struct engine_cancel *c, struct err *err)
{
	if (c->op > r->plan->n_ops)
		return err_set(err, E_NOT_FOUND, "run %" PRIu64 " has no op %u: it has %u", r->id,
			       c->op, r->plan->n_ops);
	struct live_op *o = &r->ops[c->op - 1];
	if (op_phase_ended(o->phase))
		return err_set(err, E_STATE, "op %" PRIu64 ".%u has ended (%s)", r->id, c->op,
			       op_state_names[live_op_state(o)]);
	if (c->signal && op_busy(o)) /* it may be at work before we hear of it */
		r->e->ports.signal(r->e->ports.arg, token_make(r->id, c->op, o->attempts),
				   c->signal);
	else if (c->signal)
		return err_set(err, E_STATE,
			       "op %" PRIu64 ".%u is not running: there is nothing to signal",
			       r->id, c->op);
	else
		flow_input(r, c->op - 1, INPUT_CANCEL, CAUSE_CANCEL);
	return 0;
}

int engine_cancel(struct engine *e, const struct engine_cancel *c, struct err *err)
{
	struct live_run *r = find_live(e, c->run, err);
	if (!r)
		return 1;
	e->now_ms = time_mono_ms();
	int64_t grace_ms = e->config.grace_ms;
	if (c->grace_ms >= 0)
		e->config.grace_ms = c->grace_ms;
	int bad = 0;
	if (c->op)
		bad = cancel_op(r, c, err);
	else if (c->signal)
		flow_signal_run(r, c->signal);
	else
		flow_cancel_run(r, c->now);
	e->config.grace_ms = grace_ms;
	sched_run(e);
	return bad;
}

int engine_pause(struct engine *e, uint64_t run, bool freeze, struct err *err)
{
	struct live_run *r = find_live(e, run, err);
	if (!r)
		return 1;
	r->paused = true;
	successor_recall(r);
	r->frozen = r->frozen || freeze; /* its ops are stopped when that is stored */
	r->thawed = r->thawed && !r->frozen;
	r->state = RUN_PAUSED;
	sched_update(r);
	turn_store_run(r);
	turn_tell_run(r);
	return 0;
}

int engine_resume(struct engine *e, uint64_t run, struct err *err)
{
	struct live_run *r = find_live(e, run, err);
	if (!r)
		return 1;
	if (!r->paused && !r->held)
		return err_set(err, E_STATE, "run %" PRIu64 " is not paused", run);
	r->paused = r->held = false;
	flow_thaw(r);
	r->state = r->started ? RUN_RUNNING : RUN_QUEUED;
	sched_update(r);
	turn_store_run(r);
	turn_tell_run(r);
	accept_begin(r);
	sched_run(e);
	return 0;
}

void engine_stop_starting(struct engine *e)
{
	e->no_starts = true;
}

void engine_leave(struct engine *e)
{
	struct live_run *r, *next;
	engine_stop_starting(e);
	HASH_ITER(hh, e->runs, r, next)
	claims_give_back(r);
}

/* --- what happened --- */

static bool find_op(struct engine *e, uint64_t token, struct live_run **ret_run, uint32_t *ret_op)
{
	struct live_run *r = live_find(e, token_run(token));
	uint32_t op = token_op(token);
	if (!r || op == 0 || op > r->plan->n_ops)
		return false;
	*ret_run = r;
	*ret_op = op - 1;
	return true;
}

static struct live_run *find_attempt(struct engine *e, uint64_t token, uint32_t *ret_op)
{
	struct live_run *r;
	return find_op(e, token, &r, ret_op) && r->ops[*ret_op].attempts == token_attempt(token)
		       ? r
		       : NULL;
}

void engine_op_started(struct engine *e, uint64_t token, int32_t pid, int64_t wall_ms)
{
	uint32_t op;
	successor_begun(e, token);
	struct live_run *r = find_attempt(e, token, &op);
	if (!r)
		return;
	struct live_try *t = live_try_make(&r->ops[op]);
	t->pid = pid;
	t->started = wall_ms;
	if (r->frozen && r->told == RUN_PAUSED) /* it was on its way when the run was frozen */
		e->ports.signal(e->ports.arg, token, SIGSTOP);
	flow_input(r, op, INPUT_STARTED, CAUSE_NONE);
}

void engine_op_ready(struct engine *e, uint64_t token)
{
	uint32_t op;
	struct live_run *r = find_attempt(e, token, &op);
	e->now_ms = time_mono_ms();
	if (!r || r->ops[op].phase != PHASE_RUNNING)
		return;
	service_unwatch(r, op);
	flow_serve(r, op);
	sched_run(e);
}

static bool exit_is_good(struct slice ok_exits, int code)
{
	if (!ok_exits.p)
		return code == 0;
	struct mp m = mp_of(ok_exits);
	struct mp_value array = mp_next(&m);
	for (uint32_t i = 0; i < array.count; i++) {
		struct mp_value v = mp_next(&m);
		if (v.type == MP_FLOAT ? v.f == code : v.i == code)
			return true;
	}
	return false;
}

/* Whoever made the error: what was given by outsiders may be in it. */
static char *one_line(const struct err *err)
{
	struct buf b = BUF_INIT;
	if (!err->text[0])
		return NULL;
	text_one_line(&b, slice_str(err->text), 4 * sizeof(err->text));
	return buf_steal(&b);
}

/* Who knows how it ended does not know what it printed; what the log has is told, and that it may
 * not be all. */
static void take_unread(struct engine *e, struct live_op *o, const struct exec_result *x)
{
	live_take_printed(e, o, x->token);
	free(o->try->error);
	o->try->error = xasprintf("output may be missing: %s", x->unread);
}

static void take_facts(struct engine *e, struct live_op *o, const struct exec_result *x)
{
	struct live_try *t = live_try_make(o);
	if (x->pid)
		t->pid = x->pid;
	if (x->started)
		t->started = x->started;
	t->ended = x->ended ? x->ended : time_wall_ms();
	t->duration_ms =
		x->lost ? -1 : x->duration_ms; /* it ended some time before it was missed */
	t->spent_ms += MAX2(t->duration_ms, 0);
	t->stdout_bytes = x->stdout_bytes;
	t->stderr_bytes = x->stderr_bytes;
	t->dropped_bytes = x->dropped_bytes;
	t->lingering = (uint16_t)MIN2(x->lingering, (uint32_t)UINT16_MAX);
	live_no_exit(o);
	free(t->error);
	t->error = one_line(&x->error);
	if (x->unread)
		take_unread(e, o, x);
}

/* "cannot enter '/data': permission denied": which step of starting failed, on what, and why. */
static char *start_error(const struct live_run *r, const struct batch_op *spec,
			 const struct exec_result *x)
{
	static const struct {
		const char *step, *text;
	} steps[] = { { "chdir", "enter" }, { "exec", "run" }, { "stdin", "open stdin" } };
	struct slice what = SLICE_NONE;
	_cleanup_buf_ struct buf b = BUF_INIT;
	const char *verb = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (strcmp(x->start_step, steps[i].step) == 0)
			verb = steps[i].text;
	if (strcmp(x->start_step, "chdir") == 0)
		what = spec->cwd.p ? spec->cwd : slice_str(r->cwd);
	else if (strcmp(x->start_step, "exec") == 0)
		what = start_program(r, spec);
	else if (strcmp(x->start_step, "stdin") == 0)
		what = spec->stdin_file;
	if (strcmp(x->start_step, "environment") == 0 && x->start_errno == EBADMSG) {
		buf_addf(&b,
			 "cannot start: its environment in '%s/%" PRIu64
			 ".env' is damaged: submit it again",
			 r->e->config.runs_dir, r->id);
		return buf_steal(&b);
	}
	if (verb)
		buf_addf(&b, "cannot %s '", verb);
	else
		buf_addf(&b, "cannot start: %s", x->start_step);
	if (verb) {
		text_one_line(&b, what, 200);
		buf_addc(&b, '\'');
	}
	buf_adds(&b, ": ");
	size_t at = b.len;
	buf_adds(&b, strerror(x->start_errno));
	b.p[at] = (char)tolower((unsigned char)b.p[at]);
	return buf_steal(&b);
}

/* Which words describe the end, apart from what we did to it. */
static enum op_cause result_cause(const struct live_run *r, struct live_op *o,
				  const struct batch_op *spec, const struct exec_result *x)
{
	if (x->is_file_op)
		return (enum op_cause)x->cause;
	if (x->start_errno) {
		if (!o->try->error)
			o->try->error = start_error(r, spec, x);
		return CAUSE_START;
	}
	if (WIFSIGNALED(x->wait_status)) {
		o->signal = (uint8_t)WTERMSIG(x->wait_status);
		return CAUSE_SIGNAL;
	}
	o->try->exit = (int16_t)WEXITSTATUS(x->wait_status);
	return exit_is_good(spec->ok_exits, o->try->exit) ? CAUSE_NONE : CAUSE_EXIT;
}

/* Past the timeout of its message or run nothing is tried again; clean-up is, unless that is over
 * too. */
static enum op_input bad_input(const struct live_run *r, uint32_t op, const struct batch_op *spec)
{
	uint32_t message = r->plan->ops[op].message;
	bool over = r->messages[message].timed_out || !flow_message_wanted(r, message);
	return r->ops[op].attempts <= spec->retries && !over ? INPUT_BAD_RETRY : INPUT_BAD;
}

static void op_ended(struct live_run *r, uint32_t op, const struct exec_result *x)
{
	struct live_op *o = &r->ops[op];
	struct batch_op spec;
	enum op_cause stop = (enum op_cause)o->stop_cause;
	plan_op_decode(r->plan, op, &spec);
	take_facts(r->e, o, x);
	if (x->lost) {
		flow_input(r, op, INPUT_LOST, CAUSE_LOST);
		return;
	}
	enum op_cause cause = result_cause(r, o, &spec, x);
	if (service_unready(r, op, &spec) && !o->try->error &&
	    (stop == CAUSE_NONE || stop == CAUSE_TIMEOUT))
		o->try->error =
			xstrdup(stop ? "it was not ready in time" : "it ended before it was ready");
	if (x->is_file_op && cause == CAUSE_NONE)
		flow_input(r, op, INPUT_GOOD, CAUSE_NONE);
	else if (stop == CAUSE_TIMEOUT) {
		o->try->exit = -1;
		flow_input(r, op, bad_input(r, op, &spec), CAUSE_TIMEOUT);
	} else if (stop == CAUSE_OVER)
		flow_input(r, op, INPUT_GOOD, CAUSE_NONE);
	else if (stop != CAUSE_NONE)
		flow_input(r, op, INPUT_STOPPED, stop);
	else if (cause == CAUSE_NONE && service_unready(r, op, &spec))
		flow_input(r, op, bad_input(r, op, &spec), CAUSE_EXIT);
	else if (cause == CAUSE_NONE)
		flow_input(r, op, INPUT_GOOD, CAUSE_NONE);
	else
		flow_input(r, op, bad_input(r, op, &spec), cause);
}

/* The end of a try that was not stored before the next had begun, and then batchd ended. */
static void earlier_ended(struct live_run *r, uint32_t op, const struct exec_result *x)
{
	struct live_op *o = &r->ops[op], now = *o;
	struct batch_op spec;
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct op_row row;
	plan_op_decode(r->plan, op, &spec);
	o->try = NULL; /* that of the present one stays */
	*live_try_make(o) = *live_try(&now);
	o->try->error = NULL;
	o->attempts = (uint16_t)token_attempt(x->token);
	take_facts(r->e, o, x);
	o->cause = (uint8_t)(x->lost ? CAUSE_LOST : result_cause(r, o, &spec, x));
	if (!x->lost && (x->note & STOP_CAUSE) == CAUSE_TIMEOUT) { /* as op_ended would have it */
		o->cause = CAUSE_TIMEOUT;
		o->try->exit = -1;
	}
	live_fill_op(r, op, &text, &row);
	row.state = x->lost ? OP_INTERRUPTED : OP_FAILED;
	txn_attempt(turn_txn(r->e), &row);
	struct live_try *ended = o->try;
	*o = now;
	if (!op_phase_ended(o->phase)) /* else it is counted already */
		live_try_make(o)->spent_ms = ended->spent_ms;
	free(ended->error);
	free(ended);
}

void engine_op_ended(struct engine *e, const struct exec_result *x)
{
	uint32_t op;
	e->now_ms = time_mono_ms();
	successor_begun(e, x->token);
	struct live_run *r = find_attempt(e, x->token, &op);
	e->busy = false;
	if (!r && find_op(e, x->token, &r, &op) && token_attempt(x->token) < r->ops[op].attempts) {
		earlier_ended(r, op, x);
		turn_post(e, POST_ACK, x->token, 0);
		return;
	}
	if (!r || !op_busy(&r->ops[op])) { /* stored before: its acknowledgement got lost */
		e->ports.ack(e->ports.arg, x->token);
		return;
	}
	op_ended(r, op, x);
	if (!x->is_file_op)
		turn_post(e, POST_ACK, x->token, 0);
	sched_run(e);
}

void engine_op_busy(struct engine *e, uint64_t token)
{
	uint32_t op;
	if (successor_back(e, token)) {
		sched_run(e);
		return;
	}
	struct live_run *r = find_attempt(e, token, &op);
	if (!r)
		return;
	e->busy = true;
	timer_arm(&e->timers, &e->busy_timer, time_mono_ms() + 1000);
	flow_busy(r, op);
}

void engine_op_output(struct engine *e, uint64_t token)
{
	struct event ev = {
		.type = EVENT_OP_OUTPUT,
		.rev = ++e->rev,
		.time = time_wall_ms(),
		.run = token_run(token),
		.output_op = token_op(token),
		.output_attempt = token_attempt(token),
	};
	e->ports.event(e->ports.arg, &ev);
}

/* --- what is due --- */

int64_t engine_deadline(struct engine *e)
{
	struct timer *t = timers_first(&e->timers);
	if (!list_empty(&e->sweeping) && e->sweep_left > 0)
		return e->now_ms;
	return t ? t->at_ms : INT64_MAX;
}

static void due_op(struct attempt *a)
{
	struct live_run *r = a->run;
	if (r->ops[a->op].phase == PHASE_BACKOFF)
		flow_input(r, a->op, INPUT_DUE, CAUSE_NONE);
	else if (r->ops[a->op].phase == PHASE_WAITING)
		flow_delay_over(r, a->op);
	else
		flow_input(r, a->op, INPUT_TIMEOUT, CAUSE_TIMEOUT);
}

static void due_ready(struct attempt *a)
{
	flow_input(a->run, a->op, INPUT_TIMEOUT, CAUSE_TIMEOUT);
}

static void due_engine(struct engine *e, struct timer *t)
{
	if (t == &e->retry_timer)
		turn_retry(e);
	else if (t == &e->lease_timer)
		drive_end_leases(e);
	else if (t == &e->busy_timer)
		e->busy = false;
	/* that of what lingers only has engine_flush_due called */
}

static void timer_due(struct engine *e, struct timer *t)
{
	switch (t->kind) {
	case TIMER_OP:
		due_op(t->owner);
		break;
	case TIMER_READY:
		due_ready(t->owner);
		break;
	case TIMER_MESSAGE:
		flow_message_timeout(t->owner);
		break;
	case TIMER_RUN:
		flow_run_timeout(t->owner);
		break;
	case TIMER_BEGIN:
		accept_begin(t->owner);
		break;
	case TIMER_CLAIMS:
		claims_withdraw(t->owner);
		break;
	case TIMER_SPACING:
		sched_spaced(t->owner);
		break;
	case TIMER_ENGINE:
		due_engine(e, t);
		break;
	}
}

void engine_tick(struct engine *e, int64_t now_mono_ms)
{
	struct timer *t;
	e->now_ms = now_mono_ms;
	while ((t = timers_first(&e->timers)) && t->at_ms <= now_mono_ms) {
		timer_disarm(&e->timers, t);
		timer_due(e, t);
	}
	flow_sweep(e);
	sched_run(e);
}
