#include "daemon/rpc/opener.h"

#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/exec/work.h"
#include "daemon/rpc/rpc.h"

struct opening {
	struct list list; /* server->openings, until it begins */
	struct rpc_server *s;
	struct rpc_conn *c; /* NULL: gone */
	struct request q;   /* the thread's alone once it has begun */
	struct buf frame;   /* its bytes, once its connection is gone */
};

void opener_init(struct rpc_server *s)
{
	list_init(&s->openings);
	s->opener = work_new(s->config.base, 1);
}

static void opening_free(struct opening *o)
{
	list_del(&o->list);
	request_done(&o->q);
	buf_done(&o->frame);
	free(o);
}

void opener_done(struct rpc_server *s)
{
	s->opener = work_free(s->opener);
	if (s->opening)
		opening_free(s->opening);
}

/* On the opener's thread. */
static void opening_run(void *arg)
{
	struct opening *o = arg;
	const struct rpc_config *config = &o->s->config;
	request_unwrap(&o->q);
	if (!o->q.bad_async && o->q.method && config->handlers[o->q.method->id].fn)
		request_open(&o->q, config);
}

static void opening_take(struct opening *o, struct rpc_conn *c)
{
	struct peer *p = c->peer;
	c->opening = NULL;
	rpc_take(c, &o->q);
	peer_took(p);
}

static void opening_opened(void *arg)
{
	struct opening *o = arg;
	struct rpc_server *s = o->s;
	s->opening = NULL;
	if (o->c && !s->quiet)
		opening_take(o, o->c);
	else if (o->c)
		o->c->opening = NULL;
	opening_free(o);
	opener_next(s);
}

void opener_add(struct rpc_conn *c, const struct request *q)
{
	struct opening *o = xcalloc(1, sizeof(*o));
	o->s = c->s;
	o->c = c;
	o->q = *q;
	c->opening = o;
	list_add_tail(&c->s->openings, &o->list);
	opener_next(c->s);
}

void opener_next(struct rpc_server *s)
{
	list_for (&s->openings, node) {
		struct opening *o = list_entry(node, struct opening, list);
		if (s->opening)
			return;
		if (!rpc_conn_settled(o->c))
			continue;
		list_del(&o->list);
		s->opening = o;
		work_submit(s->opener, opening_run, opening_opened, o);
		return;
	}
}

void opener_forget(struct rpc_conn *c)
{
	struct opening *o = TAKE_PTR(c->opening);
	o->c = NULL;
	if (o == o->s->opening)
		peer_take_in(c->peer, &o->frame);
	else
		opening_free(o);
}
