#include "client/pages.h"

#include "proto/mp.h"
#include "proto/pack.h"

void pages_done(struct pages *p)
{
	buf_done(&p->items);
	buf_done(&p->all);
}

int64_t pages_add(struct pages *p, struct slice page, const char *key)
{
	struct mp m = mp_of(mp_find(page, key));
	struct mp_value array = mp_next(&m);
	for (uint32_t i = 0; array.type == MP_ARRAY && i < array.count; i++) {
		buf_addslice(&p->items, mp_skip(&m));
		p->n++;
	}
	return mp_get_int(page, "next", -1);
}

void pages_end(struct pages *p, struct slice page, const char *key)
{
	struct pk pk = PK_INIT(&p->all);
	struct mp m = mp_of(page), items = mp_of(buf_slice(&p->items));
	pk_map(&pk);
	for (uint32_t pairs = mp_next(&m).count; pairs > 0; pairs--) {
		struct slice name = mp_next(&m).bytes, value = mp_skip(&m);
		pk_keyslice(&pk, name);
		if (!slice_is(name, key)) {
			pk_raw(&pk, value);
			continue;
		}
		pk_array(&pk);
		for (uint32_t i = 0; i < p->n; i++)
			pk_raw(&pk, mp_skip(&items));
		pk_end(&pk);
	}
	pk_end(&pk);
}

int pages_call(struct ctx *c, const char *method, const char *key, struct pages *p)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct slice next = SLICE_NONE;
	do {
		struct pk pk = PK_INIT(&params);
		buf_clear(&params);
		pk_map(&pk);
		if (next.p)
			pk_kraw(&pk, "after", next);
		pk_end(&pk);
		int status = ctx_call(c, method, &params, &reply);
		if (status)
			return status;
		(void)pages_add(p, buf_slice(&reply), key);
		next = mp_find(buf_slice(&reply), "next");
	} while (next.p);
	pages_end(p, buf_slice(&reply), key);
	return EXIT_OK;
}
