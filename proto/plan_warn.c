/* What a batch may do and is probably not meant. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "common/xalloc.h"
#include "proto/pack.h"
#include "proto/plan_impl.h"
#include "proto/todo_item.h"
#include "proto/value.h"

#define WARNINGS_MAX 10 /* of a batch */
#define WARNING_NAMES 5

/* An item that an op sets in_progress. */
struct busy {
	struct slice owner, name;
	uint32_t index;
};

static int busy_order(const void *a, const void *b)
{
	const struct busy *x = a, *y = b;
	int r = memcmp(x->owner.p, y->owner.p, MIN2(x->owner.len, y->owner.len));
	if (r == 0)
		r = (x->owner.len > y->owner.len) - (x->owner.len < y->owner.len);
	return r ? r : (x->index > y->index) - (x->index < y->index);
}

/* In the words in which batchd warns of a todo.write. */
static void busy_text(struct buf *b, const char *place, const struct busy *v, uint32_t n)
{
	buf_addf(b, "%s.todos: %" PRIu32 " items ", place, n);
	if (v->owner.len) {
		buf_adds(b, "of '");
		text_one_line(b, v->owner, LIMIT_NAME_BYTES);
		buf_adds(b, "' are in_progress: ");
	} else {
		buf_adds(b, "without owner are in_progress: ");
	}
	for (uint32_t i = 0; i < n && i < WARNING_NAMES; i++) {
		buf_adds(b, i ? ", '" : "'");
		text_one_line(b, v[i].name, 80);
		buf_addc(b, '\'');
	}
	if (n > WARNING_NAMES)
		buf_adds(b, ", ...");
}

/* The items of the op that it sets in_progress, by owner. */
static uint32_t busy_of(const struct batch_op *op, struct busy *v)
{
	uint32_t n, n_busy = 0;
	struct mp at = array_open(op->todos, &n);
	for (uint32_t i = 0; i < n; i++) {
		struct todo_item item;
		struct err e;
		bool is = !todo_item_decode(mp_skip(&at), "", &item, NULL, &e) &&
			  item.status >= 0 &&
			  strcmp(wire_todo_statuses[item.status], "in_progress") == 0;
		if (is)
			v[n_busy++] =
				(struct busy){ .owner = item.owner.p ? item.owner : slice_str(""),
					       .name = item.id.p ? item.id : item.content,
					       .index = i };
	}
	qsort(v, n_busy, sizeof(*v), busy_order);
	return n_busy;
}

static uint32_t warn_op(const struct plan *p, uint32_t op, struct pk *pk)
{
	struct batch_op spec;
	char place[PLAN_PATH_MAX];
	uint32_t n, told = 0;
	plan_op_decode(p, op, &spec);
	array_open(spec.todos, &n);
	_cleanup_free_ struct busy *v = xcalloc(n + 1, sizeof(*v));
	n = busy_of(&spec, v);
	for (uint32_t i = 0, j; i < n; i = j) {
		_cleanup_buf_ struct buf text = BUF_INIT;
		for (j = i + 1; j < n && slice_eq(v[i].owner, v[j].owner); j++)
			;
		if (j - i < 2)
			continue;
		busy_text(&text, plan_op_place(p, op, place), &v[i], j - i);
		pk_str(pk, buf_slice(&text));
		told++;
	}
	return told;
}

void plan_warn(const struct plan *p, struct pk *pk)
{
	uint32_t told = 0;
	for (uint32_t op = 0; op < p->n_ops && told < WARNINGS_MAX; op++)
		if (p->ops[op].kind == KIND_TODOS)
			told += warn_op(p, op, pk);
}
