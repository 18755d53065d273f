/*
 * The steps of plan_make(), each a file: plan.c reads the batch, plan_deps.c resolves ids and
 * refuses cycles, plan_files.c refuses conflicts between file ops, plan_todos.c proves todo items.
 * Only these include this. All: 0, or 1 with e filled.
 */
#ifndef PROTO_PLAN_IMPL_H
#define PROTO_PLAN_IMPL_H

#include "proto/batch.h"
#include "proto/errors.h"

#define PLAN_PATH_MAX 64

/* "messages[2].ops[0]", the op's place for error texts; fills and returns `text`. */
const char *plan_op_place(const struct plan *p, uint32_t op, char text[PLAN_PATH_MAX]);
/* The op's id in quotes where it has one, else its place. */
const char *plan_op_name(const struct plan *p, uint32_t op, char *text, size_t size);
/* Its map in the batch's bytes. */
struct slice plan_op_raw(const struct plan *p, uint32_t op);

/* Makes the table of ids; an id that comes twice is refused. */
int plan_index_ids(struct plan *p, struct err *e) _must_check_;
/* Fills plan.deps from needs and after_any (ops[].ndeps holds their number as written), and refuses
 * what cannot be. */
int plan_link(struct plan *p, struct err *e) _must_check_;
/*
 * Whether `op` waits, directly or not, for `target`, both of message m. `order` is their place in
 * an order in which each op comes after what it waits for; `seen` and `stack` have room for all
 * ops, seen is all zero before and after. *budget steps at most; it is at or below zero when that
 * did not do.
 */
struct plan_walk {
	uint32_t *order; /* by op */
	uint32_t *stack, *touched;
	uint8_t *seen;
	int64_t budget;
};
bool plan_waits_for(const struct plan *p, struct plan_walk *w, uint32_t op, uint32_t target);
/* Room for walks over p, order filled: the deps have no cycle. */
int plan_walk_init(struct plan_walk *w, const struct plan *p, struct err *e) _must_check_;
void plan_walk_done(struct plan_walk *w);

int plan_check_files(const struct plan *p, struct err *e) _must_check_;
int plan_check_todos(const struct batch_op *op, const char *path, struct err *e) _must_check_;

#endif
