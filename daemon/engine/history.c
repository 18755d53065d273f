/*
 * What history says of a run's commands. The commit that accepts a run looks up how long each of
 * its commands took lately (struct took_row), so that whatever is made of it is known before the
 * first op starts, and does not depend on who was faster:
 *
 * - Of a parallel message with more ops than can run at once those begin first that the longest
 *   chain of work hangs on, so that none of them is left for the end. Ops whose chains differ by
 *   less than the half of an octave keep the order in which they became ready, and what history
 *   knows nothing of comes last.
 * - An estimate of when the run ends (contract section 3, run.get).
 *
 * Who ran for less than a tenth of a second is not looked for: it can hold nobody up, and a million
 * of such would make the table of what they took large and slow.
 */
#include <stdlib.h>

#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"

#define HISTORY_MIN_MS 100
#define HISTORY_OPS 16384 /* of larger batches one op is too little of the whole */

/* FNV-1a. What it gives is stored: another function would find nothing of what is there. */
static uint64_t cmd_add(uint64_t h, struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
	return (h ^ s.len) * 0x100000001b3u; /* so that no part runs into the next */
}

/* What is done, and where: the same build in another folder is another. 0: no command. */
static uint64_t cmd_of(const struct batch_head *head, const struct batch_op *op)
{
	uint64_t h = 0xcbf29ce484222325u + (uint64_t)op->kind;
	if (op->kind != KIND_BASH && op->kind != KIND_EXEC)
		return 0;
	const struct slice parts[] = { head->cwd, op->cwd,	 op->env,    op->shell,
				       op->argv,  op->stdin_raw, op->command };
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		h = cmd_add(h, parts[i]);
	return h ? h : 1;
}

uint64_t history_cmd(const struct live_run *r, uint32_t op, const struct batch_op *spec)
{
	const struct live_op *o = &r->ops[op];
	bool known = r->history && r->history->ms[op]; /* and may be shorter than it was */
	if (o->phase != PHASE_SUCCEEDED || o->reused || r->plan->ops[op].background)
		return 0;
	if (live_try(o)->duration_ms < (known ? 0 : HISTORY_MIN_MS))
		return 0;
	return cmd_of(&r->plan->head, spec);
}

/* --- asking --- */

static int took_compare(const void *a, const void *b)
{
	const struct took_row *x = a, *y = b;
	if (x->cmd != y->cmd)
		return x->cmd < y->cmd ? -1 : 1;
	return x->op < y->op ? -1 : x->op > y->op;
}

void history_ask(struct live_run *r)
{
	struct batch_op spec;
	if (r->plan->n_ops > HISTORY_OPS)
		return;
	r->asked = xcalloc(r->plan->n_ops, sizeof(r->asked[0]));
	for (uint32_t op = 0; op < r->plan->n_ops; op++) {
		plan_op_decode(r->plan, op, &spec);
		uint64_t cmd = spec.background ? 0 : cmd_of(&r->plan->head, &spec);
		if (cmd)
			r->asked[r->n_asked++] = (struct took_row){ .cmd = cmd, .op = op };
	}
	/* Each is looked up once. */
	qsort(r->asked, r->n_asked, sizeof(r->asked[0]), took_compare);
}

/* --- what follows --- */

/* chain[op]: its own time and that of the longest chain in its message that waits for it. */
static void history_chains(const struct live_run *r, struct history *h)
{
	const struct plan *p = r->plan;
	_cleanup_free_ uint32_t *waiting = xcalloc(p->n_ops, sizeof(waiting[0]));
	_cleanup_free_ uint32_t *todo = xcalloc(p->n_ops, sizeof(todo[0]));
	uint32_t n = 0;
	for (uint32_t op = 0; op < p->n_ops; op++) {
		waiting[op] = r->rdep_first[op + 1] - r->rdep_first[op];
		if (waiting[op] == 0)
			todo[n++] = op;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t op = todo[i];
		const struct plan_op *po = &p->ops[op];
		h->chain[op] += h->ms[op];
		for (uint32_t d = po->dep; d < po->dep + po->ndeps; d++) {
			uint32_t first = p->deps[d].op;
			if (p->ops[first].message == po->message)
				h->chain[first] = MAX2(h->chain[first], h->chain[op]);
			if (--waiting[first] == 0)
				todo[n++] = first;
		}
	}
}

/* From 0, two an octave. */
static uint8_t chain_rank(int64_t ms)
{
	uint8_t rank = 0;
	for (int64_t at = HISTORY_MIN_MS; ms >= at && rank < RANKS - 1; at = at * 181 / 128)
		rank++;
	return rank;
}

static uint32_t history_slots(const struct live_run *r)
{
	return MAX2(1, MIN2(r->pool->slots, r->jobs));
}

/* Where all start at once, or one after another, the order changes nothing. */
static void history_rank(const struct live_run *r, struct history *h)
{
	uint32_t slots = history_slots(r);
	for (uint32_t i = 0; i < r->plan->n_messages; i++) {
		const struct plan_message *m = &r->plan->messages[i];
		if (m->m.order != ORDER_PARALLEL || slots == 1 || m->count <= slots)
			continue;
		for (uint32_t op = m->first; op < m->first + m->count; op++)
			h->rank[op] = chain_rank(h->chain[op]);
	}
}

void history_take(struct live_run *r)
{
	bool any = false;
	uint32_t n = r->plan->n_ops;
	for (uint32_t i = 0; i < r->n_asked; i++)
		any = any || r->asked[i].ms;
	if (any) {
		struct history *h = r->history = xcalloc(1, sizeof(*h));
		h->ms = xcalloc(n, sizeof(h->ms[0]));
		h->chain = xcalloc(n, sizeof(h->chain[0]));
		h->rank = xcalloc(n, sizeof(h->rank[0]));
		for (uint32_t i = 0; i < r->n_asked; i++)
			h->ms[r->asked[i].op] = r->asked[i].ms;
		history_chains(r, h);
		history_rank(r, h);
	}
	free(r->asked);
	r->asked = NULL;
	r->n_asked = 0;
}

void history_free(struct live_run *r)
{
	free(r->asked);
	if (!r->history)
		return;
	free(r->history->ms);
	free(r->history->chain);
	free(r->history->rank);
	free(r->history);
}

/* --- the estimate --- */

struct estimate {
	int64_t longest, work; /* ms: of a chain, and of all by their weight */
	bool partial;	       /* of something nothing is known, or it has taken longer */
};

static void estimate_op(const struct live_run *r, uint32_t op, struct estimate *x)
{
	const struct live_op *o = &r->ops[op];
	const struct plan_op *po = &r->plan->ops[op];
	int64_t ms = r->history->ms[op], gone = 0;
	if (op_phase_ended(o->phase) || (po->kind != KIND_BASH && po->kind != KIND_EXEC))
		return;
	if (po->background && o->served)
		return; /* it takes what the rest takes */
	if (o->attempt && op_busy(o))
		gone = MAX2(time_mono_ms() - o->attempt->begun_mono_ms, 0);
	x->partial = x->partial || ms == 0 || gone > ms;
	gone = MIN2(gone, ms);
	x->longest = MAX2(x->longest, r->history->chain[op] - gone);
	x->work += (ms - gone) * MIN2(po->weight, history_slots(r));
}

static int64_t estimate_message(const struct live_run *r, uint32_t message, bool *partial)
{
	const struct plan_message *m = &r->plan->messages[message];
	struct estimate x = { 0 };
	for (uint32_t op = m->first; op < m->first + m->count; op++)
		estimate_op(r, op, &x);
	*partial = *partial || x.partial;
	uint32_t slots = m->m.order == ORDER_PARALLEL ? history_slots(r) : 1;
	return MAX2(x.longest, (x.work + slots - 1) / slots);
}

void history_estimate(const struct live_run *r, struct run_row *row)
{
	int64_t total = 0;
	bool partial = false;
	if (!r->history || r->told != RUN_RUNNING)
		return;
	for (uint32_t i = r->message; i < r->plan->n_messages; i++)
		total += estimate_message(r, i, &partial);
	if (total == 0 && partial)
		return; /* nothing is known of what is left */
	row->eta_ms = MAX2(total, 1);
	row->eta_partial = partial;
}
