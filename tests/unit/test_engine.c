/*
 * The engine against a world made of arrays: random batches, random outcomes, commits that come
 * late, crashes, and the rules that must hold whatever happens. No process is started here; the
 * integration tests do that.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "proto/batch.h"
#include "proto/pack.h"

#define OPS_MAX 64
#define TRIES_MAX (OPS_MAX * 4)
#define SLOTS 3

struct world {
	struct engine *e;
	struct txn *queue[4096];
	size_t n_queue;
	uint64_t running[TRIES_MAX]; /* tokens started and not ended */
	size_t n_running;
	uint32_t claimed[OPS_MAX]; /* as last stored */
	size_t n_claimed;
	int started[OPS_MAX + 1], ended_good[OPS_MAX + 1], rows[OPS_MAX + 1];
	int state[OPS_MAX + 1]; /* as stored */
	int told[OPS_MAX + 1];	/* by events */
	enum run_state run_told;
	bool is_file[OPS_MAX + 1], ended[OPS_MAX + 1];
	bool service[OPS_MAX + 1];
	uint32_t needs[OPS_MAX + 1];   /* 0: none */
	uint64_t watched[OPS_MAX + 1]; /* services that are to be ready */
	uint64_t run;
	bool existing, answered, over;
	bool deaf; /* nobody hears of ops, every other time */
	int64_t rev;
	struct run_row end;
	unsigned seed;
	int commit_fails; /* percent */
	int crashes;	  /* yet to come */
	bool crashed;
	bool chains; /* most ops need the one before, and time goes by in small steps */
	struct {
		uint64_t token;
		uint64_t after; /* 0: it is to be given back */
	} held[OPS_MAX];
	size_t n_held;
	/* As stored, for the engine after this one; strings are left out. */
	struct buf batch;
	struct run_row row;
	struct op_row ops[OPS_MAX], tries[TRIES_MAX]; /* the latter by op and try */
	uint32_t n_ops, n_tries;
	/* What the executor keeps: ends that are not acknowledged, and notes by op. */
	struct exec_result ends[TRIES_MAX];
	size_t n_ends;
	struct {
		uint64_t token;
		uint32_t note;
	} stops[OPS_MAX + 1];
	char error[1024];
};

static unsigned rnd(struct world *w, unsigned n)
{
	return (unsigned)rand_r(&w->seed) % n;
}

static void w_commit(void *arg, struct txn *t)
{
	struct world *w = arg;
	ck_assert_uint_lt(w->n_queue, 4096);
	w->queue[w->n_queue++] = t;
}

static bool is_claimed(const struct world *w, uint32_t op)
{
	for (size_t i = 0; i < w->n_claimed; i++)
		if (w->claimed[i] == op)
			return true;
	return false;
}

static void w_begin(struct world *w, uint64_t token)
{
	uint32_t op = token_op(token);
	for (size_t i = 0; i < w->n_running; i++)
		ck_assert_msg(w->running[i] != token, "token started twice");
	for (size_t i = 0; i < w->n_ends; i++)
		ck_assert_msg(w->ends[i].token != token, "token started again after its end");
	ck_assert_msg(!w->needs[op] || w->service[w->needs[op]] || w->ended_good[w->needs[op]],
		      "op %u started, but %u has not ended well", op, w->needs[op]);
	w->running[w->n_running++] = token;
	w->started[op]++;
}

static int w_start(void *arg, const struct exec_spec *spec)
{
	struct world *w = arg;
	uint32_t op = token_op(spec->token);
	ck_assert_msg(is_claimed(w, op), "op %u started without a durable claim", op);
	for (uint32_t i = 1; i <= OPS_MAX; i++)
		ck_assert_msg(!w->is_file[i] || !w->ended[i] ||
				      op_state_ended((enum op_state)w->state[i]),
			      "op %u started before the result of the write %u was durable", op, i);
	if (rnd(w, 20) == 0)
		return -EAGAIN;
	if (spec->after) {
		bool goes_on = false;
		for (size_t i = 0; i < w->n_running; i++)
			goes_on = goes_on || w->running[i] == spec->after;
		for (size_t i = 0; i < w->n_held; i++)
			goes_on = goes_on || w->held[i].token == spec->after;
		w->held[w->n_held].token = spec->token;
		w->held[w->n_held++].after = goes_on ? spec->after : 0;
		return 0;
	}
	w_begin(w, spec->token);
	return 0;
}

static void w_recall(void *arg, uint64_t token)
{
	struct world *w = arg;
	for (size_t i = 0; i < w->n_held; i++)
		if (w->held[i].token == token)
			w->held[i].after = 0;
}

static unsigned begun_after; /* in all lives */

/* What follows it begins as soon as it has ended, whoever has been told of that. */
static void w_held_goes(struct world *w, uint64_t ended, bool well)
{
	for (size_t i = 0; i < w->n_held; i++) {
		if (w->held[i].after != ended)
			continue;
		w->held[i].after = 0;
		if (!well || rnd(w, 8) == 0)
			continue;
		begun_after++;
		w_begin(w, w->held[i].token);
		w->held[i--] = w->held[--w->n_held];
	}
}

/* Somebody says that he is an op that has not begun. */
static void w_lie(struct world *w)
{
	if (w->n_held > 0 && rnd(w, 20) == 0)
		engine_op_at_work(w->e, w->run,
				  token_op(w->held[rnd(w, (unsigned)w->n_held)].token));
}

/* The executor's answer, where it does not begin. */
static void w_held_back(struct world *w)
{
	for (size_t i = 0; i < w->n_held; i++) {
		uint64_t token = w->held[i].token;
		if (w->held[i].after != 0)
			continue;
		w->held[i] = w->held[--w->n_held];
		for (size_t k = 0; k < w->n_held; k++)
			if (w->held[k].after == token)
				w->held[k].after = 0;
		engine_op_busy(w->e, token);
		return;
	}
}

static void w_start_file(void *arg, uint64_t token, const struct batch_op *op, const char *path,
			 uint32_t mask, int64_t cap, bool again)
{
	(void)op;
	(void)path;
	(void)mask;
	(void)cap;
	struct world *w = arg;
	ck_assert(!again || w->crashed);
	w_begin(w, token);
	w->is_file[token_op(token)] = true;
}

static void w_token(void *arg, uint64_t token)
{
	(void)arg;
	(void)token;
}

static void w_ack(void *arg, uint64_t token)
{
	struct world *w = arg;
	for (size_t i = 0; i < w->n_ends; i++)
		if (w->ends[i].token == token)
			w->ends[i--] = w->ends[--w->n_ends];
}

static void w_stop(void *arg, uint64_t token, uint32_t note, int64_t grace)
{
	(void)grace;
	struct world *w = arg;
	w->stops[token_op(token)].token = token;
	w->stops[token_op(token)].note = note;
}

static void w_watch(void *arg, uint64_t token, const struct batch_ready *ready)
{
	struct world *w = arg;
	uint32_t op = token_op(token);
	ck_assert(!ready || ready->has_port || ready->match.p);
	if (ready || w->watched[op] == token)
		w->watched[op] = ready ? token : 0;
}

static void w_signal(void *arg, uint64_t token, int sig)
{
	(void)arg;
	(void)token;
	(void)sig;
}

static void w_run_done(void *arg, uint64_t run)
{
	struct world *w = arg;
	ck_assert_uint_eq(run, w->run);
	w->over = true;
}

static void w_event(void *arg, const struct event *e)
{
	struct world *w = arg;
	ck_assert_msg(w->answered, "an event before the submit was answered");
	ck_assert_msg(e->rev > w->rev, "revisions go on");
	w->rev = e->rev;
	ck_assert_msg(e->type != EVENT_OP_STATE || !w->deaf, "an event that nobody hears");
	if (e->type == EVENT_OP_STATE && op_state_ended(e->op->state))
		ck_assert_msg(w->state[e->op->op] == (int)e->op->state,
			      "op %u: told before it was stored", e->op->op);
	if (e->type == EVENT_OP_STATE)
		w->told[e->op->op] = (int)e->op->state;
	if (e->type == EVENT_RUN_STATE)
		w->run_told = e->row->state;
	if (e->type == EVENT_RUN_STATE && run_state_ended(e->row->state))
		w->end = *e->row;
}

static int w_run_state(void *arg, uint64_t run, enum run_state *ret)
{
	(void)arg;
	(void)run;
	(void)ret;
	return 1;
}

static void w_printed(void *arg, uint64_t token, int64_t ret[3])
{
	(void)arg;
	(void)token;
	ret[0] = 1;
}

static void w_lost(void *arg, const char *list)
{
	(void)arg;
	(void)list;
}

static int w_reload(void *arg, struct err *err)
{
	(void)arg;
	(void)err;
	return 0;
}

static void w_answer(void *arg, uint64_t run, bool existing, const struct err *err)
{
	struct world *w = arg;
	w->answered = true;
	w->run = run;
	w->existing = existing;
	if (err)
		memcpy(w->error, err->text, sizeof(w->error));
}

/* Into rows that are kept in order of op and try; what is there already is replaced. */
static void w_keep(struct op_row *rows, uint32_t *n, const struct op_row *row, bool by_try)
{
	uint32_t i = 0;
	while (i < *n && (rows[i].op < row->op ||
			  (by_try && rows[i].op == row->op && rows[i].attempts < row->attempts)))
		i++;
	if (i == *n || rows[i].op != row->op || (by_try && rows[i].attempts != row->attempts))
		memmove(rows + i + 1, rows + i, ((*n)++ - i) * sizeof(rows[0]));
	rows[i] = *row;
	rows[i].id = rows[i].text = rows[i].todo = rows[i].error = rows[i].description = NULL;
	rows[i].meta = SLICE_NONE;
}

static void w_keep_run(struct world *w, const struct run_row *row)
{
	w->row = *row;
	w->row.name = w->row.key = w->row.cwd = w->row.project = w->row.group = w->row.list = NULL;
	w->row.messages = w->row.meta = SLICE_NONE;
}

static void w_keep_record(struct world *w, const struct txn_record *r)
{
	if (r->kind == TXN_RUN_NEW) {
		buf_addslice(&w->batch, r->run_new.batch);
		w_keep_run(w, &r->run_new.row);
	} else if (r->kind == TXN_RUN_UPDATE) {
		w_keep_run(w, &r->run);
	} else if (r->kind == TXN_OP) {
		w_keep(w->ops, &w->n_ops, &r->op, false);
	} else if (r->kind == TXN_ATTEMPT) {
		w_keep(w->tries, &w->n_tries, &r->op, true);
	}
}

/* What a store would do with the records. */
static void w_store(struct world *w, const struct txn *t)
{
	for (const struct txn_record *r = txn_first(t); r; r = r->next) {
		w_keep_record(w, r);
		if (r->kind == TXN_CLAIM) {
			w->n_claimed = r->claim.ops.len / sizeof(uint32_t);
			memcpy(w->claimed, r->claim.ops.p ? r->claim.ops.p : "", r->claim.ops.len);
		} else if (r->kind == TXN_OP && op_state_ended(r->op.state)) {
			w->rows[r->op.op]++;
			w->state[r->op.op] = (int)r->op.state;
		}
	}
}

static void w_commit_one(struct world *w)
{
	struct txn *t = w->queue[0];
	struct err err = ERR_INIT;
	memmove(w->queue, w->queue + 1, --w->n_queue * sizeof(w->queue[0]));
	if (w->answered && (int)rnd(w, 100) < w->commit_fails) {
		err_set(&err, 0, "disk full");
		txn_finish(t, TXN_FAILED, 0, &err);
		return;
	}
	w_store(w, t);
	txn_finish(t, TXN_DONE, 0, NULL);
}

static void w_end_one(struct world *w)
{
	size_t i = rnd(w, (unsigned)w->n_running);
	struct exec_result x = {
		.token = w->running[i], .pid = 100, .started = 1, .ended = 2, .duration_ms = 1
	};
	uint32_t op = token_op(x.token);
	bool stopped = w->stops[op].token == x.token;
	if (w->service[op] && !stopped && rnd(w, 60))
		return; /* it runs on */
	bool good = rnd(w, 5) != 0;
	x.wait_status = good ? 0 : 1 << 8;
	w->running[i] = w->running[--w->n_running];
	x.is_file_op = w->is_file[token_op(x.token)];
	if (x.is_file_op && !good)
		x.cause = CAUSE_IO;
	w->ended[token_op(x.token)] = true;
	w->ended_good[op] = good;
	w_held_goes(w, x.token, good && !stopped);
	if (!x.is_file_op && rnd(w, 2))
		engine_op_started(w->e, x.token, 100, 1);
	if (!x.is_file_op)
		w->ends[w->n_ends++] = x;
	engine_op_ended(w->e, &x);
}

/* What was handed over is told to have started; most hear of that only with the end. */
static void w_start_one(struct world *w)
{
	uint64_t token = w->running[rnd(w, (unsigned)w->n_running)];
	if (!w->is_file[token_op(token)])
		engine_op_started(w->e, token, 100, 1);
}

/* One of those that are watched is ready. */
static void w_ready_one(struct world *w)
{
	uint32_t op = 1 + rnd(w, OPS_MAX);
	for (uint32_t i = 0; i < OPS_MAX; i++, op = op % OPS_MAX + 1)
		if (w->watched[op]) {
			engine_op_ready(w->e, w->watched[op]);
			ck_assert_msg(!w->watched[op], "still watched though it is ready");
			return;
		}
}

/* One event not made is as good as one made, for all that comes after. */
static bool w_heard(void *arg, uint64_t run)
{
	struct world *w = arg;
	ck_assert_uint_eq(run, w->run);
	return !w->deaf;
}

static void w_engine(struct world *w)
{
	static const struct engine_config config = {
		.slots = SLOTS, .grace_ms = 100, .shell = "bash", .socket = "/s", .runs_dir = "/r"
	};
	struct engine_ports ports = { w_commit,	  w_start,  w_start_file, w_token,
				      w_stop,	  w_signal, w_watch,	  w_ack,
				      w_run_done, NULL,	    w_event,	  w_run_state,
				      w_printed,  w_lost,   w_reload,	  w_recall,
				      w_heard,	  w };
	w->rev = 0;
	w->e = engine_new(&config, &ports, w->run + 1, 0);
}

/* --- a crash --- */

/* Of what is on its way to the store some has come there, and nobody was told. */
static void w_die(struct world *w)
{
	struct err err = ERR_INIT;
	size_t stored = rnd(w, (unsigned)w->n_queue + 1);
	err_set(&err, 0, "killed");
	for (size_t i = 0; i < w->n_queue; i++) {
		if (i < stored)
			w_store(w, w->queue[i]);
		txn_finish(w->queue[i], TXN_FAILED, 0, &err); /* freed with the engine */
	}
	w->n_queue = 0;
	w->n_held = 0;
	memset(w->watched, 0, sizeof(w->watched));
	w->e = engine_free(w->e);
}

/* Those went with their process; what is not stored of them is done again. */
static void w_forget_files(struct world *w)
{
	for (size_t i = 0; i < w->n_running; i++)
		if (w->is_file[token_op(w->running[i])])
			w->running[i--] = w->running[--w->n_running];
	for (uint32_t op = 1; op <= OPS_MAX; op++)
		if (!op_state_ended((enum op_state)w->state[op]))
			w->ended[op] = false;
}

static void w_known(struct world *w, uint64_t token)
{
	uint32_t op = token_op(token);
	uint32_t note = w->stops[op].token == token ? w->stops[op].note : 0;
	engine_recover_attempt(w->e, token, 100, 1, 0, note);
}

static void w_recover(struct world *w)
{
	struct err err = ERR_INIT;
	struct engine_stored_run s = {
		.row = w->row,
		.batch = buf_slice(&w->batch),
		.claims = slice_of((char *)w->claimed, w->n_claimed * sizeof(w->claimed[0])),
		.ops = w->ops,
		.attempts = w->tries,
		.n_ops = w->n_ops,
		.n_attempts = w->n_tries,
	};
	ck_assert_msg(engine_recover_run(w->e, &s, &err) == 0, "%s", err.text);
	for (size_t i = 0; i < w->n_ends; i++)
		w_known(w, w->ends[i].token);
	for (size_t i = 0; i < w->n_running; i++)
		w_known(w, w->running[i]);
	engine_recover_done(w->e, false);
}

/* Whoever comes back asks how things stand; what had ended for them has. */
static void w_look_again(struct world *w)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct run_row run;
	struct op_row op;
	ck_assert(engine_run_row(w->e, w->run, &run));
	w->run_told = run.state;
	for (uint32_t i = 1; i <= run.n_ops; i++) {
		ck_assert(engine_op_row(w->e, w->run, i, &text, &op));
		ck_assert_msg(!op_state_ended((enum op_state)w->told[i]) ||
				      w->told[i] == (int)op.state,
			      "op %u was told as %s, and is %s", i, op_state_names[w->told[i]],
			      op_state_names[op.state]);
		w->told[i] = op.state == OP_READY ? OP_WAITING : (int)op.state;
	}
}

static void w_crash(struct world *w)
{
	struct exec_result ends[TRIES_MAX];
	w->crashes--;
	w->crashed = true;
	w_die(w);
	w_engine(w);
	if (run_state_ended(w->row.state)) {
		w->over = true;
		w->end = w->row;
		return;
	}
	w_forget_files(w);
	w_recover(w);
	w_look_again(w);
	size_t n = w->n_ends;
	memcpy(ends, w->ends, n * sizeof(ends[0]));
	for (size_t i = 0; i < n; i++)
		engine_op_ended(w->e, &ends[i]);
}

static void check_counts(const struct run_summary *s, const int *n)
{
	ck_assert_uint_eq(s->succeeded, n[OP_SUCCEEDED]);
	ck_assert_uint_eq(s->failed, n[OP_FAILED]);
	ck_assert_uint_eq(s->skipped, n[OP_SKIPPED]);
	ck_assert_uint_eq(s->cancelled, n[OP_CANCELLED]);
	ck_assert_uint_eq(s->interrupted, n[OP_INTERRUPTED]);
}

/* What is shown is what has been told: events go on from any snapshot. (That an op is ready is not
 * told.) */
static void check_shown(struct world *w)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct run_row run;
	struct op_row op;
	int n[OP_STATE_MAX] = { 0 };
	if (!engine_run_row(w->e, w->run, &run))
		return;
	ck_assert_int_eq(run.state, w->run_told);
	ck_assert(run_state_ended(run.state) == (run.ended != 0));
	for (uint32_t i = 1; i <= run.n_ops; i++) {
		ck_assert(engine_op_row(w->e, w->run, i, &text, &op));
		n[op.state]++;
		int told = op.state == OP_READY ? OP_WAITING : (int)op.state;
		ck_assert_msg(w->deaf || told == w->told[i],
			      "op %u is shown as %s, but was told as %s", i,
			      op_state_names[op.state], op_state_names[w->told[i]]);
	}
	check_counts(&run.summary, n);
}

/* What was started may do its work from then on, whoever was told. */
static void check_at_work(struct world *w)
{
	for (size_t i = 0; i < w->n_running; i++)
		ck_assert(engine_op_at_work(w->e, w->run, token_op(w->running[i])));
}

/* Time goes on by leaps, so that retry delays and back-offs pass. */
static void w_drive(struct world *w, bool cancel)
{
	int64_t now = time_mono_ms();
	for (int step = 0; step < 20000 && !w->over && !w->error[0]; step++) {
		if (w->n_queue && rnd(w, 3))
			w_commit_one(w);
		if (w->n_running && rnd(w, 3) == 0)
			w_end_one(w);
		if (w->n_running && rnd(w, 3) == 0)
			w_start_one(w);
		if (rnd(w, 3) == 0)
			w_ready_one(w);
		w_lie(w);
		if (rnd(w, 2))
			w_held_back(w);
		if (w->crashes && w->answered && rnd(w, 12) == 0)
			w_crash(w);
		if (cancel && w->answered && step == 30) {
			struct engine_cancel c = { .run = w->run, .grace_ms = -1 };
			struct err err;
			if (engine_cancel(w->e, &c, &err))
				cancel = false;
		}
		engine_tick(w->e, now += w->chains && rnd(w, 10) ? 5 : 400);
		engine_flush(w->e);
		if (step % 4 == 0)
			check_shown(w);
		if (step % 3 == 0)
			check_at_work(w);
		ck_assert_uint_le(w->n_running, OPS_MAX);
	}
}

/* --- random batches --- */

static void pack_service(struct world *w, struct pk *pk)
{
	pk_kbool(pk, "background", true);
	if (rnd(w, 3) == 0)
		return;
	pk_key(pk, "ready");
	pk_map(pk);
	pk_kint(pk, "port", 3000);
	pk_end(pk);
}

static void pack_op(struct world *w, struct pk *pk, unsigned index, unsigned first)
{
	char id[16], dep[16];
	snprintf(id, sizeof(id), "o%u", index);
	pk_map(pk);
	bool write = rnd(w, w->chains ? 20 : 4) == 0;
	pk_kstr(pk, "kind", slice_str(write ? "write" : "bash"));
	pk_kstr(pk, write ? "path" : "command", slice_str(id));
	if (write)
		pk_kstr(pk, "content", slice_str(""));
	pk_kstr(pk, "id", slice_str(id));
	if (!write && rnd(w, 3) == 0)
		pk_kint(pk, "retries", rnd(w, 3));
	if (rnd(w, 5) == 0)
		pk_kbool(pk, "optional", true);
	bool service = !write && rnd(w, w->chains ? 20 : 5) == 0;
	w->service[index + 1] = service;
	if (service)
		pack_service(w, pk);
	else if (rnd(w, 8) == 0)
		pk_kbool(pk, "exclusive", true);
	if (rnd(w, w->chains ? 20 : 4) == 0)
		pk_kint(pk, "weight", 1 + rnd(w, 5));
	if (index > 0 && (rnd(w, 3) == 0 || (w->chains && rnd(w, 4)))) {
		unsigned on = w->chains ? index - 1 : rnd(w, index);
		bool needs = rnd(w, 2);
		snprintf(dep, sizeof(dep), "o%u", on);
		w->needs[index + 1] = needs ? on + 1 : 0;
		pk_key(pk, needs ? "needs" : "after_any");
		pk_array(pk);
		pk_str(pk, slice_str(dep));
		pk_end(pk);
	}
	(void)first;
	pk_end(pk);
}

static unsigned pack_batch(struct world *w, struct buf *b)
{
	static const char *const failures[] = { "stop", "continue", "kill" };
	struct pk pk = PK_INIT(b);
	unsigned ops = 0, messages = 1 + rnd(w, w->chains ? 2 : 4);
	pk_map(&pk);
	pk_kstr(&pk, "cwd", slice_str("/tmp"));
	if (rnd(w, 3) == 0)
		pk_kint(&pk, "jobs", 1 + rnd(w, 4));
	pk_key(&pk, "messages");
	pk_array(&pk);
	for (unsigned m = 0; m < messages; m++) {
		unsigned first = ops, n = 1 + rnd(w, w->chains ? 30 : 12);
		pk_map(&pk);
		pk_kstr(&pk, "on_failure", slice_str(failures[rnd(w, 3)]));
		if (rnd(w, 3) == 0)
			pk_kstr(&pk, "order", slice_str("serial"));
		if (rnd(w, 4) == 0)
			pk_kbool(&pk, "always", true);
		pk_key(&pk, "ops");
		pk_array(&pk);
		for (unsigned i = 0; i < n; i++)
			pack_op(w, &pk, ops++, first);
		pk_end(&pk);
		pk_end(&pk);
	}
	pk_end(&pk);
	pk_end(&pk);
	return ops;
}

static unsigned services_ended; /* by us, with their run */

static bool was_stopped_at_the_end(const struct world *w, unsigned op)
{
	return w->service[op] && (w->stops[op].note & 0x3f) == CAUSE_OVER;
}

static void check_end(struct world *w, unsigned ops)
{
	ck_assert_msg(w->over, "seed %u: the run did not end", w->seed);
	ck_assert_uint_eq(w->n_running, 0);
	const struct run_summary *s = &w->end.summary;
	ck_assert_uint_eq(s->succeeded + s->failed + s->skipped + s->cancelled + s->interrupted,
			  ops);
	for (unsigned op = 1; op <= ops; op++) {
		ck_assert_int_eq(w->rows[op], 1);
		ck_assert_msg(op_state_ended((enum op_state)w->state[op]), "op %u stored as %d", op,
			      w->state[op]);
		services_ended += w->state[op] == OP_SUCCEEDED && was_stopped_at_the_end(w, op);
		if (w->state[op] == OP_SUCCEEDED)
			ck_assert(w->started[op] >= 1 &&
				  (w->ended_good[op] || was_stopped_at_the_end(w, op)));
		if (w->state[op] == OP_SKIPPED)
			ck_assert(w->started[op] == 0 || (w->is_file[op] && w->crashed));
	}
	ck_assert_uint_eq(w->n_claimed, 0);
	ck_assert_uint_eq(engine_running_ops(w->e), 0);
}

static void one_life(unsigned seed, int commit_fails, bool cancel, int crashes, bool chains)
{
	static struct world w;
	struct buf b = BUF_INIT;
	w = (struct world){
		.seed = seed,
		.commit_fails = commit_fails,
		.crashes = crashes,
		.chains = chains,
		.deaf = seed % 2,
	};
	w_engine(&w);
	unsigned ops = pack_batch(&w, &b);
	static char *no_env[] = { NULL };
	struct engine_submit s = { .batch = engine_batch_new(buf_slice(&b), no_env),
				   .done = w_answer,
				   .arg = &w };
	engine_submit(w.e, &s, NULL);
	w_drive(&w, cancel);
	ck_assert_msg(!w.error[0], "%s", w.error);
	check_end(&w, ops);
	while (w.n_queue)
		w_commit_one(&w);
	engine_free(w.e);
	buf_done(&w.batch);
	buf_done(&b);
}

START_TEST(any_batch_comes_to_its_end)
{
	for (unsigned seed = 1; seed <= 400; seed++)
		one_life(seed, 0, false, 0, false);
	ck_assert_uint_gt(services_ended, 50);
}
END_TEST

START_TEST(a_store_in_trouble_loses_nothing)
{
	for (unsigned seed = 1; seed <= 200; seed++)
		one_life(seed, 20, false, 0, false);
}
END_TEST

START_TEST(a_cancelled_run_comes_to_its_end)
{
	for (unsigned seed = 1; seed <= 300; seed++)
		one_life(seed, 0, true, 0, false);
}
END_TEST

START_TEST(crashes_change_nothing_that_was_told)
{
	for (unsigned seed = 1; seed <= 400; seed++)
		one_life(seed, seed % 3 ? 0 : 20, seed % 4 == 0, 6, false);
	ck_assert_uint_gt(services_ended, 50);
}
END_TEST

START_TEST(chains_are_handed_over_ahead)
{
	unsigned before = begun_after;
	for (unsigned seed = 1; seed <= 400; seed++)
		one_life(seed, seed % 5 ? 0 : 20, seed % 3 == 0, seed % 4 ? 0 : 4, true);
	ck_assert_uint_gt(begun_after - before, 80);
}
END_TEST

int main(void)
{
	log_init("test_engine", (enum log_level)0); /* the full disk is made up, and often */
	Suite *s = suite_create("engine");
	TCase *t = tcase_create("lives");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, any_batch_comes_to_its_end);
	tcase_add_test(t, a_store_in_trouble_loses_nothing);
	tcase_add_test(t, a_cancelled_run_comes_to_its_end);
	tcase_add_test(t, crashes_change_nothing_that_was_told);
	tcase_add_test(t, chains_are_handed_over_ahead);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
