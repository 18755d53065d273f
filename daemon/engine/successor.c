/*
 * What comes next in a chain is handed to the executor together with the op it waits for, to be
 * begun there in the moment that one has ended well: no answer goes to and fro in between. To
 * everybody else it waits as ever, until its turn has come or the executor says that it has begun.
 *
 * A few of a run, and only where nothing else could be done with the slots: its claim is durable,
 * it waits for this one op, and no other op of the run or of the pool is ready. What would end it
 * (a cancel, a timeout) or hold it back (a pause) has it recalled first; the executor's answer,
 * busy or started, says whether it had begun.
 */
#include <string.h>

#include "daemon/engine/live.h"

/* Does it end well with status 0, and so for the executor as for us? */
static bool ends_with_0(const struct live_run *r, uint32_t op)
{
	struct batch_op spec;
	plan_op_decode(r->plan, op, &spec);
	return !spec.ok_exits.p;
}

static bool message_lets(const struct live_run *r)
{
	const struct plan_message *pm = &r->plan->messages[r->message];
	return pm->m.order == ORDER_PARALLEL && pm->m.spacing_ms <= 0 && pm->halt.limit == 0;
}

static bool run_lets(const struct live_run *r)
{
	return r->e->ports.recall && r->window > 0 && !r->paused && !r->stopping &&
	       r->n_ready == 0 && r->returning == 0 && sched_is_next(r);
}

/* The only one that waits for `op`, if that is all it waits for; or NO_OP. */
static uint32_t successor_of(const struct live_run *r, uint32_t op)
{
	const struct plan_op *po = &r->plan->ops[op];
	uint32_t weight = sched_weight(r, op);
	if (weight == 0 || po->background || r->rdep_first[op + 1] - r->rdep_first[op] != 1)
		return NO_OP;
	uint32_t next = r->rdeps[r->rdep_first[op]];
	const struct plan_op *no = &r->plan->ops[next];
	const struct live_op *o = &r->ops[next];
	bool waits = o->phase == PHASE_WAITING && o->opened && o->waits == 1 && o->attempts == 0;
	bool alike = sched_weight(r, next) == weight && !no->background && !no->exclusive &&
		     no->message == po->message && no->message == r->message;
	return waits && alike && claims_clear(r, next) && ends_with_0(r, op) ? next : NO_OP;
}

/* Its place in the list; n: it is none of them. */
static uint32_t successor_at(const struct live_run *r, uint32_t op)
{
	uint32_t i = 0;
	while (i < r->successors.n && r->successors.list[i].op != op)
		i++;
	return i;
}

void successor_offer(struct live_run *r, uint32_t op)
{
	struct successors *s = &r->successors;
	uint64_t after = token_make(r->id, op + 1, r->ops[op].attempts);
	uint32_t next;
	if (!run_lets(r) || !message_lets(r))
		return;
	for (uint32_t i = 0; i < SUCCESSORS_MAX && (next = successor_of(r, op)) != NO_OP; i++) {
		if (i == s->n && start_after(r, next, after) == 0)
			s->list[s->n++] = (struct successor){ .op = next, .input = INPUT_MAX };
		if (i == s->n || s->list[i].op != next || s->list[i].recalled)
			return;
		op = next;
		after = token_make(r->id, op + 1, 1);
	}
}

bool successor_is(const struct live_run *r, uint32_t op)
{
	return successor_at(r, op) < r->successors.n;
}

static void recall(struct live_run *r, struct successor *s)
{
	if (s->recalled)
		return;
	s->recalled = true;
	r->e->ports.recall(r->e->ports.arg, token_make(r->id, s->op + 1, 1));
}

void successor_recall(struct live_run *r)
{
	for (uint32_t i = 0; i < r->successors.n; i++)
		recall(r, &r->successors.list[i]);
}

static struct successor successor_take(struct live_run *r, uint32_t i)
{
	struct successors *s = &r->successors;
	struct successor taken = s->list[i];
	memmove(&s->list[i], &s->list[i + 1], (--s->n - i) * sizeof(s->list[0]));
	return taken;
}

/* What came for it while it was the executor's. What has begun is ended, not skipped. */
static void successor_say(struct live_run *r, const struct successor *s, bool begun)
{
	enum op_input input = (enum op_input)s->input;
	if (input == INPUT_MAX)
		return;
	if (begun && input == INPUT_SKIP)
		input = INPUT_KILL;
	flow_input(r, s->op, input, (enum op_cause)s->cause);
}

static void successor_begin(struct live_run *r, uint32_t i)
{
	struct successor s = successor_take(r, i);
	r->successors.begun = s.op + 1;
	sched_adopt(r, s.op);
	start_noted(r, s.op);
	live_op_enter(&r->ops[s.op], PHASE_STARTING);
	successor_say(r, &s, true);
	if (r->ops[s.op].phase == PHASE_STARTING)
		successor_offer(r, s.op);
}

bool successor_takes(struct live_run *r, uint32_t op, enum op_input input, enum op_cause cause)
{
	uint32_t i = successor_at(r, op);
	if (i == r->successors.n)
		return false;
	struct successor *s = &r->successors.list[i];
	if (input != INPUT_MET) {
		if (s->input == INPUT_MAX) {
			s->input = (uint8_t)input;
			s->cause = (uint8_t)cause;
		}
		recall(r, s);
	} else if (!s->recalled) {
		successor_begin(r, i);
	}
	return true;
}

/* The run, and the place in its list; NULL: it is none of them. */
static struct live_run *successor_find(struct engine *e, uint64_t token, uint32_t *ret)
{
	struct live_run *r = live_find(e, token_run(token));
	if (!r || token_attempt(token) != 1)
		return NULL;
	*ret = successor_at(r, token_op(token) - 1);
	return *ret < r->successors.n ? r : NULL;
}

void successor_begun(struct engine *e, uint64_t token)
{
	uint32_t i;
	struct live_run *r = successor_find(e, token, &i);
	if (r)
		successor_begin(r, i);
}

/* What it waits for: all there, yet to end, or never to be there. */
static enum op_phase what_it_waits_for(const struct live_run *r, uint32_t op)
{
	const struct plan_op *po = &r->plan->ops[op];
	for (uint32_t k = po->dep; k < po->dep + po->ndeps; k++) {
		const struct live_op *on = &r->ops[r->plan->deps[k].op];
		bool bad = op_phase_ended(on->phase) && on->phase != PHASE_SUCCEEDED;
		if (bad && !on->served && !r->plan->deps[k].any)
			return PHASE_SKIPPED;
	}
	return r->ops[op].waits > 0 ? PHASE_WAITING : PHASE_READY;
}

/*
 * The other ended well for us and not for the executor: it left something behind, say. Or somebody
 * claimed to be this op who was not, and it waits as before.
 */
static bool successor_refused(struct engine *e, uint64_t token)
{
	struct live_run *r = live_find(e, token_run(token));
	uint32_t op = token_op(token) - 1;
	if (!r || token_attempt(token) != 1 || op >= r->plan->n_ops)
		return false;
	enum op_phase phase = what_it_waits_for(r, op);
	if (r->successors.begun != op + 1 && phase == PHASE_READY)
		return false;
	r->successors.begun = 0;
	flow_busy(r, op);
	if (phase == PHASE_SKIPPED)
		flow_input(r, op, INPUT_SKIP, CAUSE_DEPENDENCY);
	if (phase != PHASE_WAITING || r->ops[op].phase != PHASE_READY)
		return true;
	sched_remove(r, op);
	live_op_enter(&r->ops[op], PHASE_WAITING);
	return true;
}

bool successor_back(struct engine *e, uint64_t token)
{
	uint32_t i;
	struct live_run *r = successor_find(e, token, &i);
	if (!r)
		return successor_refused(e, token);
	struct successor s = successor_take(r, i);
	claims_watch(r);
	if (s.input == INPUT_MAX)
		flow_consider(r, s.op);
	else
		successor_say(r, &s, false);
	return true;
}
