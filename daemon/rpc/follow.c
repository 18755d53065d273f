#include "daemon/rpc/follow.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/exec/output.h"
#include "daemon/exec/work.h"
#include "daemon/rpc/logcache.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/subs.h"

#define PIECE_BYTES (64 << 10)
#define PIECE_CHUNKS 256 /* events of one piece at most */

/* How far one attempt's output has been told. */
struct follow_op {
	uint64_t key;	   /* op << 32 | attempt */
	int64_t both;	   /* data: position in both streams together */
	int64_t at[3];	   /* position in stdout [1] and stderr [2] */
	struct list dirty; /* in follow->dirty when there may be more */
	UT_hash_handle hh;
};

/* An event that waits for output to be told before it. */
struct held {
	struct list list;
	struct body body;
	int64_t rev;
	uint32_t op, attempts; /* the end of this op; 0: of none */
	bool run_end;
};

/* One piece read: filled where the log is read, emptied on the loop thread. */
struct piece {
	uint32_t op, attempt;
	bool sizes; /* only these are wanted */
	int64_t both, at[3];
	struct logread_extent ext[3];
	struct buf data, chunks;
	int error;
};

struct follow {
	uint64_t run;
	UT_hash_handle hh;
	struct sub *sub; /* NULL: given up while busy */
	bool live, busy;
	struct logread *log;
	struct follow_op *ops;
	struct list dirty, held;
	size_t held_bytes;
	uint8_t *told; /* bit set: the op's end has been told, nothing of it is to come */
	uint32_t n_ops;
	struct piece piece;
};

static void follow_pump(struct follow *f);

/* --- life --- */

static struct follow *follow_new(struct sub *sub, uint64_t run, bool live, uint32_t n_ops)
{
	struct rpc_server *s = sub->conn->s;
	struct follow *f = xcalloc(1, sizeof(*f));
	f->run = run;
	f->sub = sub;
	f->live = live;
	f->n_ops = n_ops;
	f->told = xcalloc(n_ops / 8 + 1, 1);
	f->log = logcache_take(s->logs, run);
	list_init(&f->dirty);
	list_init(&f->held);
	HASH_ADD(hh, sub->follows, run, sizeof(f->run), f);
	if (live && s->config.output)
		output_watch(s->config.output, run, 1);
	return f;
}

static struct follow *follow_find(const struct sub *sub, uint64_t run)
{
	struct follow *f;
	HASH_FIND(hh, sub->follows, &run, sizeof(run), f);
	return f;
}

static void held_free(struct follow *f, struct held *h)
{
	list_del(&h->list);
	f->held_bytes -= h->body.bytes->len;
	body_done(&h->body);
	free(h);
}

static void op_free(struct follow *f, struct follow_op *o)
{
	list_del(&o->dirty);
	HASH_DEL(f->ops, o);
	free(o);
}

/* The job under way, if any, frees the rest. */
static void follow_release(struct follow *f)
{
	if (f->busy)
		return;
	logcache_put(f->log);
	buf_done(&f->piece.data);
	buf_done(&f->piece.chunks);
	free(f);
}

static void follow_free(struct follow *f)
{
	struct follow_op *o, *next;
	struct rpc_server *s = f->sub->conn->s;
	HASH_DEL(f->sub->follows, f);
	if (f->live && s->config.output)
		output_watch(s->config.output, f->run, -1);
	list_for_safe (&f->held, node)
		held_free(f, list_entry(node, struct held, list));
	HASH_ITER(hh, f->ops, o, next)
	op_free(f, o);
	free(f->told);
	f->told = NULL;
	f->sub = NULL;
	follow_release(f);
}

void follow_free_all(struct sub *sub)
{
	struct follow *f, *next;
	HASH_ITER(hh, sub->follows, f, next)
	follow_free(f);
}

/* --- which ops have more to tell --- */

static bool op_told(const struct follow *f, uint32_t op)
{
	return op == 0 || op > f->n_ops || f->told[op / 8] & 1u << op % 8;
}

static struct follow_op *op_find(struct follow *f, uint32_t op, uint32_t attempt)
{
	struct follow_op *o;
	uint64_t key = (uint64_t)op << 32 | attempt;
	HASH_FIND(hh, f->ops, &key, sizeof(key), o);
	return o;
}

static struct follow_op *op_dirty(struct follow *f, uint32_t op, uint32_t attempt)
{
	struct follow_op *o = op_find(f, op, attempt);
	if (!o) {
		o = xcalloc(1, sizeof(*o));
		o->key = (uint64_t)op << 32 | attempt;
		list_init(&o->dirty);
		HASH_ADD(hh, f->ops, key, sizeof(o->key), o);
	}
	if (list_empty(&o->dirty))
		list_add_tail(&f->dirty, &o->dirty);
	return o;
}

static void op_all_dirty(struct follow *f, uint32_t op, uint32_t attempts)
{
	for (uint32_t a = 1; a <= attempts; a++)
		op_dirty(f, op, a);
}

/* An attempt of this op of which there may be more; NULL: none. */
static struct follow_op *op_pending(struct follow *f, uint32_t op, uint32_t attempts)
{
	for (uint32_t a = 1; a <= attempts; a++) {
		struct follow_op *o = op_find(f, op, a);
		if (o && !list_empty(&o->dirty))
			return o;
	}
	return NULL;
}

/* The op's end has been told: its positions are of no further use. */
static void op_forget(struct follow *f, uint32_t op, uint32_t attempts)
{
	if (op_told(f, op))
		return;
	f->told[op / 8] |= (uint8_t)(1u << op % 8);
	for (uint32_t a = 1; a <= attempts; a++) {
		struct follow_op *o = op_find(f, op, a);
		if (o)
			op_free(f, o);
	}
}

/* --- reading a piece: any thread --- */

/* What was dropped is passed over: the positions of both streams move to behind it. */
static void piece_pass_gap(struct piece *p)
{
	const struct logread_extent *both = &p->ext[STREAM_BOTH];
	if (both->gap_to <= both->gap_from || p->both < both->gap_from || p->both >= both->gap_to)
		return;
	p->both = both->gap_to;
	for (int s = STREAM_STDOUT; s <= STREAM_STDERR; s++)
		if (p->ext[s].gap_to > p->ext[s].gap_from)
			p->at[s] = MAX2(p->at[s], p->ext[s].gap_to);
}

static void piece_read(struct piece *p, struct logread *log)
{
	int64_t from, next, limit = PIECE_BYTES;
	p->error = logread_refresh(log);
	if (p->error)
		return;
	for (int s = STREAM_BOTH; s <= STREAM_STDERR; s++)
		p->ext[s] = logread_extent(log, p->op, p->attempt, s);
	if (p->sizes)
		return;
	piece_pass_gap(p);
	const struct logread_extent *both = &p->ext[STREAM_BOTH];
	if (p->both < both->gap_from)
		limit = MIN2(limit, both->gap_from - p->both);
	if (p->both < both->size)
		p->error = logread_read(log, p->op, p->attempt, STREAM_BOTH, p->both, limit,
					&p->data, &p->chunks, &from, &next);
}

/* --- telling it --- */

static void event_output(struct pk *pk, const struct follow *f, int stream)
{
	const struct piece *p = &f->piece;
	pk_map(pk);
	pk_kstr(pk, "type", slice_str("op.output"));
	pk_kint(pk, "time", time_wall_ms());
	pk_kint(pk, "run", (int64_t)f->run);
	pk_kint(pk, "op", p->op);
	pk_kint(pk, "attempt", p->attempt);
	pk_kstr(pk, "stream", slice_str(stream == STREAM_STDERR ? "stderr" : "stdout"));
	pk_kint(pk, "size", p->ext[stream].size);
}

static void send_output(struct follow *f, struct buf *b)
{
	struct body body = body_of(b);
	subs_send(f->sub, &body, subs_rev(f->sub));
	body_done(&body);
}

static void tell_sizes(struct follow *f, struct follow_op *o)
{
	for (int s = STREAM_STDOUT; s <= STREAM_STDERR; s++) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		struct pk pk = { .b = &b, .omit_nil = f->sub->omit_nil };
		if (f->piece.ext[s].size <= o->at[s])
			continue;
		event_output(&pk, f, s);
		pk_kint(&pk, "offset", o->at[s]);
		o->at[s] = f->piece.ext[s].size;
		pk_end(&pk);
		send_output(f, &b);
	}
	list_del(&o->dirty);
}

static void tell_bytes(struct follow *f, struct follow_op *o, int stream, struct slice data)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = { .b = &b, .omit_nil = f->sub->omit_nil };
	event_output(&pk, f, stream);
	pk_kint(&pk, "offset", o->at[stream]);
	pk_kbin(&pk, "data", data);
	pk_end(&pk);
	send_output(f, &b);
	o->at[stream] += (int64_t)data.len;
	o->both += (int64_t)data.len;
}

/* Neighbouring chunks of one stream go out as one event. What is left of very many small ones is
 * read again. */
static void tell_data(struct follow *f, struct follow_op *o)
{
	struct piece *p = &f->piece;
	const struct logread_chunk *c = (const void *)p->chunks.p;
	size_t n = p->chunks.len / sizeof(*c), at = 0;
	o->both = p->both;
	memcpy(o->at, p->at, sizeof(o->at));
	for (size_t i = 0, events = 0; i < n && events < PIECE_CHUNKS; events++) {
		int stream = c[i].stream;
		size_t len = 0;
		for (; i < n && c[i].stream == stream; i++)
			len += (size_t)c[i].bytes;
		tell_bytes(f, o, stream, slice_of(p->data.p + at, len));
		at += len;
	}
	list_del(&o->dirty);
	if (o->both < p->ext[STREAM_BOTH].size && at)
		list_add_tail(&f->dirty, &o->dirty);
}

static void piece_done(struct follow *f)
{
	struct piece *p = &f->piece;
	struct follow_op *o = op_find(f, p->op, p->attempt);
	if (p->error)
		log_warn("output of op %u of run %llu cannot be followed: %s", p->op,
			 (unsigned long long)f->run, strerror(-p->error));
	if (!o)
		return;
	if (p->error)
		list_del(&o->dirty);
	else if (p->sizes)
		tell_sizes(f, o);
	else
		tell_data(f, o);
	buf_clear(&p->data);
	buf_clear(&p->chunks);
}

static void job_run(void *arg)
{
	struct follow *f = arg;
	piece_read(&f->piece, f->log);
}

static void job_done(void *arg)
{
	struct follow *f = arg;
	f->busy = false;
	if (!f->sub) {
		follow_release(f);
		return;
	}
	piece_done(f);
	follow_pump(f);
}

/* True: it was read at once, which is done for live runs, whose log is in memory. */
static bool follow_read(struct follow *f, struct follow_op *o)
{
	struct piece *p = &f->piece;
	p->op = (uint32_t)(o->key >> 32);
	p->attempt = (uint32_t)o->key;
	p->sizes = f->sub->output == SUB_OUTPUT_SIZES;
	p->both = o->both;
	memcpy(p->at, o->at, sizeof(p->at));
	if (f->live) {
		piece_read(p, f->log);
		piece_done(f);
		return true;
	}
	f->busy = true;
	work_submit(f->sub->conn->s->config.work, job_run, job_done, f);
	return false;
}

/* --- the order of things --- */

static struct follow_op *dirty_first(const struct follow *f)
{
	return list_empty(&f->dirty) ? NULL : list_entry(f->dirty.next, struct follow_op, dirty);
}

static struct held *held_first(const struct follow *f)
{
	return list_empty(&f->held) ? NULL : list_entry(f->held.next, struct held, list);
}

/* What is to be read before the first held event may go, or just next. NULL: nothing. */
static struct follow_op *follow_next(struct follow *f, const struct held *h)
{
	if (!h || h->run_end)
		return dirty_first(f);
	return h->op ? op_pending(f, h->op, h->attempts) : NULL;
}

/* Sends the first held event. False: it was the run's end, and with it the follow is gone. */
static bool follow_release_held(struct follow *f, struct held *h)
{
	bool end = h->run_end;
	subs_send(f->sub, &h->body, h->rev);
	if (h->op)
		op_forget(f, h->op, h->attempts);
	held_free(f, h);
	if (end)
		follow_free(f);
	return !end;
}

static void follow_pump(struct follow *f)
{
	while (!f->busy && subs_room(f->sub->conn)) {
		struct held *h = held_first(f);
		struct follow_op *o = follow_next(f, h);
		if (o) {
			if (!follow_read(f, o))
				return;
		} else if (!h || !follow_release_held(f, h)) {
			return;
		}
	}
}

void follow_pump_all(struct sub *sub)
{
	struct follow *f, *next;
	HASH_ITER(hh, sub->follows, f, next)
	follow_pump(f);
}

static struct held *follow_hold(struct follow *f, const struct body *body, int64_t rev)
{
	struct held *h = xcalloc(1, sizeof(*h));
	h->body = (struct body){ .bytes = shared_ref(body->bytes), .keys = body->keys };
	h->rev = rev;
	list_add_tail(&f->held, &h->list);
	f->held_bytes += h->body.bytes->len;
	return h;
}

void follow_resync(struct sub *sub)
{
	struct follow *f, *next;
	HASH_ITER(hh, sub->follows, f, next)
	list_for_safe (&f->held, node) {
		struct held *h = list_entry(node, struct held, list);
		if (h->run_end)
			continue;
		if (h->op && !op_pending(f, h->op, h->attempts))
			op_forget(f, h->op, h->attempts);
		held_free(f, h);
	}
}

static void event_op(struct follow *f, const struct op_row *op, const struct event *e,
		     const struct body *body)
{
	bool ended = op_state_ended(op->state);
	if (ended && op->stdout_bytes + op->stderr_bytes > 0 && !op_told(f, op->op))
		op_dirty(f, op->op, op->attempts);
	if (list_empty(&f->held) && !(ended && op_pending(f, op->op, op->attempts))) {
		subs_send(f->sub, body, e->rev);
		if (ended)
			op_forget(f, op->op, op->attempts);
		return;
	}
	struct held *h = follow_hold(f, body, e->rev);
	h->op = ended ? op->op : 0;
	h->attempts = op->attempts;
}

static void event_run(struct follow *f, const struct event *e, const struct body *body)
{
	if (list_empty(&f->held) && !run_state_ended(e->row->state)) {
		subs_send(f->sub, body, e->rev);
		return;
	}
	follow_hold(f, body, e->rev)->run_end = run_state_ended(e->row->state);
}

static void follow_take(struct follow *f, const struct event *e, const struct body *body)
{
	switch (e->type) {
	case EVENT_OP_OUTPUT:
		if (!op_told(f, e->output_op))
			op_dirty(f, e->output_op, e->output_attempt);
		break;
	case EVENT_OP_STATE:
		event_op(f, e->op, e, body);
		break;
	case EVENT_RUN_STATE:
		event_run(f, e, body);
		break;
	case EVENT_TODO_CHANGED:
		break;
	}
}

void follow_event(struct sub *sub, const struct event *e, const struct body *body)
{
	struct follow *f = follow_find(sub, e->run);
	if (!f && e->type == EVENT_RUN_STATE && !run_state_ended(e->row->state))
		f = follow_new(sub, e->run, true, e->row->n_ops);
	if (!f) {
		if (body)
			subs_send(sub, body, e->rev);
		return;
	}
	follow_take(f, e, body);
	if (f->held_bytes > LIMIT_QUEUE_BYTES)
		subs_overflow(sub->conn);
	follow_pump(f);
}

/* --- beginning --- */

/* What was printed so far is not wanted: the positions are those of now. */
static void op_skip(struct follow *f, uint32_t op, uint32_t attempt)
{
	struct follow_op *o = op_dirty(f, op, attempt);
	o->both = logread_extent(f->log, op, attempt, STREAM_BOTH).size;
	for (int s = STREAM_STDOUT; s <= STREAM_STDERR; s++)
		o->at[s] = logread_extent(f->log, op, attempt, s).size;
}

void follow_live(struct sub *sub, uint64_t run)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct engine *e = sub->conn->s->config.engine;
	struct run_row row;
	struct op_row op;
	if (!engine_run_row(e, run, &row))
		return;
	struct follow *f = follow_new(sub, run, true, row.n_ops);
	bool skip = sub->from_now && logread_refresh(f->log) == 0;
	for (uint32_t i = 1; i <= row.n_ops && engine_op_row(e, run, i, &text, &op); i++) {
		if (op.attempts == 0)
			continue;
		if (!skip)
			op_all_dirty(f, i, op.attempts);
		else if (!op_state_ended(op.state))
			op_skip(f, i, op.attempts);
		else
			op_forget(f, i, 0);
	}
	follow_pump(f);
}

void follow_ended(struct sub *sub, uint64_t run, struct slice begun, struct body *end)
{
	const struct follow_begun *b = (const void *)begun.p;
	struct follow *f = follow_new(sub, run, false, 0);
	for (size_t i = 0; i < begun.len / sizeof(*b); i++)
		op_all_dirty(f, b[i].op, b[i].attempts);
	follow_hold(f, end, subs_rev(sub))->run_end = true;
	body_done(end);
	follow_pump(f);
}
