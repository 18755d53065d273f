#include "daemon/txn.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

/* The first chunk holds a turn's handful of records; later ones double, so that a big batch costs
 * few allocations. */
#define FIRST_CHUNK_BYTES 2048
#define MAX_CHUNK_BYTES (256u << 10)

struct chunk {
	struct chunk *next;
	size_t used, size;
	alignas(max_align_t) char bytes[];
};

struct txn {
	txn_done_fn done;
	void *arg;
	unsigned refs;	      /* one, and one more while done runs */
	bool kept;	      /* txn_keep() was called in done */
	struct chunk *chunks; /* the newest first; all memory of the records */
	struct txn_record *first, **end;
};

static struct chunk *chunk_new(size_t size, struct chunk *next)
{
	struct chunk *c = xmalloc(sizeof(*c) + size);

	c->next = next;
	c->used = 0;
	c->size = size;
	return c;
}

static void *txn_alloc(struct txn *t, size_t size, size_t align)
{
	struct chunk *c = t->chunks;
	size_t at = (c->used + align - 1) & ~(align - 1);

	if (at > c->size || size > c->size - at) {
		size_t want = MIN2(c->size * 2, (size_t)MAX_CHUNK_BYTES);

		t->chunks = c = chunk_new(MAX2(want, size), c);
		at = 0;
	}
	c->used = at + size;
	return c->bytes + at;
}

int txn_reserve(struct txn *t, size_t bytes)
{
	struct chunk *c;

	if (bytes <= t->chunks->size - t->chunks->used)
		return 0;
	c = malloc(sizeof(*c) + bytes);
	if (!c)
		return -ENOMEM;
	*c = (struct chunk){ .next = t->chunks, .size = bytes };
	t->chunks = c;
	return 0;
}

struct txn *txn_new(txn_done_fn done, void *arg)
{
	struct txn *t = xmalloc(sizeof(*t));

	t->done = done;
	t->arg = arg;
	t->refs = 1;
	t->kept = false;
	t->chunks = chunk_new(FIRST_CHUNK_BYTES, NULL);
	t->first = NULL;
	t->end = &t->first;
	return t;
}

struct txn *txn_free(struct txn *t)
{
	if (!t || --t->refs > 0)
		return NULL;
	for (struct chunk *c = t->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(t);
	return NULL;
}

bool txn_empty(const struct txn *t)
{
	return !t->first;
}

const struct txn_record *txn_first(const struct txn *t)
{
	return t->first;
}

/* What is kept may be committed anew, or freed, inside done already. */
void txn_finish(struct txn *t, enum txn_status status, uint64_t existing, const struct err *e)
{
	t->kept = false;
	t->refs++;
	if (t->done)
		t->done(t->arg, status, existing, e);
	if (!t->kept)
		t->refs--;
	txn_free(t);
}

void txn_keep(struct txn *t)
{
	assert(t->refs > 1);
	t->kept = true;
}

void txn_on_done(struct txn *t, txn_done_fn done, void *arg)
{
	t->done = done;
	t->arg = arg;
}

static struct txn_record *txn_add(struct txn *t, enum txn_kind kind)
{
	struct txn_record *r = txn_alloc(t, sizeof(*r), alignof(struct txn_record));

	r->kind = kind;
	r->next = NULL;
	*t->end = r;
	t->end = &r->next;
	return r;
}

static void txn_own_str(struct txn *t, const char **s)
{
	if (*s) {
		size_t len = strlen(*s) + 1;

		*s = memcpy(txn_alloc(t, len, 1), *s, len);
	}
}

/* An empty but present slice stays present. */
static void txn_own_slice(struct txn *t, struct slice *s)
{
	if (s->p) {
		char *p = txn_alloc(t, s->len + 1, 1);

		if (s->len)
			memcpy(p, s->p, s->len);
		s->p = p;
	}
}

static void txn_own_run(struct txn *t, struct run_row *row)
{
	txn_own_str(t, &row->name);
	txn_own_str(t, &row->key);
	txn_own_str(t, &row->cwd);
	txn_own_str(t, &row->project);
	txn_own_str(t, &row->group);
	txn_own_str(t, &row->list);
	txn_own_slice(t, &row->messages);
	txn_own_slice(t, &row->meta);
}

void txn_run_new(struct txn *t, const struct run_row *row, struct slice batch, struct slice env)
{
	struct txn_record *r = txn_add(t, TXN_RUN_NEW);

	r->run_new.row = *row;
	r->run_new.batch = batch;
	r->run_new.env = env;
	txn_own_run(t, &r->run_new.row);
	txn_own_slice(t, &r->run_new.env);
}

void txn_run_is(struct txn *t, const struct run_row *row)
{
	struct run_row *r = &t->first->run_new.row;

	assert(t->first->kind == TXN_RUN_NEW);
	r->run = row->run;
	r->state = row->state;
	r->origin = row->origin;
	r->parent = row->parent;
	r->parent_op = row->parent_op;
	r->created = row->created;
}

void txn_key(struct txn *t, const char *key, const uint8_t digest[32])
{
	struct txn_record *r = txn_add(t, TXN_KEY);

	r->key.key = key;
	memcpy(r->key.digest, digest, sizeof(r->key.digest));
	txn_own_str(t, &r->key.key);
}

void txn_took(struct txn *t, struct took_row *rows, size_t n)
{
	struct txn_record *r = txn_add(t, TXN_TOOK);

	r->took.rows = rows;
	r->took.n = n;
}

void txn_run_update(struct txn *t, const struct run_row *row)
{
	struct txn_record *r = txn_add(t, TXN_RUN_UPDATE);

	r->run = *row;
	txn_own_run(t, &r->run);
}

static void txn_add_op(struct txn *t, enum txn_kind kind, const struct op_row *row)
{
	struct txn_record *r = txn_add(t, kind);

	r->op = *row;
	txn_own_str(t, &r->op.id);
	txn_own_str(t, &r->op.text);
	txn_own_str(t, &r->op.todo);
	txn_own_str(t, &r->op.error);
	txn_own_str(t, &r->op.description);
	txn_own_slice(t, &r->op.meta);
}

void txn_op(struct txn *t, const struct op_row *row)
{
	txn_add_op(t, TXN_OP, row);
}

void txn_attempt(struct txn *t, const struct op_row *row)
{
	struct op_row try = *row;

	try.description = NULL; /* of the op, whose row has them */
	try.meta = SLICE_NONE;
	txn_add_op(t, TXN_ATTEMPT, &try);
}

void txn_claim(struct txn *t, const struct claim_row *row)
{
	struct txn_record *r = txn_add(t, TXN_CLAIM);

	r->claim = *row;
	txn_own_slice(t, &r->claim.ops);
}

void txn_todo(struct txn *t, const struct todo_row *row)
{
	struct txn_record *r = txn_add(t, TXN_TODO);
	const char **strings[] = {
		&r->todo.list,	      &r->todo.id,     &r->todo.content, &r->todo.active_form,
		&r->todo.description, &r->todo.owner,  &r->todo.parent,	 &r->todo.at,
		&r->todo.error,	      &r->todo.source,
	};

	r->todo = *row;
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		txn_own_str(t, strings[i]);
	txn_own_slice(t, &r->todo.blocked_by);
	txn_own_slice(t, &r->todo.tags);
	txn_own_slice(t, &r->todo.meta);
}

void txn_todo_event(struct txn *t, const struct todo_event_row *row)
{
	struct txn_record *r = txn_add(t, TXN_TODO_EVENT);

	r->todo_event = *row;
	txn_own_str(t, &r->todo_event.list);
	txn_own_str(t, &r->todo_event.source);
	txn_own_slice(t, &r->todo_event.before);
	txn_own_slice(t, &r->todo_event.after);
}

void txn_forget(struct txn *t, uint64_t run)
{
	txn_add(t, TXN_FORGET)->forget = run;
}

void txn_drop(struct txn *t, uint64_t run, enum run_dropped why, int64_t time)
{
	struct txn_record *r = txn_add(t, TXN_DROP);

	r->drop.run = run;
	r->drop.why = why;
	r->drop.time = time;
}

void txn_tidy(struct txn *t, bool wipe)
{
	txn_add(t, TXN_TIDY)->wipe = wipe;
}

void txn_group(struct txn *t, const struct group_row *row)
{
	struct txn_record *r = txn_add(t, TXN_GROUP);

	r->group = *row;
	txn_own_str(t, &r->group.group);
}

void txn_rev(struct txn *t, int64_t rev)
{
	txn_add(t, TXN_REV)->rev = rev;
}
