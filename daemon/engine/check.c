/*
 * batch.check: what engine_submit would say of a batch, without accepting it. Its key alone is not
 * the engine's to know: the store is asked, after all that was submitted before.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "daemon/engine/live.h"
#include "proto/errors.h"
#include "proto/mp.h"

struct check {
	struct engine_check k;
	char *key; /* NULL: it has none that could be asked for */
	struct err err;
};

static void check_plan(const struct live_run *r, struct pk *pk)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	pk_map(pk);
	pk_key(pk, "messages");
	live_pack_plan(r, pk, &text);
	pk_kint(pk, "ops", r->plan->n_ops);
	pk_kstr(pk, "group", slice_str(r->group));
	pk_kint(pk, "slots", MIN2(r->pool->slots, r->jobs));
	pk_ktext(pk, "list", slice_str(r->list));
	pk_ktext(pk, "project", slice_str(r->project));
	pk_end(pk);
}

/* Submit would answer with that run: one warning more. */
static void check_warn_key(const char *key, uint64_t run, struct buf *warnings)
{
	_cleanup_buf_ struct buf had = BUF_INIT, text = BUF_INIT;
	struct pk pk = PK_INIT(warnings);
	buf_addslice(&had, buf_slice(warnings));
	buf_clear(warnings);
	buf_addf(&text, "key '%s' was used before: run %" PRIu64 " is this batch", key, run);
	struct mp m = mp_of(buf_slice(&had));
	pk_array(&pk);
	for (uint32_t n = mp_next(&m).count; n > 0; n--)
		pk_raw(&pk, mp_skip(&m));
	pk_str(&pk, buf_slice(&text));
	pk_end(&pk);
}

/* The key comes first: what its first run was accepted with may be gone by now. */
static void check_done(void *arg, enum txn_status status, uint64_t existing, const struct err *err)
{
	struct check *c = arg;
	if (status == TXN_FAILED)
		c->err = *err;
	if (status == TXN_KEY_OTHER)
		accept_other_batch(c->key, existing, &c->err);
	if (status == TXN_KEY_SAME) {
		check_warn_key(c->key, existing, c->k.warnings);
		c->err = (struct err)ERR_INIT;
	}
	c->k.done(c->k.arg, c->err.text[0] ? &c->err : NULL);
	free(c->key);
	free(c);
}

static void check_ask_key(struct engine *e, struct check *c, const uint8_t digest[32])
{
	struct txn *t = txn_new(check_done, c);
	txn_key(t, c->key, digest);
	e->ports.commit(e->ports.arg, t);
}

void engine_check(struct engine *e, const struct engine_check *k)
{
	struct engine_batch *b = k->batch;
	struct live_run *r = b->run;
	struct check *c = xcalloc(1, sizeof(*c));
	uint8_t digest[32];
	*c = (struct check){ .k = *k, .err = b->err };
	if (r) {
		live_join(r, e, 0);
		accept_refers(r, &c->err);
		check_plan(r, k->plan);
		accept_warn(r, buf_slice(&b->warnings), k->warnings);
		memcpy(digest, r->digest, sizeof(digest));
		c->key = r->key ? xstrdup(r->key) : NULL;
	}
	engine_batch_free(b);
	if (c->key)
		check_ask_key(e, c, digest);
	else
		check_done(c, TXN_DONE, 0, NULL);
}
