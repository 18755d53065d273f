#include "daemon/rpc/subs.h"

#include <stdlib.h>

#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/follow.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/shape.h"
#include "proto/mp.h"

#define ROOM_BYTES (128 << 10) /* unwritten, above which no more output is read for a peer */

struct subs_of_run {
	uint64_t run;
	struct list list;
	UT_hash_handle hh;
};

struct subs {
	struct rpc_server *s;
	struct subs_of_run *runs;
	struct list all_runs, todos;
	uint64_t last;
	size_t count;
	struct buf scratch;
};

struct subs *subs_new(struct rpc_server *s)
{
	struct subs *all = xcalloc(1, sizeof(*all));
	all->s = s;
	list_init(&all->all_runs);
	list_init(&all->todos);
	return all;
}

struct subs *subs_free(struct subs *all)
{
	if (!all)
		return NULL;
	buf_done(&all->scratch);
	free(all);
	return NULL;
}

size_t subs_count(const struct subs *all)
{
	return all->count;
}

/* --- bodies --- */

struct body body_of(const struct buf *map)
{
	struct mp m = mp_of(buf_slice(map));
	struct mp_value head = mp_next(&m);
	return (struct body){ .bytes = shared_new(slice_of(m.p, (size_t)(m.end - m.p))),
			      .keys = head.count };
}

void body_done(struct body *body)
{
	body->bytes = shared_unref(body->bytes);
}

static void event_open(struct pk *pk, const char *type, int64_t time)
{
	pk_map(pk);
	pk_kstr(pk, "type", slice_str(type));
	pk_kint(pk, "time", time);
}

static void pack_todo_changed(struct pk *pk, const struct event *e)
{
	pk_ktext(pk, "list", slice_str(e->list));
	pk_kint(pk, "todo_rev", e->todo_rev);
	pk_kint_or_nil(pk, "run", (int64_t)e->run, e->run != 0);
	pk_key(pk, "before");
	shape_items(pk, e->before.len ? e->before : SLICE_NONE);
	pk_key(pk, "after");
	shape_items(pk, e->after.len ? e->after : SLICE_NONE);
}

static struct body body_event(const struct event *e, bool omit_nil)
{
	static const char *const types[] = { [EVENT_RUN_STATE] = "run.state",
					     [EVENT_OP_STATE] = "op.state",
					     [EVENT_OP_OUTPUT] = "op.output",
					     [EVENT_TODO_CHANGED] = "todo.changed" };
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = { .b = &b, .omit_nil = omit_nil };
	event_open(&pk, types[e->type], e->time);
	switch (e->type) {
	case EVENT_RUN_STATE:
		shape_run_event(&pk, e->row);
		break;
	case EVENT_OP_STATE:
		shape_op_event(&pk, e->op);
		break;
	case EVENT_TODO_CHANGED:
		pack_todo_changed(&pk, e);
		break;
	case EVENT_OP_OUTPUT:
		break;
	}
	pk_end(&pk);
	return body_of(&b);
}

struct body body_run_state(const struct run_row *row, int64_t time, bool omit_nil)
{
	const struct event e = {
		.type = EVENT_RUN_STATE, .run = row->run, .row = row, .time = time
	};
	return body_event(&e, omit_nil);
}

/* --- sending --- */

static void put_head(struct sub *sub, uint32_t keys, int64_t rev, struct buf *b)
{
	struct pk pk = PK_INIT(b);
	uint32_t all = keys + 3;
	buf_clear(b);
	buf_addslice(b, buf_slice(&sub->prefix));
	if (all < 16) {
		buf_addc(b, (char)(0x80 | all));
	} else {
		const char head[3] = { (char)0xde, (char)(all >> 8), (char)all };
		buf_add(b, head, sizeof(head));
	}
	pk_str(&pk, slice_str("sub"));
	pk_int(&pk, (int64_t)sub->id);
	pk_str(&pk, slice_str("rev"));
	pk_int(&pk, rev);
	pk_str(&pk, slice_str("prev"));
	pk_int(&pk, sub->rev);
}

static void sub_queue(struct sub *sub, const struct body *body, int64_t rev)
{
	struct rpc_conn *c = sub->conn;
	struct buf *head = &c->s->subs->scratch;
	put_head(sub, body->keys, rev, head);
	c->notes = MIN2(c->notes, peer_backlog(c->peer)) + head->len + body->bytes->len;
	peer_send(c->peer, buf_slice(head));
	peer_send_shared(c->peer, body->bytes);
	sub->rev = rev;
}

/* Too much waits for this connection: it is told to look anew, and nothing more until it has taken
 * that. */
static void conn_overflow(struct rpc_conn *c)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	int64_t rev = engine_rev(c->s->config.engine);
	event_open(&pk, "resync", time_wall_ms());
	pk_end(&pk);
	struct body body = body_of(&b);
	list_for (&c->subs, node) {
		struct sub *sub = list_entry(node, struct sub, in_conn);
		follow_resync(sub);
		sub_queue(sub, &body, MAX2(rev, sub->rev));
	}
	body_done(&body);
	c->dropping = peer_queued(c->peer);
	c->dropping_subs = c->s->subs->last;
	peer_must_read(c->peer, SUBS_STUCK_S);
}

void subs_send(struct sub *sub, const struct body *body, int64_t rev)
{
	struct rpc_conn *c = sub->conn;
	size_t waiting = MIN2(c->notes, peer_backlog(c->peer));
	if (c->dropping && sub->id <= c->dropping_subs)
		return;
	if (body->bytes->len > LIMIT_REPLY_BYTES ||
	    (waiting && waiting + body->bytes->len > LIMIT_QUEUE_BYTES))
		conn_overflow(c);
	else
		sub_queue(sub, body, MAX2(rev, sub->rev));
}

void subs_overflow(struct rpc_conn *c)
{
	if (!c->dropping)
		conn_overflow(c);
}

bool subs_room(const struct rpc_conn *c)
{
	return !c->dropping && peer_backlog(c->peer) < ROOM_BYTES;
}

int64_t subs_rev(const struct sub *sub)
{
	return sub->rev;
}

void subs_drained(struct rpc_conn *c)
{
	c->notes = 0;
	if (c->dropping && peer_written(c->peer) >= c->dropping) {
		c->dropping = 0;
		peer_must_read(c->peer, 0);
	}
	list_for (&c->subs, node)
		follow_pump_all(list_entry(node, struct sub, in_conn));
}

/* --- events --- */

/* Encoded when the first subscriber of that form is met. */
struct encoded {
	const struct event *e;
	struct body body[2]; /* with nils, without */
};

static const struct body *encoded_get(struct encoded *x, bool omit_nil)
{
	if (!x->body[omit_nil].bytes)
		x->body[omit_nil] = body_event(x->e, omit_nil);
	return &x->body[omit_nil];
}

/* The end of a run that an op waits for is told when the op has its slots again. */
struct sub_end {
	struct event e;
	struct run_row row;
	struct body body;
};

static struct sub_end *sub_end_free(struct sub_end *end)
{
	if (end)
		body_done(&end->body);
	free(end);
	return NULL;
}

static void sub_tell(struct sub *sub, const struct event *e, const struct body *body)
{
	if (sub->output)
		follow_event(sub, e, body);
	else if (body)
		subs_send(sub, body, e->rev);
}

static void sub_back(void *arg)
{
	struct sub *sub = arg;
	struct sub_end *end = sub->end;
	sub->end = NULL;
	sub_tell(sub, &end->e, &end->body);
	sub_end_free(end);
}

/* True: it is told later. */
static bool sub_ends_later(struct sub *sub, const struct event *e, const struct body *body)
{
	if (e->type != EVENT_RUN_STATE || !run_state_ended(e->row->state) ||
	    !lend_return(sub->conn->s, &sub->lend, sub_back, sub))
		return false;
	struct sub_end *end = sub->end = xmalloc(sizeof(*end));
	*end = (struct sub_end){
		.e = *e,
		.row = { .run = e->run, .state = e->row->state, .n_ops = e->row->n_ops },
		.body = { .bytes = shared_ref(body->bytes), .keys = body->keys },
	};
	end->e.row = &end->row;
	return true;
}

static void tell_run(struct list *subs, struct encoded *x)
{
	list_for (subs, node) {
		struct sub *sub = list_entry(node, struct sub, in_subs);
		const struct body *body =
			x->e->type == EVENT_OP_OUTPUT ? NULL : encoded_get(x, sub->omit_nil);
		if (!sub_ends_later(sub, x->e, body))
			sub_tell(sub, x->e, body);
	}
}

static void tell_todo(struct list *subs, struct encoded *x)
{
	list_for (subs, node) {
		struct sub *sub = list_entry(node, struct sub, in_subs);
		if (!sub->list || strcmp(sub->list, x->e->list) == 0)
			subs_send(sub, encoded_get(x, sub->omit_nil), x->e->rev);
	}
}

void subs_event(struct subs *all, const struct event *e)
{
	struct encoded x = { .e = e };
	struct subs_of_run *of = NULL;
	if (e->type == EVENT_TODO_CHANGED) {
		tell_todo(&all->todos, &x);
	} else {
		HASH_FIND(hh, all->runs, &e->run, sizeof(e->run), of);
		if (of)
			tell_run(&of->list, &x);
		tell_run(&all->all_runs, &x);
	}
	body_done(&x.body[0]);
	body_done(&x.body[1]);
}

bool subs_hear_run(const struct subs *all, uint64_t run)
{
	struct subs_of_run *of;
	HASH_FIND(hh, all->runs, &run, sizeof(run), of);
	return of || !list_empty(&all->all_runs);
}

/* --- life --- */

static struct list *subs_list_for(struct subs *all, const struct sub *sub)
{
	struct subs_of_run *of;
	if (sub->kind == SUB_TODO)
		return &all->todos;
	if (!sub->run)
		return &all->all_runs;
	HASH_FIND(hh, all->runs, &sub->run, sizeof(sub->run), of);
	if (!of) {
		of = xcalloc(1, sizeof(*of));
		of->run = sub->run;
		list_init(&of->list);
		HASH_ADD(hh, all->runs, run, sizeof(of->run), of);
	}
	return &of->list;
}

struct sub *subs_add(struct rpc_call *call, const struct sub *like, struct slice push)
{
	struct rpc_conn *c = rpc_conn_of(call);
	if (!c)
		return NULL;
	struct subs *all = c->s->subs;
	struct run_row row;
	struct sub *sub = xmalloc(sizeof(*sub));
	*sub = *like;
	sub->id = ++all->last;
	sub->conn = c;
	sub->omit_nil = call->omit_nil;
	sub->rev = engine_rev(c->s->config.engine);
	sub->list = like->list ? xstrdup(like->list) : NULL;
	rpc_push_prefix(push, &sub->prefix);
	if (sub->run && engine_run_row(c->s->config.engine, sub->run, &row))
		lend_begin(c, &sub->lend);
	list_add_tail(&c->subs, &sub->in_conn);
	list_add_tail(subs_list_for(all, sub), &sub->in_subs);
	all->count++;
	return sub;
}

static void sub_free(struct subs *all, struct sub *sub)
{
	struct subs_of_run *of = NULL;
	follow_free_all(sub);
	lend_end(sub->conn->s, &sub->lend);
	sub->end = sub_end_free(sub->end);
	list_del(&sub->in_conn);
	list_del(&sub->in_subs);
	all->count--;
	if (sub->kind == SUB_RUN && sub->run)
		HASH_FIND(hh, all->runs, &sub->run, sizeof(sub->run), of);
	if (of && list_empty(&of->list)) {
		HASH_DEL(all->runs, of);
		free(of);
	}
	buf_done(&sub->prefix);
	free(sub->list);
	free(sub);
}

bool subs_end(struct rpc_conn *c, uint64_t id)
{
	list_for_safe (&c->subs, node) {
		struct sub *sub = list_entry(node, struct sub, in_conn);
		if (sub->id == id) {
			sub_free(c->s->subs, sub);
			return true;
		}
	}
	return false;
}

void subs_conn_gone(struct subs *all, struct rpc_conn *c)
{
	list_for_safe (&c->subs, node)
		sub_free(all, list_entry(node, struct sub, in_conn));
}

void subs_pack(const struct sub *sub, struct pk *pk)
{
	pk_kint(pk, "sub", (int64_t)sub->id);
	pk_kint(pk, "rev", sub->rev);
}
