#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/plan_impl.h"
#include "proto/value.h"

struct plan *plan_free(struct plan *p)
{
	if (!p)
		return NULL;
	free(p->messages);
	free(p->ops);
	free(p->deps);
	free(p->ids);
	free(p);
	return NULL;
}

const char *plan_op_place(const struct plan *p, uint32_t op, char text[PLAN_PATH_MAX])
{
	uint32_t message = p->ops[op].message;
	snprintf(text, PLAN_PATH_MAX, "messages[%" PRIu32 "].ops[%" PRIu32 "]", message,
		 op - p->messages[message].first);
	return text;
}

const char *plan_op_name(const struct plan *p, uint32_t op, char *text, size_t size)
{
	char place[PLAN_PATH_MAX];
	struct slice id = plan_op_id(p, op);
	if (id.p)
		snprintf(text, size, "'%.*s'", SLICE_FMT(id));
	else
		snprintf(text, size, "%s", plan_op_place(p, op, place));
	return text;
}

struct slice plan_op_raw(const struct plan *p, uint32_t op)
{
	return slice_of(p->raw.p + p->ops[op].off, p->ops[op].len);
}

struct slice plan_op_id(const struct plan *p, uint32_t op)
{
	const struct plan_op *o = &p->ops[op];
	return o->id_len ? slice_of(p->raw.p + o->id_off, o->id_len) : SLICE_NONE;
}

void plan_op_decode(const struct plan *p, uint32_t op, struct batch_op *ret)
{
	int r = batch_op_decode(plan_op_raw(p, op), "", ret, NULL);
	assert(r == 0); /* it has been proved */
	(void)r;
}

/* --- making --- */

static int plan_head(struct plan *p, struct err *e)
{
	p->head = (struct batch_head){ .output_cap = DEFAULT_OUTPUT_CAP, .umask = 022 };
	if (field_decode(batch_head_fields, p->raw, &p->head, "", NULL, e))
		return 1;
	uint32_t n;
	array_open(p->head.messages, &n);
	if (n == 0)
		return err_set(e, E_PARAMS, "messages: a batch needs a message with an op");
	if (n > LIMIT_OPS)
		return err_set(e, E_LIMIT,
			       "messages: %" PRIu32 " are more than the %d ops of a batch", n,
			       LIMIT_OPS);
	p->messages = calloc(n, sizeof(*p->messages));
	if (!p->messages)
		return err_set(e, E_MEMORY, "no memory for %" PRIu32 " messages", n);
	return 0;
}

static int plan_message_read(struct plan *p, struct slice raw, struct err *e)
{
	char path[PLAN_PATH_MAX];
	struct plan_message *m = &p->messages[p->n_messages];
	snprintf(path, sizeof(path), "messages[%" PRIu32 "]", p->n_messages);
	m->m.on_failure = p->head.on_failure;
	m->m.order = p->head.order;
	if (field_decode(batch_message_fields, raw, &m->m, path, NULL, e))
		return 1;
	if (m->m.halt.p && !batch_halt_parse(m->m.halt, &m->halt))
		return err_set(e, E_PARAMS,
			       "%s.halt: write soon or now, a comma, and fail=N, success=N or "
			       "done=N: \"now,fail=1\"",
			       path);
	m->index = p->n_messages;
	m->first = p->n_ops;
	array_open(m->m.ops, &m->count);
	if (m->count == 0)
		return err_set(e, E_PARAMS, "%s.ops: a message needs an op", path);
	if (m->count > LIMIT_OPS - p->n_ops)
		return err_set(e, E_LIMIT, "%s.ops: more than %d ops in a batch", path, LIMIT_OPS);
	p->n_ops += m->count;
	p->n_messages++;
	return 0;
}

static int plan_messages(struct plan *p, struct err *e)
{
	uint32_t n;
	struct mp at = array_open(p->head.messages, &n);
	for (uint32_t i = 0; i < n; i++)
		if (plan_message_read(p, i + 1 == n ? mp_rest(&at) : mp_skip(&at), e))
			return 1;
	p->ops = calloc(p->n_ops, sizeof(*p->ops));
	return p->ops ? 0 : err_set(e, E_MEMORY, "no memory for %" PRIu32 " ops", p->n_ops);
}

/* Proves one op. Its place is only written out when something is wrong with it. */
static int plan_op_prove(const struct plan *p, uint32_t op, struct slice raw, struct batch_op *ret,
			 struct err *e)
{
	char path[PLAN_PATH_MAX];
	if (batch_op_decode(raw, "", ret, NULL) == 0 && ret->kind != KIND_TODOS)
		return 0;
	plan_op_place(p, op, path);
	if (batch_op_decode(raw, path, ret, e))
		return 1;
	return plan_check_todos(ret, path, e);
}

static int plan_op_read(struct plan *p, uint32_t message, uint32_t op, struct slice raw,
			struct err *e)
{
	struct batch_op o;
	p->ops[op].message = message;
	if (plan_op_prove(p, op, raw, &o, e))
		return 1;
	p->ops[op] = (struct plan_op){
		.off = (uint32_t)(raw.p - p->raw.p),
		.len = (uint32_t)raw.len,
		.id_off = o.id.p ? (uint32_t)(o.id.p - p->raw.p) : 0,
		.id_len = (uint8_t)o.id.len,
		.message = message,
		.ndeps = (uint32_t)(array_count(o.needs) + array_count(o.after_any)),
		.weight = (uint16_t)o.weight,
		.kind = (uint8_t)o.kind,
		.optional = o.optional,
		.exclusive = o.exclusive,
		.has_todo = o.todo.p != NULL,
		.detach = o.detach,
		.background = o.background,
		.looks = o.append || o.create_only || o.expect.p,
	};
	return 0;
}

static int plan_ops(struct plan *p, struct err *e)
{
	for (uint32_t i = 0; i < p->n_messages; i++) {
		uint32_t n;
		struct mp at = array_open(p->messages[i].m.ops, &n);
		for (uint32_t k = 0; k < n; k++)
			if (plan_op_read(p, i, p->messages[i].first + k, mp_skip(&at), e))
				return 1;
	}
	return 0;
}

int plan_make(struct slice batch, struct plan **ret, struct err *e)
{
	if (batch.len > LIMIT_FRAME_BYTES)
		return err_set(e, E_LIMIT, "a batch has at most %u bytes", LIMIT_FRAME_BYTES);
	struct plan *p = xcalloc(1, sizeof(*p));
	p->raw = batch;
	if (plan_head(p, e) || plan_messages(p, e) || plan_ops(p, e) || plan_index_ids(p, e) ||
	    plan_link(p, e) || plan_check_files(p, e)) {
		plan_free(p);
		return 1;
	}
	*ret = p;
	return 0;
}
