/* A batch from outside: planning answers; what it accepts keeps its meaning when stored, and every
 * op can be unpacked and shown. */
#include <string.h>

#include "common/text.h"
#include "proto/batch.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/scan.h"
#include "tests/fuzz/fuzz.h"

static void check_deps(const struct plan *p, uint32_t op)
{
	const struct plan_op *o = &p->ops[op];
	HOLDS(o->dep + o->ndeps <= p->n_deps);
	for (uint32_t i = 0; i < o->ndeps; i++) {
		uint32_t on = p->deps[o->dep + i].op;
		HOLDS(on != op && on < p->n_ops && p->ops[on].message <= o->message);
		HOLDS(i == 0 || on > p->deps[o->dep + i - 1].op);
	}
}

static void check_ops(const struct plan *p)
{
	for (uint32_t i = 0; i < p->n_ops; i++) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		struct batch_op op;
		plan_op_decode(p, i, &op);
		HOLDS(op.kind == p->ops[i].kind);
		batch_op_text(&op, &b);
		HOLDS(utf8_valid(buf_slice(&b)) && b.len <= 4 * LIMIT_TEXT_CHARS);
		HOLDS(!memchr(b.p ? b.p : "", '\n', b.len));
		buf_clear(&b);
		batch_op_path(&p->head, &op, &b);
		HOLDS(b.len > 0 && b.p[0] == '/');
		HOLDS(!plan_op_id(p, i).p || plan_find(p, plan_op_id(p, i)) == i);
		check_deps(p, i);
	}
}

static void check_stored(const struct plan *p)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	uint8_t sent[32], stored[32];
	struct plan *again = NULL;
	struct err e = ERR_INIT;
	batch_strip(p->raw, &b);
	HOLDS(plan_make(buf_slice(&b), &again, &e) == 0);
	HOLDS(again->n_ops == p->n_ops && again->n_deps == p->n_deps &&
	      again->n_messages == p->n_messages);
	batch_digest(p->raw, sent);
	batch_digest(buf_slice(&b), stored);
	HOLDS(memcmp(sent, stored, sizeof(sent)) == 0);
	plan_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf env = BUF_INIT;
	struct scan s;
	size_t used;
	struct plan *p = NULL;
	struct err e = ERR_INIT;
	scan_init(&s);
	if (scan_feed(&s, data, size, &used) != SCAN_DONE)
		return 0;
	if (plan_make(slice_of(data, used), &p, &e)) {
		HOLDS(e.sym > E_NONE && e.sym < E_SYMBOL_MAX && e.text[0] &&
		      utf8_valid(slice_str(e.text)));
		HOLDS(!strchr(e.text, '\n'));
		return 0;
	}
	check_ops(p);
	check_stored(p);
	batch_env(&p->head, NULL, &env);
	plan_free(p);
	return 0;
}
