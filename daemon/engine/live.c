#include "daemon/engine/live.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "common/timeutil.h"
#include "common/xalloc.h"

static const uint8_t shown_state[PHASE_MAX] = {
	[PHASE_WAITING] = OP_WAITING,	      [PHASE_READY] = OP_READY,
	[PHASE_STARTING] = OP_RUNNING,	      [PHASE_RUNNING] = OP_RUNNING,
	[PHASE_STOPPING] = OP_RUNNING,	      [PHASE_BACKOFF] = OP_WAITING,
	[PHASE_SUCCEEDED] = OP_SUCCEEDED,     [PHASE_FAILED] = OP_FAILED,
	[PHASE_SKIPPED] = OP_SKIPPED,	      [PHASE_CANCELLED] = OP_CANCELLED,
	[PHASE_INTERRUPTED] = OP_INTERRUPTED,
};

enum op_state live_op_state(const struct live_op *o)
{
	return shown_state[o->phase];
}

/* Not known to have started, it is still ready; being stopped, it is what it was. */
void live_op_enter(struct live_op *o, enum op_phase phase)
{
	o->phase = (uint8_t)phase;
	if (phase == PHASE_STARTING)
		o->shown = OP_READY;
	else if (phase != PHASE_STOPPING && !op_phase_ended(phase))
		o->shown = shown_state[phase];
}

/* Who waits for whom, turned round: for each op the ops that need it. */
static void live_link_dependants(struct live_run *r)
{
	const struct plan *p = r->plan;
	if (p->n_deps == 0)
		return;
	for (uint32_t i = 0; i < p->n_deps; i++)
		r->rdep_first[p->deps[i].op + 1]++;
	for (uint32_t i = 0; i < p->n_ops; i++)
		r->rdep_first[i + 1] += r->rdep_first[i];
	for (uint32_t i = 0; i < p->n_ops; i++)
		for (uint32_t d = p->ops[i].dep; d < p->ops[i].dep + p->ops[i].ndeps; d++)
			r->rdeps[r->rdep_first[p->deps[d].op]++] = i;
	/* Each has come to where the next begins. */
	memmove(r->rdep_first + 1, r->rdep_first, p->n_ops * sizeof(r->rdep_first[0]));
	r->rdep_first[0] = 0;
}

bool live_is_file(const struct plan_op *op)
{
	return op->kind == KIND_WRITE || op->kind == KIND_EDIT || op->kind == KIND_READ;
}

uint8_t live_stage(const struct plan_op *op)
{
	if (op->ndeps > 0 || op->exclusive)
		return STAGE_REST;
	if (op->kind == KIND_TODOS)
		return STAGE_TODOS;
	return live_is_file(op) ? STAGE_FILES : STAGE_REST;
}

const struct live_try live_no_try = { .duration_ms = -1, .exit = -1 };
static_assert(sizeof(struct live_op) <= 48 && sizeof(struct live_try) <= 72,
	      "a batch has a million of them");

struct live_try *live_try_make(struct live_op *o)
{
	if (!o->try) {
		o->try = xmalloc(sizeof(*o->try));
		*o->try = live_no_try;
	}
	return o->try;
}

static void live_try_free(struct live_op *o)
{
	if (o->try)
		free(o->try->error);
	free(o->try);
	o->try = NULL;
}

void live_forget_try(struct live_op *o)
{
	int64_t spent_ms = live_try(o)->spent_ms;
	live_try_free(o);
	if (spent_ms)
		live_try_make(o)->spent_ms = spent_ms;
	o->signal = o->cause = 0;
}

void live_no_exit(struct live_op *o)
{
	if (o->try)
		o->try->exit = -1;
	o->signal = 0;
}

static void live_init_ops(struct live_run *r)
{
	const struct plan *p = r->plan;
	for (uint32_t i = 0; i < p->n_ops; i++) {
		if (p->ops[i].ndeps)
			r->ops[i].waits = p->ops[i].ndeps;
		struct live_message *m = &r->messages[p->ops[i].message];
		m->left++;
		m->stage_left[live_stage(&p->ops[i])]++;
	}
}

/* What is sized by the batch; -ENOMEM with nothing kept. */
static int live_reserve(struct live_run *r, const struct plan *p)
{
	r->ops = calloc(p->n_ops, sizeof(r->ops[0]));
	r->messages = calloc(p->n_messages, sizeof(r->messages[0]));
	r->rdep_first = calloc((size_t)p->n_ops + 1, sizeof(r->rdep_first[0]));
	r->rdeps = calloc(MAX2(p->n_deps, 1), sizeof(r->rdeps[0]));
	if (r->ops && r->messages && r->rdep_first && r->rdeps)
		return 0;
	free(r->ops);
	free(r->messages);
	free(r->rdep_first);
	free(r->rdeps);
	return -ENOMEM;
}

struct live_run *live_new(char *batch, struct plan *plan)
{
	struct live_run *r = xcalloc(1, sizeof(*r));
	const struct batch_head *h = &plan->head;
	if (live_reserve(r, plan) < 0) {
		free(r);
		return NULL;
	}
	r->batch = batch;
	r->plan = plan;
	r->name = xslicedup(h->name);
	r->key = xslicedup(h->key);
	r->cwd = xslicedup(h->cwd);
	r->group = xslicedup(h->group.p ? h->group : slice_str("default"));
	r->priority = h->priority;
	r->jobs = h->has_jobs ? (uint32_t)h->jobs : UINT32_MAX;
	r->held = h->held;
	r->created = time_wall_ms();
	r->state = h->held ? RUN_PAUSED : RUN_QUEUED;
	r->ready_head = NO_OP;
	r->run_timer = (struct timer){ .kind = TIMER_RUN, .owner = r };
	r->message_timer = (struct timer){ .kind = TIMER_MESSAGE, .owner = r };
	r->begin_timer = (struct timer){ .kind = TIMER_BEGIN, .owner = r };
	r->claims_timer = (struct timer){ .kind = TIMER_CLAIMS, .owner = r };
	r->spacing_timer = (struct timer){ .kind = TIMER_SPACING, .owner = r };
	list_init(&r->dirty);
	list_init(&r->sweep);
	live_init_ops(r);
	live_link_dependants(r);
	r->summary.ops = plan->n_ops;
	return r;
}

void live_join(struct live_run *r, struct engine *e, uint64_t id)
{
	r->e = e;
	r->id = id;
	r->pool = pool_hold(e, r->group);
	HASH_ADD(hh, e->runs, id, sizeof(r->id), r);
}

static void live_leave(struct live_run *r)
{
	struct timers *t = &r->e->timers;
	timer_disarm(t, &r->run_timer);
	timer_disarm(t, &r->message_timer);
	timer_disarm(t, &r->begin_timer);
	timer_disarm(t, &r->claims_timer);
	timer_disarm(t, &r->spacing_timer);
	r->n_ready = 0;
	sched_update(r);
	r->pool->runs -= r->accepted;
	r->pool->n_claimed_idle -= r->n_claimed_idle;
	pool_release(r->e, r->pool);
	list_del(&r->dirty);
	list_del(&r->sweep);
	HASH_DEL(r->e->runs, r);
}

void live_accept(struct live_run *r)
{
	r->accepted = true;
	r->told = r->state;
	r->pool->runs++;
	r->pool->named = true;
}

static void live_free_ops(struct live_run *r)
{
	for (uint32_t i = 0; i < r->plan->n_ops; i++) {
		if (r->ops[i].attempt) {
			timer_disarm(&r->e->timers, &r->ops[i].attempt->timer);
			timer_disarm(&r->e->timers, &r->ops[i].attempt->ready_timer);
			free(r->ops[i].attempt);
		}
		live_try_free(&r->ops[i]);
	}
	free(r->ops);
}

struct live_run *live_free(struct live_run *r)
{
	if (r->e)
		live_leave(r);
	live_free_ops(r);
	for (uint32_t i = 0; i < r->n_drives; i++)
		free(r->drives[i].id);
	free(r->drives);
	free(r->messages);
	free(r->rdep_first);
	free(r->rdeps);
	free(r->claimed);
	free(r->settled.ops);
	free(r->swept.ops);
	history_free(r);
	plan_free(r->plan);
	free(r->batch);
	free(r->name);
	free(r->key);
	free(r->cwd);
	free(r->project);
	free(r->group);
	free(r->list);
	free(r->unmet);
	free(r);
	return NULL;
}

struct live_run *live_find(struct engine *e, uint64_t id)
{
	struct live_run *r;
	HASH_FIND(hh, e->runs, &id, sizeof(id), r);
	return r;
}

struct plan_message *live_message_of(struct live_run *r, uint32_t op)
{
	return &r->plan->messages[r->plan->ops[op].message];
}

/* as-if-serial runs serially until it is built: order_used says so. */
bool live_in_serial(const struct live_run *r, uint32_t op)
{
	return r->plan->messages[r->plan->ops[op].message].m.order != ORDER_PARALLEL;
}

/* It has ended when all its ops are stored. */
static enum op_state message_shown(const struct live_message *m)
{
	if (m->unstored && op_state_ended((enum op_state)m->state))
		return m->begun ? OP_RUNNING : OP_WAITING;
	return (enum op_state)m->state;
}

static void pack_messages(struct live_run *r, bool shown, struct buf *b)
{
	struct pk pk = PK_INIT(b);
	pk_array(&pk);
	for (uint32_t i = 0; i < r->plan->n_messages; i++) {
		pk_map(&pk);
		pk_kint(&pk, "index", i + 1);
		pk_kstr(&pk, "name", r->plan->messages[i].m.name);
		const struct live_message *m = &r->messages[i];
		enum op_state state = shown ? message_shown(m) : (enum op_state)m->state;
		pk_kstr(&pk, "state", slice_str(op_state_names[state]));
		pk_end(&pk);
	}
	pk_end(&pk);
}

void live_pack_messages(struct live_run *r, struct buf *b)
{
	pack_messages(r, false, b);
}

void live_show_messages(struct live_run *r, struct buf *b)
{
	pack_messages(r, true, b);
}

/* Wall time goes on while the run does. */
static int64_t live_wall_ms(const struct live_run *r)
{
	return r->begun_mono_ms ? time_mono_ms() - r->begun_mono_ms : 0;
}

void live_fill_row(struct live_run *r, struct run_row *ret)
{
	const struct batch_head *h = &r->plan->head;
	*ret = (struct run_row){
		.run = r->id,
		.state = r->state,
		.name = r->name,
		.key = r->key,
		.cwd = r->cwd,
		.project = r->project,
		.group = r->group,
		.list = r->list,
		.order = h->order,
		.order_used = h->order == ORDER_AS_IF_SERIAL ? ORDER_SERIAL : h->order,
		.origin = r->origin,
		.parent = r->parent,
		.parent_op = r->parent_op,
		.created = r->created,
		.started = r->started,
		.ended = r->ended,
		.priority = r->priority,
		.n_ops = r->plan->n_ops,
		.n_messages = r->plan->n_messages,
		.meta = h->meta,
		.stopping = (r->cancelled ? RUN_STOPPING_CANCEL : 0) |
			    (r->now ? RUN_STOPPING_NOW : 0) |
			    (r->frozen ? RUN_STOPPING_FROZEN : 0) |
			    (r->thawed ? RUN_STOPPING_THAWED : 0),
	};
	memcpy(ret->digest, r->digest, sizeof(ret->digest));
	ret->summary = r->summary;
	if (!r->ended)
		ret->summary.wall_ms = live_wall_ms(r);
}

static void summary_show(const struct live_run *r, struct run_summary *s)
{
	const struct run_summary *less = &r->unstored;
	s->succeeded -= less->succeeded;
	s->failed -= less->failed;
	s->skipped -= less->skipped;
	s->cancelled -= less->cancelled;
	s->interrupted -= less->interrupted;
	s->serial_ms -= less->serial_ms;
	if (run_state_ended(r->told))
		return;
	s->wall_ms = r->told == RUN_QUEUED ? 0 : live_wall_ms(r);
	s->critical_ms = 0;
}

void live_show_row(struct live_run *r, struct run_row *ret)
{
	live_fill_row(r, ret);
	ret->state = r->told;
	if (!run_state_ended(r->told))
		ret->ended = 0;
	if (r->told == RUN_QUEUED)
		ret->started = 0;
	summary_show(r, &ret->summary);
	history_estimate(r, ret);
}

void live_take_printed(struct engine *e, struct live_op *o, uint64_t token)
{
	int64_t printed[3] = { 0 };
	e->ports.printed(e->ports.arg, token, printed);
	struct live_try *t = live_try_make(o);
	t->stdout_bytes = printed[0];
	t->stderr_bytes = printed[1];
	t->dropped_bytes = printed[2];
}

/* Of an op that is skipped since its run cannot begin, the run that is to blame. */
static const char *live_op_error(const struct live_run *r, const struct live_op *o)
{
	const char *error = live_try(o)->error;
	return error || o->cause != CAUSE_DEPENDENCY ? error : r->unmet;
}

void live_fill_op(struct live_run *r, uint32_t op, struct buf *text, struct op_row *ret)
{
	const struct live_op *o = &r->ops[op];
	const struct live_try *t = live_try(o);
	struct batch_op spec;
	plan_op_decode(r->plan, op, &spec);
	buf_clear(text);
	struct slice id = plan_op_id(r->plan, op);
	buf_addslice(text, id);
	buf_addc(text, '\0');
	size_t text_at = text->len;
	batch_op_text(&spec, text);
	buf_addc(text, '\0');
	size_t todo_at = text->len;
	buf_addslice(text, spec.todo);
	buf_addc(text, '\0');
	size_t description_at = text->len;
	buf_addslice(text, spec.description);
	const char *base = buf_str(text);
	*ret = (struct op_row){
		.run = r->id,
		.op = op + 1,
		.message = r->plan->ops[op].message + 1,
		.id = id.len ? base : NULL,
		.kind = spec.kind,
		.text = base + text_at,
		.state = shown_state[o->phase],
		.cause = o->cause,
		.exit = t->exit,
		.signal = o->signal,
		.attempts = o->attempts,
		.pid = t->pid,
		.started = t->started,
		.ended = t->ended,
		.duration_ms = t->duration_ms,
		.stdout_bytes = t->stdout_bytes,
		.stderr_bytes = t->stderr_bytes,
		.dropped_bytes = t->dropped_bytes,
		.lingering = t->lingering,
		.todo = spec.todo.p ? base + todo_at : NULL,
		.error = live_op_error(r, o),
		.description = spec.description.p ? base + description_at : NULL,
		.meta = spec.meta,
		.cmd = history_cmd(r, op, &spec),
	};
}

/* Nor is anything said of how an earlier try went. */
void live_show_op(struct live_run *r, uint32_t op, struct buf *text, struct op_row *ret)
{
	enum op_state shown = (enum op_state)r->ops[op].shown;
	live_fill_op(r, op, text, ret);
	if (op_state_ended(shown))
		return;
	ret->state = shown;
	ret->cause = CAUSE_NONE;
	ret->exit = -1;
	ret->signal = 0;
	ret->ended = 0;
	ret->duration_ms = -1;
	ret->stdout_bytes = ret->stderr_bytes = ret->dropped_bytes = 0;
	ret->lingering = 0;
	ret->error = NULL;
	if (shown == OP_RUNNING)
		return;
	ret->pid = 0;
	ret->started = 0;
	/* Its next try is counted when it is known to have started. */
	enum op_phase phase = (enum op_phase)r->ops[op].phase;
	if (shown == OP_READY && (phase == PHASE_STARTING || phase == PHASE_STOPPING))
		ret->attempts--;
}

static void pack_plan_op(const struct live_run *r, struct pk *pk, uint32_t op, struct buf *text)
{
	struct batch_op spec;
	plan_op_decode(r->plan, op, &spec);
	buf_clear(text);
	batch_op_text(&spec, text);
	pk_map(pk);
	pk_kint(pk, "index", op + 1);
	pk_kstr(pk, "id", spec.id);
	pk_kstr(pk, "kind", slice_str(op_kind_names[spec.kind]));
	pk_kstr(pk, "text", buf_slice(text));
	pk_end(pk);
}

/* What would be done, as an array of messages: as many ops as fit three quarters of a reply, and as
 * many messages as fit the rest. */
void live_pack_plan(const struct live_run *r, struct pk *pk, struct buf *text)
{
	const size_t room = LIMIT_REPLY_BYTES / 4;
	pk_array(pk);
	for (uint32_t i = 0; i < r->plan->n_messages && pk->b->len < 4 * room - room / 8; i++) {
		const struct plan_message *pm = &r->plan->messages[i];
		pk_map(pk);
		pk_kint(pk, "index", i + 1);
		pk_kstr(pk, "name", pm->m.name);
		pk_kstr(pk, "order", slice_str(batch_order_names[pm->m.order]));
		pk_kint(pk, "count", pm->count);
		pk_key(pk, "ops");
		pk_array(pk);
		uint32_t end = MIN2(pm->first + pm->count, LIMIT_PLAN_OPS);
		for (uint32_t op = pm->first; op < end && pk->b->len < 3 * room; op++)
			pack_plan_op(r, pk, op, text);
		pk_end(pk);
		pk_end(pk);
	}
	pk_end(pk);
}
