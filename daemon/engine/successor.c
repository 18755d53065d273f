/*
 * The op that comes next in a chain is handed to the executor together with the one it waits for,
 * to be begun there in the moment that one has ended well: no answer goes to and fro in between. To
 * everybody else it waits as ever, until its turn has come or the executor says that it has begun.
 *
 * One in a run, and only where nothing else could be done with the slots: its claim is durable, it
 * waits for this one op, and no other op of the run or of the pool is ready. What would end it (a
 * cancel, a timeout) or hold it back (a pause) has it recalled first; the executor's answer, busy
 * or started, says whether it had begun.
 */
#include "daemon/engine/live.h"

static bool is_command(const struct plan_op *po)
{
	return (po->kind == KIND_BASH || po->kind == KIND_EXEC) && !po->background;
}

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
	return !r->successor.op && !r->paused && !r->stopping && r->n_ready == 0 &&
	       r->returning == 0 && sched_is_next(r);
}

/* The only one that waits for `op`, if that is all it waits for; or NO_OP. */
static uint32_t successor_of(const struct live_run *r, uint32_t op)
{
	const struct plan_op *po = &r->plan->ops[op];
	if (!is_command(po) || r->rdep_first[op + 1] - r->rdep_first[op] != 1)
		return NO_OP;
	uint32_t next = r->rdeps[r->rdep_first[op]];
	const struct plan_op *no = &r->plan->ops[next];
	const struct live_op *o = &r->ops[next];
	bool waits = o->phase == PHASE_WAITING && o->opened && o->waits == 1 && o->attempts == 0;
	bool alike = is_command(no) && !no->exclusive && no->message == po->message &&
		     no->message == r->message && sched_weight(r, next) == r->ops[op].taken;
	return waits && alike && claims_clear(r, next) ? next : NO_OP;
}

void successor_offer(struct live_run *r, uint32_t op)
{
	if (!r->e->ports.recall || r->window == 0 || !run_lets(r) || !message_lets(r))
		return;
	uint32_t next = successor_of(r, op);
	if (next == NO_OP || !ends_with_0(r, op))
		return;
	if (start_after(r, next, op) == 0) {
		r->successor.op = next + 1;
		r->successor.recalled = false;
		r->successor.input = INPUT_MAX;
	}
}

bool successor_is(const struct live_run *r, uint32_t op)
{
	return r->successor.op == op + 1;
}

void successor_recall(struct live_run *r)
{
	if (!r->successor.op || r->successor.recalled)
		return;
	r->successor.recalled = true;
	r->e->ports.recall(r->e->ports.arg, token_make(r->id, r->successor.op, 1));
}

/* What came for it while it was the executor's. What has begun is ended, not skipped. */
static void successor_say(struct live_run *r, const struct successor *s, bool begun)
{
	enum op_input input = (enum op_input)s->input;
	if (input == INPUT_MAX)
		return;
	if (begun && input == INPUT_SKIP)
		input = INPUT_KILL;
	flow_input(r, s->op - 1, input, (enum op_cause)s->cause);
}

static void successor_begin(struct live_run *r)
{
	struct successor s = r->successor;
	uint32_t op = s.op - 1;
	r->successor = (struct successor){ .begun = s.op };
	sched_adopt(r, op);
	start_noted(r, op);
	live_op_enter(&r->ops[op], PHASE_STARTING);
	successor_say(r, &s, true);
	if (r->ops[op].phase == PHASE_STARTING)
		successor_offer(r, op);
}

bool successor_takes(struct live_run *r, uint32_t op, enum op_input input, enum op_cause cause)
{
	struct successor *s = &r->successor;
	if (!successor_is(r, op))
		return false;
	if (input != INPUT_MET) {
		if (s->input == INPUT_MAX) {
			s->input = (uint8_t)input;
			s->cause = (uint8_t)cause;
		}
		successor_recall(r);
	} else if (!s->recalled) {
		successor_begin(r);
	}
	return true;
}

static struct live_run *successor_find(struct engine *e, uint64_t token)
{
	struct live_run *r = live_find(e, token_run(token));
	return r && token_attempt(token) == 1 && r->successor.op == token_op(token) ? r : NULL;
}

void successor_begun(struct engine *e, uint64_t token)
{
	struct live_run *r = successor_find(e, token);
	if (r)
		successor_begin(r);
}

bool successor_back(struct engine *e, uint64_t token)
{
	struct live_run *r = successor_find(e, token);
	if (r) {
		struct successor s = r->successor;
		r->successor.op = 0;
		claims_watch(r);
		if (s.input == INPUT_MAX)
			flow_consider(r, s.op - 1);
		else
			successor_say(r, &s, false);
		return true;
	}
	/* The other ended well for us and not for the executor: it left something behind, say. */
	r = live_find(e, token_run(token));
	if (!r || token_attempt(token) != 1 || r->successor.begun != token_op(token))
		return false;
	r->successor.begun = 0;
	flow_input(r, token_op(token) - 1, INPUT_BUSY, CAUSE_LIMIT);
	return true;
}
