/* What each op of a plan waits for, as run.plan shows it. */
#include "proto/batch.h"
#include "proto/pack.h"

static void plan_pack_deps(const struct plan *p, const struct plan_op *o, bool any, struct pk *pk)
{
	pk_key(pk, any ? "after_any" : "needs");
	pk_array(pk);
	for (uint32_t i = 0; i < o->ndeps; i++)
		if (p->deps[o->dep + i].any == any)
			pk_int(pk, p->deps[o->dep + i].op + 1);
	pk_end(pk);
}

static void plan_pack_waits(const struct plan *p, uint32_t op, struct pk *pk)
{
	const struct plan_op *o = &p->ops[op];
	pk_map(pk);
	pk_kint(pk, "index", op + 1);
	plan_pack_deps(p, o, false, pk);
	plan_pack_deps(p, o, true, pk);
	pk_kint(pk, "weight", o->weight);
	pk_kbool(pk, "exclusive", o->exclusive);
	pk_kbool(pk, "background", o->background);
	pk_end(pk);
}

void plan_pack_page(const struct plan *p, struct plan_page *page)
{
	struct pk *pk = page->pk;
	uint32_t sent = 0, op = page->first;
	pk_key(pk, "ops");
	pk_array(pk);
	/* The first is sent in any case: its dependencies are at most a request's. */
	for (; op < p->n_ops && (page->limit < 0 || sent < page->limit); op++, sent++) {
		size_t bytes = (size_t)p->ops[op].ndeps * 9 + 100;
		if (sent > 0 && pk->b->len + bytes > page->max_bytes)
			break;
		plan_pack_waits(p, op, pk);
	}
	pk_end(pk);
	pk_kint_or_nil(pk, "next", op + 1, op < p->n_ops);
}
