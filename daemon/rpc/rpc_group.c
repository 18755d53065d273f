/* group.*: the pools of slots. */
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/page.h"
#include "daemon/rpc/rpc.h"

static void group_pack(struct pk *pk, const struct engine_group *g)
{
	pk_map(pk);
	pk_kstr(pk, "group", slice_str(g->group));
	pk_kint(pk, "slots", g->slots);
	pk_kint(pk, "used", g->used);
	pk_kint(pk, "runs", g->runs);
	pk_kbool(pk, "paused", g->paused);
	pk_kbool(pk, "by_hand", g->by_hand);
	pk_end(pk);
}

static bool page_group(void *arg, const struct engine_group *g)
{
	struct page *page = arg;
	if (!page_takes(page, g->group))
		return false;
	group_pack(page->pk, g);
	return true;
}

void rpc_group_list(struct rpc_call *call, const void *params)
{
	const struct params_group_list *p = params;
	_cleanup_free_ char *after = xslicedup(p->after);
	struct buf b = BUF_INIT;
	struct pk pk = rpc_pk(call, &b);
	struct page page = { .pk = &pk, .left = p->limit };
	pk_map(&pk);
	pk_key(&pk, "groups");
	pk_array(&pk);
	engine_each_group(call->s->config.engine, after, page_group, &page);
	pk_end(&pk);
	page_next(&page);
	pk_end(&pk);
	rpc_reply(call, &b);
}

struct set_job {
	struct rpc_call *call;
	char *group;
};

static void set_done(void *arg, const struct err *err)
{
	struct set_job *j = arg;
	struct engine_group g;
	if (err) {
		rpc_fail(j->call, err);
	} else {
		struct buf b = BUF_INIT;
		struct pk pk = rpc_pk(j->call, &b);
		engine_get_group(j->call->s->config.engine, j->group, &g);
		group_pack(&pk, &g);
		rpc_reply(j->call, &b);
	}
	free(j->group);
	free(j);
}

void rpc_group_set(struct rpc_call *call, const void *params)
{
	const struct params_group_set *p = params;
	struct set_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->group = xslicedup(p->group);
	engine_set_group(call->s->config.engine, j->group, (uint32_t)p->slots,
			 p->has_paused ? &p->paused : NULL, set_done, j);
}
