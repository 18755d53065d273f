#include "client/plan_print.h"

#include "client/term.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/batch.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/pack.h"

static void plan_deps(struct buf *b, const struct plan *p, const struct plan_op *o)
{
	for (uint32_t i = 0; i < o->ndeps; i++) {
		const struct plan_dep *d = &p->deps[o->dep + i];
		struct slice id = plan_op_id(p, d->op);
		buf_adds(b, i ? ", " : "  after ");
		if (id.len)
			text_one_line(b, id, LIMIT_NAME_BYTES);
		else
			buf_addf(b, "%u", d->op + 1);
		if (d->any)
			buf_adds(b, " (however it ends)");
	}
}

static void plan_op(struct buf *b, const struct plan *p, uint32_t index, bool color)
{
	const struct plan_op *o = &p->ops[index];
	struct slice id = plan_op_id(p, index);
	struct batch_op op;
	_cleanup_buf_ struct buf text = BUF_INIT;
	plan_op_decode(p, index, &op);
	batch_op_text(&op, &text);
	buf_addf(b, "  %4u  %-5s ", index + 1, op_kind_names[o->kind]);
	if (id.len) {
		term_color(b, color, COLOR_BOLD);
		text_one_line(b, id, LIMIT_NAME_BYTES);
		term_color(b, color, COLOR_NONE);
		buf_adds(b, ": ");
	}
	text_one_line(b, buf_slice(&text), 4 * LIMIT_TEXT_CHARS);
	plan_deps(b, p, o);
	if (o->optional)
		buf_adds(b, "  optional");
	if (o->exclusive)
		buf_adds(b, "  alone");
	if (op.todo.len) {
		buf_adds(b, "  todo ");
		text_one_line(b, op.todo, LIMIT_NAME_BYTES);
	}
	if (op.has_timeout) {
		buf_adds(b, "  timeout ");
		duration_print(b, op.timeout_ms);
	}
	buf_addc(b, '\n');
}

static void plan_message(struct buf *b, const struct plan *p, const struct plan_message *m,
			 bool color)
{
	term_color(b, color, COLOR_BOLD);
	buf_addf(b, "message %u", m->index + 1);
	if (m->m.name.len) {
		buf_adds(b, ": ");
		text_one_line(b, m->m.name, LIMIT_NAME_BYTES);
	}
	term_color(b, color, COLOR_NONE);
	buf_addf(b, " (%u op%s, %s", m->count, PLURAL(m->count), batch_order_names[m->m.order]);
	if (m->m.on_failure != FAIL_STOP)
		buf_addf(b, ", on failure %s", on_failure_names[m->m.on_failure]);
	buf_adds(b, m->m.always ? ", always)\n" : ")\n");
	for (uint32_t i = 0; i < m->count; i++)
		plan_op(b, p, m->first + i, color);
}

int plan_print(struct ctx *c, struct slice batch)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	struct plan *p;
	if (plan_make(batch, &p, &e))
		return fail_err(c, &e);
	for (uint32_t i = 0; i < p->n_messages; i++)
		plan_message(&b, p, &p->messages[i], c->color_out);
	buf_addf(&b, "%u op%s in %u message%s\n", p->n_ops, PLURAL(p->n_ops), p->n_messages,
		 PLURAL(p->n_messages));
	plan_free(p);
	return ctx_print(c, &b);
}

static void plan_pack_op(struct pk *pk, const struct plan *p, uint32_t index)
{
	struct batch_op op;
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct slice id = plan_op_id(p, index);
	plan_op_decode(p, index, &op);
	batch_op_text(&op, &text);
	pk_map(pk);
	pk_kint(pk, "index", index + 1);
	pk_kstr(pk, "id", id.len ? id : SLICE_NONE);
	pk_kstr(pk, "kind", slice_str(op_kind_names[op.kind]));
	pk_kstr(pk, "text", buf_slice(&text));
	pk_key(pk, "after");
	pk_array(pk);
	for (uint32_t i = 0; i < p->ops[index].ndeps; i++)
		pk_int(pk, p->deps[p->ops[index].dep + i].op + 1);
	pk_end(pk);
	pk_end(pk);
}

int plan_check(struct slice batch, struct buf *ret, struct err *e)
{
	struct pk pk = PK_INIT(ret);
	struct plan *p;
	int r = plan_make(batch, &p, e);
	if (r)
		return r;
	pk_map(&pk);
	pk_key(&pk, "plan");
	pk_map(&pk);
	pk_key(&pk, "messages");
	pk_array(&pk);
	for (uint32_t i = 0; i < p->n_messages; i++) {
		pk_map(&pk);
		pk_kint(&pk, "index", i + 1);
		pk_kstr(&pk, "name", p->messages[i].m.name);
		pk_key(&pk, "ops");
		pk_array(&pk);
		for (uint32_t k = 0; k < p->messages[i].count; k++)
			plan_pack_op(&pk, p, p->messages[i].first + k);
		pk_end(&pk);
		pk_end(&pk);
	}
	pk_end(&pk);
	pk_end(&pk);
	pk_key(&pk, "warnings");
	pk_array(&pk);
	plan_warn(p, &pk);
	plan_advise(p, &pk);
	pk_end(&pk);
	pk_end(&pk);
	plan_free(p);
	return 0;
}
